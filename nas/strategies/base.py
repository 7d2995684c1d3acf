"""What a strategy is, and the draws that several share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nas.history import CostFunction, History, Proposal
from nas.space import SearchSpace
from nas.strategies.partial_order.dominance import DominanceConstraint, PrunedSet
from nas.strategies.sampling import OPEN, CostWindow

if TYPE_CHECKING:
    from nas.cost.model import CostModel
    from nas.evaluators.base import EvaluationContext


class Strategy(ABC):
    """Proposes from the history alone: no state, so that any number of workers can run it, a killed worker loses
    nothing, and a resumed study goes on where it was. What an instance keeps may save time, never change an answer;
    what `begin` learns follows from the study's settings alone.

    trains_supernet: whether `begin` trains a supernet, in which several processes may take part. limits: the costs that
    all proposals keep to, and that a random search beside this strategy has to keep to as well.
    """

    trains_supernet: ClassVar[bool] = False
    limits: CostWindow = OPEN

    def require(self, cost: CostModel) -> None:
        """Raises NASError where the settings cannot work for the space and task of a cost. Called before a study is
        made, so that a mistake leaves nothing behind."""
        return

    def begin(self, context: EvaluationContext, cost: CostModel) -> None:
        """Called by each worker before its first proposal; most strategies have nothing to learn beforehand."""
        return

    @abstractmethod
    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next architecture to evaluate, at a budget at which no trial holds it; None: the search is over."""

    def cuts(self, history: History) -> list[DominanceConstraint]:
        """What the history rules out, for those strategies that rule anything out."""
        return []

    def pruned_set(self, space: SearchSpace, cost: CostFunction) -> PrunedSet | None:
        """Bookkeeping of what `cuts` rule out, for people to look at; None where it rules out nothing."""
        return None
