"""The body of run_search.py: one search, from a configuration to arch.json and a report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.build import build
from experiments.context import Setting, named_objectives, require_window, resolved, write_config
from experiments.progress import SearchProgress, TrainingProgress, logs_above
from experiments.search.results import CHOSEN, Results, pruned_set, summary
from nas.cost.latency import LatencyTable
from nas.cost.model import METRICS, CostModel
from nas.data.loading import VolumeSet
from nas.errors import NASError
from nas.evaluators.base import EvaluationContext, Evaluator
from nas.history import History
from nas.multiobjective.constraints import Constraint
from nas.search import Budget, search
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.study.study import Study
from nas.tasks.base import Task
from nas.tracking import NoTracking, Tracker
from nas.training import distributed


def run_search_experiment(cfg: DictConfig, folder: Path, quiet: bool = False, silent: bool = False) -> Path:
    """Runs one worker until the study holds `study.trials` trials, and writes into `folder`:

    arch.json, pareto/*.json, trials.csv, report.html, config.yaml (and study.db where the store is SQLite).
    quiet: no summary at the end. silent: no progress either, for a worker that shares its terminal with others.
    Returns the path of arch.json. Raises NASError for a user's mistake; on Ctrl-C what is finished is written.
    """
    strategy = build(cfg.strategy, "strategy", Strategy, cfg.allow_packages)
    parallel = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if parallel and not strategy.trains_supernet:
        raise NASError(
            "a search under torchrun",
            "one process a worker, each with its own trials",
            "start run_search.py without torchrun, or strategy=differentiable, whose supernet all processes train",
        )
    if not isinstance(cfg.worker, int) or cfg.worker < 0:
        raise NASError(
            f"worker={cfg.worker}", "a whole number of at least 0", "several workers: -m 'worker=range(0,8)'"
        )
    setting = Setting.of(cfg)
    plain = resolved(cfg)
    plain["objectives"] = named_objectives(plain["objectives"], setting.task)
    space = build(cfg.space, "space", SearchSpace, cfg.allow_packages)
    space.require_kind(setting.task.spec)
    table = LatencyTable.load(cfg.cost.table) if cfg.cost.table else None
    cost = CostModel(space, setting.task.spec, setting.store.input_shape, cfg.cost.metric, table)
    largest = space.repair([len(gene.choices) - 1 for gene in space.genes])
    cost.of(largest)  # data that do not fit are refused at once
    require_window(setting, space, largest)
    constraints = [Constraint.parse(text) for text in plain["constraints"]]
    budget = Budget(cfg.study.trials, cfg.study.time_limit_s)
    evaluator = build(cfg.evaluator, "evaluator", Evaluator, cfg.allow_packages)
    _require_known([*plain["objectives"], *(one.metric for one in constraints)], setting.task, evaluator, cost)
    evaluator.check(space, setting.store.input_shape)
    train, valid = (VolumeSet(setting.store, indices, setting.device) for indices in setting.split.search)
    line = TrainingProgress("  epoch", keep=False, silent=silent)
    board = build(cfg.tracking, "tracking", Tracker, cfg.allow_packages)
    context = EvaluationContext(
        space=space,
        task=setting.task,
        train=train,
        valid=valid,
        folder=folder / "checkpoints",
        device=setting.device,
        seed=cfg.seed,
        on_epoch=line.update,
        tracker=board,
    )
    strategy.require(cost)
    if parallel and not _trained_together(strategy, context, cost):
        return folder / CHOSEN
    study = Study(
        cfg.study.url,
        cfg.study.name,
        space,
        plain["objectives"],
        _spec(plain, setting, cost, evaluator.identity),
        cfg.study.lease_s,
        {**plain, "hydra": {"run": {"dir": str(folder.resolve())}, "runtime": {"cwd": os.getcwd()}}},
    )
    write_config(folder / "config.yaml", plain)
    progress = SearchProgress(cfg.study.trials, strategy, None if silent else pruned_set(strategy, space, cost), silent)
    results = Results(folder, plain, setting, space, strategy, cost)

    def on_trial(history: History) -> None:
        line.close()
        progress.update(history)
        for record in history.complete()[-1:]:
            board.scalar("search", history.score, record.number, record.metrics[history.score])

    with ExitStack() as at_end:
        at_end.callback(study.close)
        at_end.callback(lambda: results.write(study, constraints, only_news=silent))
        at_end.callback(board.close)
        at_end.callback(progress.close)
        at_end.callback(line.close)
        at_end.enter_context(logs_above(progress))
        search(
            strategy,
            evaluator,
            study,
            cost,
            context,
            budget,
            constraints=constraints,
            worker=cfg.worker,
            on_trial=on_trial,
        )
    history = results.history
    if not len(history):
        raise NASError(
            f"no network that keeps {', '.join(plain['constraints']) or 'the limits of the strategy'}",
            "limits that some network of the space keeps",
            "mend constraints or the strategy's limits, with another study.name",
        )
    if not history.complete():
        raise NASError("a search without a finished trial", "at least one", "see the reasons in trials.csv")
    if not quiet:
        print(summary(space, history, folder))
    return folder / CHOSEN


def _require_known(names: Sequence[str], task: Task, evaluator: Evaluator, cost: CostModel) -> None:
    """Check that every objective and constraint is a cost, or a metric of the evaluator if these are known."""
    reported = evaluator.metrics(task)
    for name in names:
        if name in METRICS:
            cost.of_metric(name)
        elif reported is not None and name not in reported:
            raise NASError(
                f"the metric {name!r}",
                f"one of {', '.join(sorted({*reported, *METRICS}))}",
                "mend objectives or constraints",
            )


def _trained_together(strategy: Strategy, context: EvaluationContext, cost: CostModel) -> bool:
    """All processes of torchrun train the supernet; True on the one that goes on with the study, alone."""
    context = replace(context, device=distributed.initialise(context.device))
    try:
        main = distributed.is_main()
        others = replace(context, on_epoch=lambda epoch, epochs: None, tracker=NoTracking())
        strategy.begin(context if main else others, cost)
        return main
    finally:
        distributed.shutdown()


def _spec(plain: Mapping[str, Any], setting: Setting, cost: CostModel, evaluator: Mapping[str, Any]) -> dict[str, Any]:
    """What all who work on one study must agree on. evaluator: its settings, or what it calls its identity."""
    scored_by = json.dumps([evaluator, plain["task"], plain["seed"]], sort_keys=True)
    return {
        "data": setting.store.sha256,
        "split": setting.split.sha256,
        "cost": cost.identity,
        "strategy": plain["strategy"],
        "constraints": plain["constraints"],
        "evaluator, task and seed": hashlib.sha256(scored_by.encode()).hexdigest()[:16],
    }
