"""The command that searches: from a configuration to arch.json and a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from experiments.build import build
from experiments.config import SearchConfig, shareable
from experiments.context import CONFIG, describe_data, require_own_folder, require_window, task_setup, write_config
from experiments.job_folder import open_folder
from experiments.progress import SearchProgress, logs_above
from experiments.search.results import summary
from experiments.search.strategies import strategy_of
from experiments.search.tracked import TrackedSearch
from experiments.spaces import space_of
from experiments.trackers import build_trackers
from nas.context import TaskSetup, ignore
from nas.cost.latency import LatencyTable
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.found import CHOSEN, SearchResult
from nas.history import History
from nas.problem import Problem
from nas.report.live_search import LiveSearch
from nas.report.search_files import results_at_end
from nas.search import CHECKPOINTS, SearchJob, context_of, open_study, search, search_record
from nas.strategies.base import Strategy
from nas.study.url import sqlite_url
from nas.tracking.base import NO_TRACKING, TrackedRun
from nas.training import distributed
from nas.utils.annotations import seconds_of
from nas.utils.folders import OutputFolder


def run_search_experiment(cfg: DictConfig, folder: Path, quiet: bool = False, silent: bool = False) -> Path:
    """Run one worker of a search from a composed configuration; see `search_command`.

    Args:
        cfg: The configuration, as composed from conf/search.yaml.
        folder: The output folder.
        quiet: Print no summary at the end.
        silent: Print no progress either, for a worker that shares its terminal with others.

    Returns:
        Path of arch.json.

    Raises:
        NASError: If a setting is wrong.
    """
    return search_command(SearchConfig.of(cfg), folder, quiet=quiet, silent=silent)


def search_command(
    config: SearchConfig, folder: Path, *, quiet: bool = False, silent: bool = False, of_file: bool = False
) -> Path:
    """Run one worker until the budget of the study is spent, and write the results into a folder.

    Written are arch.json, pareto/*.json, trials.csv, search.json, report.html, config.yaml, and study.db if the store
    is SQLite. On Ctrl-C, the results so far are written.

    Args:
        config: The settings.
        folder: The output folder.
        quiet: Print no summary at the end.
        silent: Print no progress either, for a worker that shares its terminal with others.
        of_file: Whether the configuration comes from a file, whose classes are checked against `allow_packages`.

    Returns:
        Path of arch.json.

    Raises:
        NASError: If a setting is wrong, or no trial finished.
    """
    allow = config.allow_packages if of_file else None
    strategy = strategy_of(config, allow)
    _require_alone(strategy)
    setting = task_setup(config, config.worker, allow)
    problem = problem_of(config, setting, allow)
    device = distributed.initialise(setting.device)
    main = distributed.is_main()
    time_s = None if config.study.time is None else seconds_of(config.study.time)
    progress = SearchProgress(config.study.trials, strategy, problem, silent or not main, time_s=time_s)
    board = build_trackers(config.tracking, allow) if main else NO_TRACKING
    live = LiveSearch(
        folder,
        f"Search {config.study.name}",
        problem.space,
        problem.task.metrics,
        config.study.trials,
        folder / CHECKPOINTS,
    )

    output = OutputFolder(folder)

    def on_epoch(epoch: int, epochs: int) -> None:
        output.require()
        progress.update_epoch(epoch, epochs)
        live.update_epoch(epoch, epochs, progress.time_left())

    context = context_of(
        setting.split,
        folder,
        seed=config.seed,
        device=device,
        tracker=board,
        on_epoch=on_epoch if main else ignore,
        rotate_folds=config.study.rotate_folds,
    )
    evaluator = build(config.evaluator, "evaluator", Evaluator, allow)
    limits = (config.study.trials, config.study.time_limit_s, config.study.time, config.study.keep_checkpoints)
    job = SearchJob(problem, strategy, evaluator, context, *limits, config.study.replication)
    job.check()
    if distributed.world() > 1:
        strategy.prepare(problem, context)  # all processes train the supernet, one continues with the study
        distributed.shutdown()
        if not main:
            return folder / CHOSEN
    plain = config.plain()
    url, name = config.study.url or sqlite_url(folder), config.study.name
    recorded = {**plain, "folder": str(folder.resolve()), "cwd": os.getcwd()}
    require_own_folder(folder, {"study": {"name": name}})
    study = open_study(job, setting.split, name, url, lease_s=config.study.lease_s, config=recorded)
    study.require_free(config.worker)
    open_folder(folder)
    output.watch()
    write_config(folder / CONFIG, plain)
    if not silent:
        describe_data(setting, folder, quiet=quiet)
    record = search_record(job, setting.split, name, shareable(plain))

    tracked = TrackedSearch(board, problem, config.worker)

    def on_history(history: History) -> None:
        output.require()
        progress.update(history)
        live.update(history, progress.time_left())
        tracked.update(history)

    at_end = results_at_end(folder, job, study, record, plain, live, is_gone=output.is_gone, skip_if_unchanged=silent)
    with closing(study):
        with at_end as end, closing(board), closing(progress), logs_above(progress):
            tracked.start(TrackedRun(name, folder, shareable(plain), config.worker), setting.split)
            search(job, study, worker=config.worker, on_history=on_history)
        history = study.history()
    history.require_finished()
    if not quiet:
        print(summary(SearchResult(history, problem, record, context=context), folder, end(history)))
    return folder / CHOSEN


def _require_alone(strategy: Strategy) -> None:
    """Refuse several processes of torchrun, unless they train a supernet together."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not strategy.trains_supernet:
        raise NASError(
            "a search under torchrun",
            "one process per worker, each with its own trials",
            "start run_search.py without torchrun, or use strategy=differentiable, whose supernet all processes train",
        )


def problem_of(config: SearchConfig, setting: TaskSetup, allow: Sequence[str] | None = None) -> Problem:
    """Make the problem that a configuration describes.

    Args:
        config: The settings.
        setting: Data, split, task and device.
        allow: Packages whose classes the settings may name if they come from a file; None for any.

    Returns:
        The problem.

    Raises:
        NASError: If a setting is wrong, or the space does not fit the data or the window of the inference.
    """
    problem = Problem.of(
        space_of(config.space, config.recipe, allow),
        setting.store,
        objectives=config.objectives,
        constraints=config.constraints,
        task=setting.task,
        cost=config.cost.metric,
        table=LatencyTable.load(config.cost.table, config.cost.other_device) if config.cost.table else None,
    )
    largest = problem.space.repair([len(gene.choices) - 1 for gene in problem.space.genes])
    require_window(setting.task, setting.store.shape[0], problem.space, largest)
    return problem
