"""Asynchronous successive halving: short trainings of many networks, longer ones of the best."""

from __future__ import annotations

from itertools import pairwise

from nas.history import History, Proposal
from nas.strategies.fidelity.schedule import EMERGED, Factor, Fidelity, begun_at, results_at, rungs
from nas.strategies.ranking import best_first
from nas.utils.annotations import PositiveInt
from nas.utils.checked import checked


@checked("fidelity")
class ASHA(Fidelity):
    """Asynchronous successive halving (ASHA): no worker ever waits for a rung to be complete.

    Each rung has about `eta` times the budget of the rung below. The network that is promoted next is on the highest
    rung with one that is among the best 1/eta of its finished networks and was not promoted before; if there is none,
    a new network starts on the lowest rung. A failed promotion is not repeated. Networks are compared by Pareto rank
    within the rung (feasible before infeasible), ties by score.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (arXiv 1810.05934), algorithm
    2; ranks for several objectives as in Schmucker et al., Multi-objective ASHA (arXiv 2106.12639).

    Args:
        eta: Reduction factor, at least 2.
        min_budget: Epochs of the lowest rung, at least 1; past the epoch at which all classes are predicted.
        max_budget: Epochs of the highest rung, at least `min_budget`.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(self, eta: Factor = 3, min_budget: PositiveInt = EMERGED, max_budget: PositiveInt = 81) -> None:
        self.eta, self.min_budget, self.max_budget = eta, min_budget, max_budget
        self.budgets = rungs(eta, min_budget, max_budget)

    def start(self, history: History) -> int:
        """Return the budget of the lowest rung."""
        return self.budgets[0]

    def promotion(self, history: History, *, closed: bool = False) -> Proposal | None:
        """Return the best network of the highest rung with one that may be promoted."""
        for lower, upper in reversed(list(pairwise(self.budgets))):
            promoted = begun_at(history, upper)
            finished = results_at(history, lower)
            for row in best_first(history, finished)[: int(len(finished) / self.eta)]:
                if finished[row].arch.id not in promoted:
                    return Proposal(finished[row].arch, upper)
        return None

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks that are not on the highest rung, as each may be promoted when more trials have ended."""
        highest = self.budgets[-1]
        return frozenset(trial.arch.id for trial in history.final() if trial.budget < highest)

    def mean_budget(self, continues: bool) -> float:
        """Return the mean of the epochs of all rungs, as often as networks reach them."""
        shares = [self.eta**-rung for rung in range(len(self.budgets))]
        run = self.epochs_run(continues)
        return sum(share * epochs for share, epochs in zip(shares, run, strict=True)) / sum(shares)
