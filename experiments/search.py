"""The body of run_search.py: one search, from a configuration to arch.json and a report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.progress import SearchProgress, TrainingProgress
from experiments.setup import Setting, named_objectives, resolved, versions, write_config
from nas.artifact import Artifact
from nas.constraints import Constraint
from nas.cost import CostModel
from nas.data.loading import VolumeSet
from nas.errors import NASError
from nas.evaluators.base import EvaluationContext
from nas.history import History, Record
from nas.latency import LatencyTable
from nas.report import search_report
from nas.search import Budget, search
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.study import Study
from nas.trials_table import write_csv

CHOSEN = "arch.json"
SHARE_POINTS = 60
LOCAL = (
    "data",
    "data_root",
    "data_cache",
    "device",
    "tracking",
    "allow_packages",
)  # settings of one machine: no part of what was searched


def run_search_experiment(cfg: DictConfig, folder: Path, quiet: bool = False) -> Path:
    """Searches until the study holds `study.trials` trials and writes into `folder`:

    arch.json, pareto/*.json, trials.csv, report.html, config.yaml (and study.db where the store is SQLite).
    Returns the path of arch.json. Raises NASError for a user's mistake; on Ctrl-C what is finished is written.
    """
    plain = resolved(cfg)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NASError(
            "a search under torchrun",
            "one process a worker, each with its own trials",
            "start run_search.py without torchrun (for a retraining under torchrun: baselines.random_search=false)",
        )
    setting = Setting.of(cfg)
    plain["objectives"] = named_objectives(plain["objectives"], setting.task)
    space = instantiate(cfg.space)
    space.require_kind(setting.task.spec)
    strategy = instantiate(cfg.strategy)
    table = LatencyTable.load(cfg.cost.table) if cfg.cost.table else None
    cost = CostModel(space, setting.task.spec, setting.store.input_shape, cfg.cost.metric, table)
    cost.of(space.repair([len(gene.choices) - 1 for gene in space.genes]))  # data that do not fit are refused at once
    constraints = [Constraint.parse(text) for text in plain["constraints"]]
    study = Study(
        cfg.study.url,
        cfg.study.name,
        space,
        plain["objectives"],
        _spec(plain, setting, cost),
        cfg.study.lease_s,
        plain,
    )
    write_config(folder / "config.yaml", plain)
    train, valid = (VolumeSet(setting.store, indices, setting.device) for indices in setting.split.search)
    line = TrainingProgress("  epoch", keep=False)
    context = EvaluationContext(
        space=space,
        task=setting.task,
        train=train,
        valid=valid,
        folder=folder / "checkpoints",
        device=setting.device,
        seed=cfg.seed,
        on_epoch=line.update,
    )
    board = instantiate(cfg.tracking)
    progress = SearchProgress(cfg.study.trials, strategy, strategy.pruned_set(space, cost))

    def on_trial(history: History) -> None:
        line.close()
        progress.update(history)
        for record in history.complete()[-1:]:
            board.scalar("search", history.score, record.number, record.metrics[history.score])

    try:
        search(
            strategy,
            instantiate(cfg.evaluator),
            study,
            cost,
            context,
            Budget(cfg.study.trials, cfg.study.time_limit_s),
            constraints=constraints,
            worker=cfg.worker,
            on_trial=on_trial,
        )
    finally:
        line.close()
        progress.close()
        board.close()
        history = study.history(cost, cost.metric, constraints)
        write_csv(folder / "trials.csv", history.records)
        study.close()
        if history.complete():
            _write_results(folder, plain, setting, space, strategy, cost, history)
    if not history.complete():
        raise NASError("a search without a finished trial", "at least one", "see the reasons in trials.csv")
    if not quiet:
        print(summary(space, history, folder))
    return folder / CHOSEN


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


def _spec(plain: Mapping[str, Any], setting: Setting, cost: CostModel) -> dict[str, Any]:
    """What all who work on one study must agree on."""
    scored_by = json.dumps([plain["evaluator"], plain["task"], plain["seed"]], sort_keys=True)
    return {
        "data": setting.store.sha256,
        "split": setting.split.sha256,
        "cost": cost.identity,
        "strategy": plain["strategy"],
        "constraints": plain["constraints"],
        "evaluator, task and seed": hashlib.sha256(scored_by.encode()).hexdigest()[:16],
    }


def _write_results(
    folder: Path,
    plain: Mapping[str, Any],
    setting: Setting,
    space: SearchSpace,
    strategy: Strategy,
    cost: CostModel,
    history: History,
) -> None:
    chosen = best(history)
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
        Artifact(space, record.arch, setting.task.spec, record.metrics, facts).save(path)

    for stale in (folder / "pareto").glob("*.json"):
        stale.unlink()
    for record in history.front():
        save(record, folder / "pareto" / f"{record.arch.id}.json")
    search_again = {key: value for key, value in plain.items() if key not in (*LOCAL, "hydra", "study", "worker")}
    save(chosen, folder / CHOSEN, search=search_again)
    shares, cost_P, bound_P = pruning_over_time(space, strategy, cost, history)
    search_report(
        folder / "report.html",
        title=f"Search {plain['study']['name']}",
        space=space,
        history=history,
        chosen=chosen,
        pruned_share=shares,
        pruned_cost=cost_P,
        pruned_bound=bound_P,
        settings=plain,
    )


def pruning_over_time(
    space: SearchSpace, strategy: Strategy, cost: CostModel, history: History
) -> tuple[list[tuple[int, float]], np.ndarray, np.ndarray]:
    """(finished trials, share pruned) as the study grew, and cost and score bound of what was pruned untrained."""
    pruned = strategy.pruned_set(space, cost)
    if pruned is None:
        return [], np.empty(0), np.empty(0)
    done, shares = history.complete(), []
    for count in np.unique(np.linspace(1, len(done), num=min(len(done), SHARE_POINTS)).astype(int)):
        pruned.update(strategy.cuts(replace(history, records=done[:count])))
        shares.append((int(count), pruned.share))
    trained = {record.arch.genes for record in done}
    rows = [row for row in np.flatnonzero(pruned.mask) if tuple(pruned.genes_NG[row].tolist()) not in trained]
    return shares, pruned.cost_N[rows], pruned.bound_N[rows]
