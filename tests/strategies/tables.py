"""A space made of a grid, and whole searches on tables of scores and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import nn

from nas.architecture import Architecture, Gene
from nas.history import History, State, Trial
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.task_spec import TaskSpec

OBJECTIVES = {"score": "maximize", "cost": "minimize"}
Score = Callable[[tuple[int, ...]], Mapping[str, float]]


class Grid(SearchSpace):
    """sizes[i] choices for gene i; the last gene is unordered where `mixed`."""

    def __init__(self, sizes: Sequence[int] = (3, 3, 3), mixed: bool = False) -> None:
        self.sizes, self.mixed = tuple(sizes), mixed
        last = len(sizes) - 1
        self.genes = tuple(
            Gene(f"g{i}", tuple(range(size)), ordered=not (mixed and i == last)) for i, size in enumerate(sizes)
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return nn.Identity()


class Staircase(Grid):
    """Genes that never decrease: what `repair` makes of other vectors has more than one gene changed."""

    def repair(self, genes: Sequence[int]) -> Architecture:
        return self._issue(np.maximum.accumulate(super().repair(genes).genes).tolist())


def total(genes_NG: np.ndarray) -> np.ndarray:
    """The cost of the tests: the sum of the genes."""
    return np.atleast_2d(genes_NG).sum(axis=1).astype(np.float64)


def hill(genes: tuple[int, ...]) -> dict[str, float]:
    """A score with one smooth hill, away from the corners, and the cost."""
    return {"score": -float(sum((gene - 2.0 - i % 2) ** 2 for i, gene in enumerate(genes))), "cost": float(sum(genes))}


def record(number: int, arch: Architecture, metrics: Mapping[str, float], budget: int = 0) -> Trial:
    return Trial(number, arch, budget, State.COMPLETE, metrics, finished=number + 1.0)


def empty(objectives: Mapping[str, str] = OBJECTIVES, **more) -> History:  # type: ignore[no-untyped-def]
    return History((), objectives, total, "cost", **more)


def extended(history: History, *records: Trial) -> History:
    fields = (history.objectives, history.cost, history.cost_name, history.constraints, history.costs)
    return History((*history.records, *records), *fields)


def play(
    strategy: Strategy, space: SearchSpace, history: History, trials: int, seed: int = 0, score: Score = hill
) -> History:
    """A sequential search of `trials` trials, or as many as the strategy proposes."""
    for _ in range(trials):
        number = len(history)
        proposal = strategy.propose(space, history, np.random.default_rng([seed, number]))
        if proposal is None:
            break
        history = extended(history, record(number, proposal.arch, score(proposal.arch.genes), proposal.budget))
    return history


def beats(history: History, a: Trial, b: Trial) -> bool:
    """Deb's rule, then Pareto dominance."""
    excess_a, excess_b = history.violations([a, b])
    if excess_a or excess_b:
        return bool(excess_a < excess_b)
    x, y = history.values([a, b])
    return bool((x >= y).all() and (x > y).any())
