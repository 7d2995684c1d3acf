"""Scores of networks by name, each on a network with fresh initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from nas.context import RunContext
from nas.errors import NASError, TrialFailed
from nas.problem import Problem
from nas.space import SearchSpace
from nas.training.loop import oom_as_trial_failed
from nas.training.steps import derive
from nas.zero_cost.gradients import grad_norm, snip
from nas.zero_cost.jacobian import jacob_cov
from nas.zero_cost.minibatch import Minibatch
from nas.zero_cost.naswot import naswot
from nas.zero_cost.synflow import synflow
from nas.zero_cost.width import width

COSTS = ("macs", "params")
OF_NETWORKS: Mapping[str, Callable[[nn.Module, Minibatch], float]] = {
    "width": width,
    "snip": snip,
    "naswot": naswot,
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "grad_norm": grad_norm,
}
SCORES = (*COSTS, *OF_NETWORKS)
BATCH_SIZE = 16
STREAM = 21  # of initial weights


def zero_cost_score(
    name: str, arch: Architecture, problem: Problem, minibatch: Minibatch, seed: int = 0, replicate: int = 0
) -> float:
    """Score one network before its training; larger is meant to be better.

    Scores are computed in fp32 (synflow in double precision), on the device of the minibatch.

    Args:
        name: One of SCORES.
        arch: The architecture.
        problem: Space, task and cost.
        minibatch: Samples of the training part, see `Minibatch.of`; the same for all networks that are compared.
        seed: Seed of the search; with the replicate it decides initial weights and dropout.
        replicate: Which repetition of the evaluation, from 0.

    Returns:
        A finite number.

    Raises:
        NASError: If the name is unknown.
        TrialFailed: If the score is not finite, or memory runs out.
    """
    if name in COSTS:
        return problem.cost.of_metric(name).of(arch)
    if name not in OF_NETWORKS:
        raise NASError(f"score={name}", f"one of {', '.join(SCORES)}", "set score to one of these")
    device = minibatch.x_BCDHW.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), oom_as_trial_failed():
        torch.manual_seed(derive(seed, replicate, STREAM))
        network = problem.space.build(arch, problem.task.spec).to(device)
        value = OF_NETWORKS[name](network, minibatch)
    if not math.isfinite(value):
        raise TrialFailed(f"the score {name} became {value}")
    return value


def zero_cost_scores(
    space: SearchSpace,
    archs: Sequence[Architecture],
    problem: Problem,
    context: RunContext,
    *,
    names: Sequence[str] = SCORES,
    batch_size: int = BATCH_SIZE,
) -> dict[str, np.ndarray]:
    """Score many networks, for example all of a table.

    Args:
        space: Space of the architectures.
        archs: N architectures.
        problem: Problem on this space.
        context: Training part, device and seed.
        names: Some of SCORES.
        batch_size: Samples of the minibatch, at least 2.

    Returns:
        Name -> (N,) float64, NaN where a network cannot be scored.

    Raises:
        NASError: If the space is not that of the problem, a name is unknown, or there are fewer than two samples.
    """
    if space.fingerprint != problem.space.fingerprint:
        raise NASError(f"networks of {space.fingerprint}", problem.space.fingerprint, "pass the space of the problem")
    minibatch = Minibatch.of(context, problem.task, batch_size)
    found = {name: np.full(len(archs), np.nan) for name in names}
    for row, arch in enumerate(archs):
        for name, values_N in found.items():
            try:
                values_N[row] = zero_cost_score(name, arch, problem, minibatch, context.seed)
            except TrialFailed:
                continue
    return found
