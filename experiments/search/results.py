"""What a search leaves in its folder, written by whichever of its workers comes last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.context import Setting, versions
from nas.artifact import Artifact
from nas.cost.model import CostModel
from nas.history import History, Record
from nas.multiobjective.constraints import Constraint
from nas.report import search_report
from nas.report.supernet import supernet_sections
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.partial_order.cuts import PrunedSet
from nas.study.study import Study
from nas.supernets.trainer import FOLDER
from nas.trials_table import write_csv
from nas.utils.files import locked, write_text

CHOSEN = "arch.json"
LOCK, WRITTEN = ".results.lock", ".results.written"
SHARE_POINTS = 60
LOCAL = (
    "data",
    "data_root",
    "data_cache",
    "device",
    "tracking",
    "allow_packages",
)  # settings of one machine: no part of what was searched


class Results:
    """Writes arch.json, pareto/*.json, trials.csv and report.html of a study into a folder that workers share."""

    def __init__(
        self,
        folder: Path,
        plain: Mapping[str, Any],
        setting: Setting,
        space: SearchSpace,
        strategy: Strategy,
        cost: CostModel,
    ) -> None:
        self.folder, self.plain, self.setting = folder, plain, setting
        self.space, self.strategy, self.cost = space, strategy, cost

    def write(self, study: Study, constraints: Sequence[Constraint], only_news: bool = False) -> None:
        """One worker at a time, and each looks at the study only when it is its turn: what is written last is the
        newest view. only_news: a view that another worker has written is not written again (a thousand workers that
        end together would wait for a thousand reports). `history` is the view afterwards."""
        with locked(self.folder / LOCK):
            self.history = study.history(self.cost, self.cost.metric, constraints)
            view = json.dumps([[record.number, record.state.value] for record in self.history])
            digest = hashlib.sha256(view.encode()).hexdigest()
            written = self.folder / WRITTEN
            if only_news and written.is_file() and written.read_text() == digest:
                return
            write_csv(self.folder / "trials.csv", self.history.records)
            if self.history.complete():
                self._write_networks()
                self._write_report()
            write_text(written, digest)

    def _write_networks(self) -> None:
        plain, history, setting = self.plain, self.history, self.setting
        provenance = {
            "study": plain["study"]["name"],
            "trials": len(history),
            "seed": plain["seed"],
            "data": setting.data_facts,
            "split": setting.split_facts,
            "versions": versions(),
            "config_sha256": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest(),
        }

        def save(record: Record, path: Path, **more: Any) -> None:
            facts = {**provenance, "trial": record.number, "budget": record.budget, **more}
            Artifact(self.space, record.arch, setting.task.spec, record.metrics, facts).save(path)

        front = {f"{record.arch.id}.json": record for record in history.front()}
        for name, record in front.items():
            save(record, self.folder / "pareto" / name)
        for path in (self.folder / "pareto").glob("*.json"):
            if path.name not in front:
                path.unlink(missing_ok=True)
        search_again = {key: value for key, value in plain.items() if key not in (*LOCAL, "hydra", "study", "worker")}
        save(best(history), self.folder / CHOSEN, search=search_again)

    def _write_report(self) -> None:
        shares, cost_P, bound_P = pruning_over_time(self.space, self.strategy, self.cost, self.history)
        search_report(
            self.folder / "report.html",
            title=f"Search {self.plain['study']['name']}",
            space=self.space,
            history=self.history,
            chosen=best(self.history),
            pruned_share=shares,
            pruned_cost=cost_P,
            pruned_bound=bound_P,
            settings=self.plain,
            more=supernet_sections(self.folder / "checkpoints" / FOLDER),
            metrics=self.setting.task.metrics,
        )


def best(history: History) -> Record:
    """The chosen trial: the best score on the validation part; of equal ones the cheapest, which the front holds."""
    return history.front()[0]


def summary(space: SearchSpace, history: History, folder: Path) -> str:
    """What the terminal shows at the end: the Pareto front and the chosen architecture."""
    chosen = best(history)
    names = list(history.objectives)
    lines = [
        f"Pareto front of {len(history.complete())} trained networks ({history.score} on the validation part):",
        "",
    ]
    lines.append("  " + "  ".join(f"{name:>12}" for name in [*names, "params"]) + "  architecture")
    for record in history.front():
        values = "  ".join(f"{record.metrics[name]:>12.4g}" for name in [*names, "params"])
        mark = "  <- chosen" if record.arch == chosen.arch else ""
        lines.append(f"  {values}  {record.arch.id}{mark}")
    return "\n".join(
        [*lines, "", space.describe(chosen.arch), "", f"wrote {folder / CHOSEN} and {folder / 'report.html'}"]
    )


def pruned_set(strategy: Strategy, space: SearchSpace, cost: CostModel) -> PrunedSet | None:
    """What the strategy rules out, to be looked at; None where that would take profiling every network whole."""
    return strategy.pruned_set(space, cost) if cost.is_sum else None


def pruning_over_time(
    space: SearchSpace, strategy: Strategy, cost: CostModel, history: History
) -> tuple[list[tuple[int, float]], np.ndarray, np.ndarray]:
    """(finished trials, share pruned) as the study grew, and cost and score bound of what was pruned untrained."""
    pruned = pruned_set(strategy, space, cost)
    if pruned is None:
        return [], np.empty(0), np.empty(0)
    done, shares = history.complete(), []
    for count in np.unique(np.linspace(1, len(done), num=min(len(done), SHARE_POINTS)).astype(int)):
        pruned.update(strategy.cuts(replace(history, records=done[:count])))
        shares.append((int(count), pruned.share))
    trained = {record.arch.genes for record in done}
    rows = [row for row in np.flatnonzero(pruned.mask) if tuple(pruned.genes_NG[row].tolist()) not in trained]
    return shares, pruned.cost_N[rows], pruned.bound_N[rows]
