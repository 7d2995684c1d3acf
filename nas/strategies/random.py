"""Random search without repetition."""

from __future__ import annotations

import numpy as np

from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.sampling import CostWindow, draw
from nas.utils.checked import NonNegativeFloat, checked


@checked("strategy")
class RandomSearch(Strategy):
    """Each proposal is a fresh sample of the space inside the cost window.

    Source: Li and Talwalkar, Random Search and Reproducibility for NAS, UAI 2019 (arXiv 1902.07638): the baseline that
    every other strategy is to be shown beside.
    """

    def __init__(self, cost_min: NonNegativeFloat | None = None, cost_max: NonNegativeFloat | None = None) -> None:
        self.limits = CostWindow(cost_min, cost_max)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        arch = draw(space, history, self.limits, rng)
        return None if arch is None else Proposal(arch)
