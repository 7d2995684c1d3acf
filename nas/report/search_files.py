"""Result files of a search, written by the worker that ends last."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.budget import SearchEnd, search_end
from nas.context import RunContext
from nas.found import CHOSEN, TRIALS, SearchResult
from nas.history import History, State
from nas.metrics.names import Names
from nas.provenance import SearchRecord
from nas.report.live_search import LiveSearch
from nas.report.search import search_report
from nas.report.supernet import supernet_sections
from nas.search import CHECKPOINTS, SearchJob
from nas.strategies.base import Strategy
from nas.study.study import Study
from nas.supernets.loading import FOLDER
from nas.trials_csv import write_csv
from nas.utils.files import for_shell, locked, write_text
from nas.utils.hashing import digest

FACTS = "search.json"
LOCK, WRITTEN = ".results.lock", ".results.written"
SHARE_POINTS = 60  # of the curve of the share that is ruled out


@contextmanager
def results_at_end(
    folder: Path,
    job: SearchJob,
    study: Study,
    record: SearchRecord,
    settings: Mapping[str, Any],
    live: LiveSearch,
    *,
    is_gone: Callable[[], bool] = lambda: False,
    skip_if_unchanged: bool = False,
) -> Iterator[Callable[[History], SearchEnd]]:
    """Write the results and the last live page when the search in the block ends, also if it is interrupted.

    Args:
        folder: The output folder.
        job: Problem, strategy and budget of the search.
        study: The study.
        record: The search, without a trial.
        settings: The configuration, shown in the report.
        live: The live page.
        is_gone: Whether the folder was removed, so that nothing is written.
        skip_if_unchanged: Do not write a view again that another worker has written.

    Yields:
        A function of the trials that returns why the search ended.
    """
    interrupted = True

    def end(history: History) -> SearchEnd:
        return search_end(history, job.problem.space, job.trials, job.time_s, interrupted=interrupted)

    def end_page(failure: type[BaseException] | None, *_: object) -> None:
        if is_gone():
            return
        if failure is not None:
            live.stop()
            return
        history = study.history()
        live.finish(history, end(history).reason, next_command(folder) if history.complete() else "")

    with ExitStack() as at_end:
        at_end.push(end_page)
        try:
            yield end
            interrupted = False
        finally:
            if not is_gone():
                write_results(
                    folder,
                    study,
                    job.strategy,
                    record,
                    settings,
                    end,
                    context=job.context,
                    skip_if_unchanged=skip_if_unchanged,
                )


def write_results(
    folder: Path,
    study: Study,
    strategy: Strategy,
    record: SearchRecord,
    settings: Mapping[str, Any],
    end: Callable[[History], SearchEnd],
    *,
    context: RunContext | None = None,
    skip_if_unchanged: bool = False,
) -> None:
    """Write arch.json, pareto/*.json, trials.csv, search.json and report.html into a folder that workers share.

    One worker writes at a time and reads the study only when it has the lock, so that the newest view is written last.

    Args:
        folder: The output folder.
        study: The study.
        strategy: For the part of the space that it has ruled out.
        record: The search, without a trial.
        settings: The configuration, shown in the report.
        end: Called with the trials; returns why the search ended.
        context: Training and validation part, for the warnings.
        skip_if_unchanged: Do not write a view again that another worker has written.
    """
    with locked(folder / LOCK):
        history = study.history()
        ended = end(history)
        view = digest([ended.reason, *([trial.number, trial.state.value] for trial in history)])
        written = folder / WRITTEN
        if skip_if_unchanged and written.is_file() and written.read_text(encoding="utf-8") == view:
            return
        write_csv(folder / TRIALS, history.records, history)
        if history.complete():
            result = SearchResult(history, study.problem, record, context=context)
            result.save(folder)
            _write_facts(folder, result, ended)
            _write_report(folder, result, strategy, settings, ended)
        write_text(written, view)


def objectives_in_words(result: SearchResult) -> list[str]:
    """Describe what the objectives of a search measure.

    Args:
        result: The search.

    Returns:
        One text for each objective.
    """
    names = Names(tuple(result.problem.task.metrics))
    return [names.objective(name, way, result.record.split.unit) for name, way in result.history.objectives.items()]


def _write_facts(folder: Path, result: SearchResult, ended: SearchEnd) -> None:
    history = result.history
    facts = {
        **ended.to_json(),
        "trials": {state.value: sum(trial.state is state for trial in history) for state in State},
        "objectives": dict(zip(history.objectives, objectives_in_words(result), strict=True)),
        "constraints": [str(limit) for limit in history.constraints],
        "chosen": history.best.arch.id,
        "confirmed": len({trial.arch.id for trial in history.confirmed.complete()}),
        "warnings": result.warnings,
    }
    write_text(folder / FACTS, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _write_report(
    folder: Path, result: SearchResult, strategy: Strategy, settings: Mapping[str, Any], ended: SearchEnd
) -> None:
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
        about=f"{ended.reason} It took {ended.took}. Objectives: {'; '.join(objectives_in_words(result))}.",
        more=supernet_sections(folder / CHECKPOINTS / FOLDER),
        metrics=result.problem.task.metrics,
        task=result.problem.task.spec,
        command=next_command(folder),
        warnings=result.warnings,
    )


def next_command(folder: Path) -> str:
    """Return the command that trains and tests the chosen network.

    Args:
        folder: Folder of the search.

    Returns:
        The command line.
    """
    return f"voxnas train {for_shell(folder / CHOSEN, 'arch=')}"


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
    done, shares, ruled_out = history.searched.complete(), [], None
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
