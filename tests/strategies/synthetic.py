"""A function with budgets and a known optimum, on which strategies that use priors are measured."""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from nas.architecture import Architecture, Gene
from nas.history import History, State, Trial
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.first_trial import next_proposal
from nas.task_spec import TaskSpec

STEPS = 20  # choices of each gene are 0, 1/20, ..., 1
OPTIMUM = (0.7, 0.3, 0.85, 0.5, 0.2)
GOOD = (0.65, 0.35, 0.8, 0.55, 0.25)  # centres of priors
BAD = (0.1, 0.9, 0.2, 0.95, 0.8)
BUDGETS = (1, 27)


def loss(values: tuple[float, ...], epochs: int) -> float:
    """The squared distance from the optimum, and a bias of short trainings that differs between points."""
    distance = sum((value - best) ** 2 for value, best in zip(values, OPTIMUM, strict=True))
    wave = math.sin(13 * sum((place + 1) * value for place, value in enumerate(values)))
    return distance + 0.25 * (1 - epochs / BUDGETS[1]) * (1 + wave)


class Line(SearchSpace):
    """Five numbers in [0, 1], as settings of a recipe are."""

    def __init__(self) -> None:
        choices = tuple(step / STEPS for step in range(STEPS + 1))
        self.genes = tuple(Gene(f"x{place}", choices, ordinal=True) for place in range(len(OPTIMUM)))

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return nn.Identity()


def line(centre: tuple[float, ...] | None) -> SearchSpace:
    """The space with a prior around a point."""
    space = Line()
    if centre is None:
        return space
    return space.with_prior({gene.name: value for gene, value in zip(space.genes, centre, strict=True)})


def no_cost(genes_NG: np.ndarray) -> np.ndarray:
    return np.zeros(len(genes_NG))


def regret(strategy: Strategy, space: SearchSpace, epochs: int, seed: int) -> float:
    """The loss at the largest budget of the point that seems the best after a number of epochs; 0 is the optimum.

    A longer training continues a shorter one.
    """
    history, spent, ran = History((), {"loss": "minimize"}, no_cost, "cost"), 0, dict[str, int]()
    while spent < epochs:
        rng = np.random.default_rng([seed, len(history)])
        proposal = next_proposal(strategy, space, history, rng)
        assert proposal is not None
        arch = proposal.arch
        spent += proposal.budget - ran.get(arch.id, 0)
        ran[arch.id] = proposal.budget
        metrics = {"loss": loss(tuple(map(float, space.values(arch))), proposal.budget)}
        number = len(history)
        trial = Trial(number, arch, proposal.budget, State.COMPLETE, metrics, finished=number + 1.0)
        history = History((*history.records, trial), history.objectives, no_cost, "cost")
    best = min(history.final(), key=lambda trial: trial.metrics["loss"])
    return loss(tuple(map(float, space.values(best.arch))), BUDGETS[1])
