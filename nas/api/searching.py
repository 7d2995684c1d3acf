"""Searches from Python, with the engine and the files of run_search.py."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from nas.budget import TimeLeft
from nas.context import OnEpoch, ignore
from nas.data.splits import Split
from nas.evaluators.base import Evaluator
from nas.found import SearchResult
from nas.history import History
from nas.problem import Problem
from nas.provenance import Replication
from nas.report.live_search import LiveSearch
from nas.report.search_files import results_at_end
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
    replicates: int = 1,
    rotate_folds: bool = False,
    confirm: int = 0,
    confirm_replicates: int = 5,
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
        replicates: Number of evaluations of each proposed network, with other seeds; `trials` counts them.
        rotate_folds: Whether each replicate has another validation fold; the test fold is none of them.
        confirm: Number of the best networks that are trained again after the search, with seeds that it did not use;
            their means are then the answer. 0 for none.
        confirm_replicates: Largest number of trainings of a confirmed network; those within two standard errors of the
            best have more than two.
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
    left = TimeLeft(trials)

    def words() -> str:
        seconds = left.seconds()
        return "?" if seconds is None else in_words(seconds)

    def each_epoch(epoch: int, epochs: int) -> None:
        left.update_epoch(epoch, epochs)
        live.update_epoch(epoch, epochs, words())
        on_epoch(epoch, epochs)

    def each_history(history: History) -> None:
        left.update(history)
        live.update(history, words())
        on_history(history)

    context = context_of(split, folder, seed=seed, device=device, on_epoch=each_epoch, rotate_folds=rotate_folds)
    replication = Replication(replicates, rotate_folds, confirm, confirm_replicates)
    job = SearchJob(problem, strategy, evaluator, context, trials, None, time, keep_checkpoints, replication)
    job.check()
    study = open_study(job, split, name, url or sqlite_url(folder), config=config)
    record = search_record(job, split, name, config)
    settings = dict(config or study_parts(job, split))
    with closing(study):
        with results_at_end(folder, job, study, record, settings, live):
            search(job, study, worker=worker, on_history=each_history)
        history = study.history()
    history.require_finished()
    return SearchResult(history, problem, record, evaluator, context)
