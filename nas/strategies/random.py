"""Random search without repetition."""

from __future__ import annotations

import numpy as np

from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.sampling import CostWindow, draw
from nas.utils.annotations import NonNegativeFloat
from nas.utils.checked import checked


@checked("strategy")
class RandomSearch(Strategy):
    """Random search: samples of the space within a cost window, without repetition.

    Source: Li and Talwalkar, Random Search and Reproducibility for NAS, UAI 2019 (arXiv 1902.07638), the baseline of
    all other strategies.

    Args:
        cost_min: Minimum cost in the study's cost unit. If None, there is no minimum.
        cost_max: Maximum cost. If None, there is no maximum.
    """

    def __init__(self, cost_min: NonNegativeFloat | None = None, cost_max: NonNegativeFloat | None = None) -> None:
        self.cost_min, self.cost_max = cost_min, cost_max
        self.limits = CostWindow(cost_min, cost_max)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        arch = draw(space, history, self.limits, rng)
        return None if arch is None else Proposal(arch)
