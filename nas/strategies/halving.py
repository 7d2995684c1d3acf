"""Asynchronous successive halving: short trainings of many networks, longer ones of the best."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.errors import NASError
from nas.history import History, Proposal
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.ranking import best_first, first_results
from nas.strategies.sampling import accept_all, draw
from nas.utils.annotations import PositiveInt
from nas.utils.checked import checked


@checked("strategy")
class SuccessiveHalving(Strategy):
    """Asynchronous successive halving (ASHA).

    Each rung has about `eta` times the budget of the rung below. A proposal promotes a network from the highest rung
    with one that is among the best 1/eta of its finished trials and was not promoted before; if there is none, a random
    network starts at `min_budget`. Every rung of a network is a trial of the study. A promoted training continues from
    its checkpoint if the learning rate is constant (training.schedule=constant), else it starts again. A failed
    promotion is not repeated. Networks are compared by Pareto rank within the rung (feasible before infeasible), ties
    by score.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (arXiv 1810.05934), algorithm
    2 (ASHA); ranks for several objectives as in Schmucker et al., Multi-objective ASHA (arXiv 2106.12639).

    Args:
        eta: Reduction factor, at least 2.
        min_budget: Epochs of the lowest rung, at least 1.
        max_budget: Epochs of the highest rung, at least `min_budget`.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self, eta: Annotated[float, Ge(2), Le(1000)] = 3, min_budget: PositiveInt = 2, max_budget: PositiveInt = 50
    ) -> None:
        if min_budget > max_budget:
            raise NASError(
                f"strategy.min_budget={min_budget} with strategy.max_budget={max_budget}",
                "min_budget <= max_budget",
                f"set strategy.min_budget to {max_budget} or less",
            )
        self.eta, self.min_budget, self.max_budget = eta, min_budget, max_budget
        self.budgets = rungs(eta, min_budget, max_budget)

    @property
    def mean_budget(self) -> float:
        """Mean of the rungs' budgets, as often as networks reach them."""
        shares = [self.eta**-rung for rung in range(len(self.budgets))]
        return sum(share * budget for share, budget in zip(shares, self.budgets, strict=True)) / sum(shares)

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks that are not on the highest rung, as each may be promoted when more trials have ended."""
        highest = self.budgets[-1]
        return frozenset(trial.arch.id for trial in history.final() if trial.budget < highest)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        done = first_results(history)
        for lower, upper in reversed(list(zip(self.budgets, self.budgets[1:], strict=False))):
            promoted = {record.arch.id for record in history if record.budget == upper}
            finished = [record for record in done if record.budget == lower]
            for row in best_first(history, finished)[: int(len(finished) / self.eta)]:
                if finished[row].arch.id not in promoted:
                    return Proposal(finished[row].arch, upper)
        arch = draw(space, history, accept_all, rng)
        return None if arch is None else Proposal(arch, self.budgets[0])


def rungs(eta: float, lowest: int, highest: int) -> tuple[int, ...]:
    """Return the budgets of the rungs: lowest, lowest * eta, lowest * eta^2, ... and highest.

    Budgets within a factor of sqrt(eta) of the highest are left out.

    Args:
        eta: Reduction factor, at least 2.
        lowest: Budget of the lowest rung.
        highest: Budget of the highest rung.

    Returns:
        Budgets in ascending order.
    """
    count = math.floor(math.log(highest / lowest, eta) + 1e-9) + 1
    budgets = [round(lowest * eta**step) for step in range(count)]
    while len(budgets) > 1 and highest / budgets[-1] < math.sqrt(eta):
        budgets.pop()
    return tuple(dict.fromkeys([*budgets, highest]))
