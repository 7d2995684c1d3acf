"""Searches from Python, with the engine and the files of run_search.py."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch

from nas.budget import SearchEnd, search_end
from nas.context import OnEpoch, ignore
from nas.data.splits import Split
from nas.evaluators.base import Evaluator
from nas.found import SearchResult
from nas.history import History, State
from nas.problem import Problem
from nas.report.live_search import LiveSearch
from nas.report.search_files import next_command, write_results
from nas.search import CHECKPOINTS, OnHistory, SearchJob, context_of, open_study, search, search_record, study_parts
from nas.strategies.base import Strategy
from nas.study.url import sqlite_url
from nas.utils.annotations import Keep
from nas.utils.duration import in_words


def run_search(
    problem: Problem,
    split: Split,
    *,
    strategy: Strategy,
    evaluator: Evaluator,
    trials: int,
    time: float | str | None = None,
    folder: str | Path,
    name: str = "search",
    url: str | None = None,
    keep_checkpoints: Keep = "front",
    seed: int = 0,
    device: str | torch.device = "cpu",
    worker: int = 0,
    on_epoch: OnEpoch = ignore,
    on_history: OnHistory = ignore,
    config: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Search on the training and validation part of a split; the test fold is never read.

    The same call again resumes the study to the same total of trials.

    Args:
        problem: Space, task, cost, objectives and constraints.
        split: The split of the data set.
        strategy: Proposes architectures.
        evaluator: Scores them.
        trials: Number of ended trials that the study holds at the end, at least 1.
        time: Time that all trials may take together, in seconds or as "2h"; None for no limit.
        folder: Holds the files of run_search.py: checkpoints, arch.json, pareto/*.json, trials.csv, curves.csv,
            search.json, report.html, live.html and, unless `url` is given, the study.
        name: Name of the study.
        url: URL of a store that several workers share; None for a database in the folder.
        keep_checkpoints: Trials whose weights are kept: "front", "best" or "all"; see `SearchJob`.
        seed: Seed of the search, at least 0.
        device: Device of the trainings.
        worker: Number of this worker; each worker of a study needs its own.
        on_epoch: Called after each epoch with the numbers of epochs done and planned.
        on_history: Called with the current history before every proposal.
        config: A configuration that is recorded with the study and in arch.json.

    Returns:
        The trials and the chosen architecture.

    Raises:
        NASError: If the settings do not fit the problem (nothing is created then), or no trial finished.
    """
    folder = Path(folder)
    live = LiveSearch(folder, f"Search {name}", problem.space, problem.task.metrics, trials, folder / CHECKPOINTS)
    left = _TimeLeft(trials)

    def each_epoch(epoch: int, epochs: int) -> None:
        live.update_epoch(epoch, epochs, left.after_epoch(epoch, epochs))
        on_epoch(epoch, epochs)

    def each_history(history: History) -> None:
        live.update(history, left.after(history))
        on_history(history)

    context = context_of(split, folder, seed=seed, device=device, on_epoch=each_epoch)
    job = SearchJob(problem, strategy, evaluator, context, trials, time=time, keep_checkpoints=keep_checkpoints)
    job.check()
    study = open_study(job, split, name, url or sqlite_url(folder), config=config)
    record = search_record(job, split, name, config)
    settings = dict(config or study_parts(job, split))
    interrupted = True

    def end(history: History) -> SearchEnd:
        return search_end(history, problem.space, job.trials, job.time_s, interrupted=interrupted)

    def end_page(failure: type[BaseException] | None) -> None:
        if failure is not None:
            live.stop()
            return
        history = study.history()
        live.finish(history, end(history).reason, next_command(folder) if history.complete() else "")

    with closing(study):
        with ExitStack() as at_end:
            at_end.push(lambda kind, *_: end_page(kind))
            at_end.callback(lambda: write_results(folder, study, strategy, record, settings, end, context=context))
            search(job, study, worker=worker, on_history=each_history)
            interrupted = False
        history = study.history()
    history.require_finished()
    return SearchResult(history, problem, record, evaluator, context)


class _TimeLeft:
    """The time left of a search, from the trials and epochs of this call."""

    def __init__(self, trials: int) -> None:
        self._trials, self._start = trials, clock.monotonic()
        self._before: int | None = None
        self._ended = 0

    def after(self, history: History) -> str:
        self._ended = sum(record.state is not State.RUNNING for record in history)
        if self._before is None:
            self._before, self._start = self._ended, clock.monotonic()
        return self._words(0.0)

    def after_epoch(self, epoch: int, epochs: int) -> str:
        return self._words(min(epoch / epochs, 1.0) if epochs else 0.0)

    def _words(self, part: float) -> str:
        done = self._ended - (self._before or 0) + part
        if done <= 0:
            return "?"
        return in_words((clock.monotonic() - self._start) / done * max(self._trials - self._ended - part, 0.0))
