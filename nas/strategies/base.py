"""What a strategy is, and the draw that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import CostFunction, History, Proposal
from nas.pruned import Cut, PrunedSet
from nas.space import SearchSpace

LARGEST_BATCH = 2048  # after batches of 16, 32, ... up to this without a hit, the whole space is looked through

Accept = Callable[[np.ndarray, np.ndarray], np.ndarray]  # genes (N, G), costs (N,) -> (N,) bool


class Strategy(ABC):
    """Proposes from the history alone: no state, so that any number of workers can run it, a killed worker loses
    nothing, and a resumed study goes on where it was."""

    @abstractmethod
    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next architecture to evaluate, never one that a trial holds already; None: the search is over."""

    def cuts(self, history: History) -> list[Cut]:
        """What the history rules out, for those strategies that rule anything out."""
        return []

    def pruned_set(self, space: SearchSpace, cost: CostFunction) -> PrunedSet | None:
        """Bookkeeping of what `cuts` rule out, for people to look at; None where it rules out nothing."""
        return None


class CostWindow:
    """cost_min <= cost <= cost_max, in the study's cost unit; None leaves a side open."""

    def __init__(self, cost_min: float | None = None, cost_max: float | None = None) -> None:
        self.low = -np.inf if cost_min is None else float(cost_min)
        self.high = np.inf if cost_max is None else float(cost_max)
        if self.low > self.high:
            raise NASError(f"cost_min={cost_min}, cost_max={cost_max}", "cost_min <= cost_max", "mend the cost window")

    def __call__(self, cost_N: np.ndarray) -> np.ndarray:
        return (cost_N >= self.low) & (cost_N <= self.high)


def draw(space: SearchSpace, history: History, accept: Accept, rng: np.random.Generator) -> Architecture | None:
    """One architecture that no trial holds, that keeps the constraints and that `accept` admits, distributed as
    `space.sample` is among those.

    Rejection in growing batches; where the admitted share is tiny, the enumerated space is looked through (uniformly).
    None: nothing is left, or nothing was found in a space too large to list.
    """
    taken = {record.arch.genes for record in history}
    batch = 16
    while batch <= LARGEST_BATCH:
        archs = [arch for arch in (space.sample(rng) for _ in range(batch)) if arch.genes not in taken]
        if archs:
            genes_NG = space.encode(archs)
            hits = np.flatnonzero(history.admits(genes_NG) & accept(genes_NG, history.cost(genes_NG)))
            if len(hits):
                return archs[hits[0]]
        batch *= 2
    every = space.enumerate()
    if every is None:
        return None
    left = np.flatnonzero(history.admits(every) & accept(every, history.cost(every)))
    for row in rng.permutation(left):
        genes = tuple(int(gene) for gene in every[row])
        if genes not in taken:
            return space.architecture(genes)
    return None
