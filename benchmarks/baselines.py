"""Strategies of comparisons: random search under a rule, networks in the order of their cost, listed networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.architecture import Architecture
from nas.history import CostFunction, History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.sampling import accept_all, draw
from search_spaces.dints.space import DiNTSSpace

TRIES = 64


class FullPath(Strategy):
    """Random search among DiNTS networks whose finest level is read by the head through an unbroken path."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Draw one; None if the space has no levels."""
        if not isinstance(space, DiNTSSpace):
            return None
        lattice = space.lattice
        straight = int(np.flatnonzero((lattice.sources_E == 0) & (lattice.targets_E == 0))[0])

        def accept(genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
            on_NBE = genes_NG.reshape(len(genes_NG), space.num_blocks, lattice.edges) > 0
            return np.asarray(on_NBE[:, :, straight].all(axis=1))

        arch = draw(space, history, accept, rng)
        return None if arch is None else Proposal(arch)


class ByCost(Strategy):
    """The most expensive of some random networks that were not tried yet: what the cost alone predicts."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Draw some and return the most expensive; None if nothing is left."""
        drawn = [draw(space, history, accept_all, rng) for _ in range(TRIES)]
        archs = [arch for arch in drawn if arch is not None]
        if not archs:
            return None
        return Proposal(archs[int(np.argmax(history.cost(np.array([arch.genes for arch in archs]))))])


class Continued(Strategy):
    """Takes the first networks from a list, and later ones from a strategy.

    Args:
        listed: Networks in their order.
        first: How many of them come before the strategy.
        strategy: The strategy; None to end with the list.
    """

    def __init__(self, listed: Sequence[Architecture], first: int = 0, strategy: Strategy | None = None) -> None:
        self.listed, self.first, self.strategy = listed, first, strategy

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Return the next network of the list, or what the strategy proposes; None after the list without one."""
        if self.strategy is not None and len(history) >= self.first:
            return self.strategy.propose(space, history, rng)
        return Proposal(self.listed[len(history)]) if len(history) < len(self.listed) else None
