"""The dry run of a search: everything is checked, one network is timed, nothing is written but the data cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from experiments.build import build
from experiments.config import SearchConfig
from experiments.context import task_setup
from experiments.estimates import JobEstimate
from experiments.search.job import problem_of
from experiments.search.strategies import full_proposal, mean_proposal, strategy_of
from experiments.sweep import study_of_job
from nas.architecture import Architecture
from nas.budget import Estimate, seconds_used
from nas.confirmation import next_confirmation
from nas.evaluators.base import Evaluator
from nas.history import State
from nas.problem import Problem
from nas.search import SearchJob, context_of, study_parts
from nas.strategies.base import Strategy
from nas.strategies.feasible import empty_history, infeasible
from nas.strategies.sampling import draw
from nas.study.agreement import require_equal, spec_of
from nas.study.probe import existing_study
from nas.study.url import sqlite_url
from nas.utils.folders import require_writable

SAMPLES, PROFILES = 64, 8  # networks drawn to find a typical one: if costs are sums of blocks, if each is profiled
KEPT = 5e5  # bytes of the study and the reports of a search


def preview_search(cfg: DictConfig, folder: Path) -> JobEstimate:
    """Check a search and estimate what is left of it.

    Args:
        cfg: The configuration, as composed from conf/search.yaml.
        folder: The output folder, which is not made.

    Returns:
        The plan.

    Raises:
        NASError: If a setting is wrong, the constraints cannot be met, or the store cannot be used.
        TrialFailed: If a network of the space cannot be trained here.
    """
    config = SearchConfig.of(cfg)
    strategy = strategy_of(config)
    setting = task_setup(config, config.worker)
    problem = problem_of(config, setting)
    evaluator = build(config.evaluator, "evaluator", Evaluator)
    replication = config.study.replication
    context = context_of(
        setting.split, folder, seed=config.seed, device=setting.device, rotate_folds=replication.rotate_folds
    )
    trials, time = config.study.trials, config.study.time
    job = SearchJob(problem, strategy, evaluator, context, trials, time=time, replication=replication)
    job.check()
    require_writable(folder)
    name = config.study.name if config.study.url is None else study_of_job(config.study.name)
    study = existing_study(config.study.url or sqlite_url(folder), name)
    ended: tuple[int, float] = (0, 0.0)
    confirmed = 0
    if study is not None:
        require_equal(name, spec_of(problem, study_parts(job, setting.split)), study.spec)
        history = study.history()
        searched, confirmed = history.searched, len(history.confirmed)
        ended = (sum(trial.state is not State.RUNNING for trial in searched), seconds_used(searched))
        study.close()
    left = max(config.study.trials - ended[0], 0)
    if job.time_s is not None and ended[1] >= job.time_s:
        left = 0
    typical = typical_network(problem, strategy)
    estimate: Estimate | None = Estimate()
    again = max(replication.confirm * replication.confirm_replicates - confirmed, 0)  # at most
    if not left and study is not None and not any(trial.state is State.RUNNING for trial in history):
        again = again if next_confirmation(history, replication) else 0  # its race may end before
    if left or again:
        one = evaluator.estimate(mean_proposal(typical, strategy, evaluator), problem, context)
        prepared = strategy.estimate(problem, context) if not ended[0] else Estimate()
        estimate = None if one is None else one.times(left) + prepared + Estimate(bytes=KEPT)
        if estimate is not None and job.time_s is not None and estimate.seconds > job.time_s - ended[1]:
            estimate = Estimate(job.time_s - ended[1], estimate.bytes)
        full = evaluator.estimate(full_proposal(typical, strategy), problem, context) if again else None
        if estimate is not None and full is not None:
            estimate += full.times(again)
    return JobEstimate(folder, config.study.trials, left, estimate, str(setting.device))


def typical_network(problem: Problem, strategy: Strategy) -> Architecture:
    """Draw networks that keep the constraints and return the one whose MACs are nearest to their mean.

    Args:
        problem: Space, task, cost, objectives and constraints.
        strategy: For the costs to which its proposals keep.

    Returns:
        A network of the space.

    Raises:
        NASError: If no network is found that keeps the constraints and these costs.
    """
    space, limits = problem.space, strategy.limits
    history = empty_history(problem)
    macs, rng = problem.cost.of_metric("macs"), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(SAMPLES if macs.is_sum else PROFILES)]
    genes_NG = space.encode(drawn)
    kept_N = history.admits(genes_NG)
    kept_N[kept_N] = limits(genes_NG[kept_N], problem.cost)
    kept = [arch for arch, keep in zip(drawn, kept_N, strict=True) if keep]
    if not kept:
        found = draw(space, history, limits, rng)
        if found is None:
            raise infeasible(problem, limits)
        return found
    cost_N = macs(space.encode(kept))
    return kept[int(np.argmin(np.abs(cost_N - cost_N.mean())))]
