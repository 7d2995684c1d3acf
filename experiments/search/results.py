"""Result files of a search, written by the worker that ends last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.found import CHOSEN, TRIALS, SearchResult
from nas.provenance import SearchRecord
from nas.search import CHECKPOINTS
from nas.strategies.base import Strategy
from nas.study.study import Study
from nas.trials_table import write_csv
from nas.utils.files import locked, write_text
from nas.utils.hashing import digest

LOCK, WRITTEN = ".results.lock", ".results.written"
SHARE_POINTS = 60  # of the curve of the share that is ruled out


def write_results(
    folder: Path,
    study: Study,
    strategy: Strategy,
    record: SearchRecord,
    settings: Mapping[str, Any],
    *,
    skip_if_unchanged: bool = False,
) -> None:
    """Write arch.json, pareto/*.json, trials.csv and report.html into a folder that workers share.

    One worker writes at a time and reads the study only when it has the lock, so that the newest view is written last.

    Args:
        folder: The output folder.
        study: The study.
        strategy: For the part of the space that it has ruled out.
        record: The search, without a trial.
        settings: The configuration, shown in the report.
        skip_if_unchanged: Do not write a view again that another worker has written.
    """
    with locked(folder / LOCK):
        history = study.history()
        view = digest([[trial.number, trial.state.value] for trial in history])
        written = folder / WRITTEN
        if skip_if_unchanged and written.is_file() and written.read_text() == view:
            return
        write_csv(folder / TRIALS, history.records)
        if history.complete():
            result = SearchResult(history, study.problem, record)
            result.save(folder)
            _write_report(folder, result, strategy, settings)
        write_text(written, view)


def _write_report(folder: Path, result: SearchResult, strategy: Strategy, settings: Mapping[str, Any]) -> None:
    from nas.report import search_report  # here, as plots take long to import
    from nas.report.supernet import supernet_sections
    from nas.supernets.loading import FOLDER

    history = result.history
    shares, cost_P, bound_P = ruled_out_over_time(result, strategy)
    search_report(
        folder / "report.html",
        title=f"Search {result.record.study}",
        space=result.problem.space,
        history=history,
        pruned_share=shares,
        pruned_cost=cost_P,
        pruned_bound=bound_P,
        settings=settings,
        more=supernet_sections(folder / CHECKPOINTS / FOLDER),
        metrics=result.problem.task.metrics,
    )


def summary(result: SearchResult, folder: Path, reason: str) -> str:
    """Return the end of the terminal's output: the Pareto front and the chosen architecture.

    Args:
        result: The search.
        folder: The output folder.
        reason: Why the search ended.

    Returns:
        Several lines.
    """
    history, chosen = result.history, result.history.best
    names = list(history.objectives)
    lines = [
        f"The search ended: {reason}.",
        "",
        f"Pareto front of {len(history.complete())} trained networks ({history.score} on the validation part):",
        "",
    ]
    lines.append("  " + "  ".join(f"{name:>12}" for name in [*names, "params"]) + "  architecture")
    for trial in history.front():
        values = "  ".join(f"{trial.metrics[name]:>12.4g}" for name in [*names, "params"])
        mark = "  <- chosen" if trial.arch == chosen.arch else ""
        lines.append(f"  {values}  {trial.arch.id}{mark}")
    picture = result.problem.space.describe(chosen.arch)
    return "\n".join([*lines, "", picture, "", f"wrote {folder / CHOSEN} and {folder / 'report.html'}"])


def ruled_out_over_time(
    result: SearchResult, strategy: Strategy
) -> tuple[list[tuple[int, float]], np.ndarray, np.ndarray]:
    """Return how much of the space a strategy ruled out as the study grew.

    Args:
        result: The search.
        strategy: Its strategy.

    Returns:
        Pairs of finished trials and share ruled out; cost and score bound of the networks that were ruled out without
        a training.
    """
    problem, history = result.problem, result.history
    done, shares, ruled_out = history.complete(), [], None
    for count in np.unique(np.linspace(1, len(done), num=min(len(done), SHARE_POINTS)).astype(int)):
        ruled_out = strategy.ruled_out(problem, replace(history, records=done[:count]))
        if ruled_out is None:
            return [], np.empty(0), np.empty(0)
        shares.append((int(count), ruled_out.share))
    if ruled_out is None:
        return [], np.empty(0), np.empty(0)
    trained = {trial.arch.genes for trial in done}
    rows = [row for row, genes in enumerate(ruled_out.genes_NG.tolist()) if tuple(genes) not in trained]
    return shares, ruled_out.cost_N[rows], ruled_out.bound_N[rows]
