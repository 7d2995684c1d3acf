"""Hyperband: brackets of successive halving, which begin with different budgets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nas.architecture import Architecture
from nas.history import History, Proposal, State
from nas.strategies.fidelity.schedule import EMERGED, Factor, Fidelity, begun_at, results_at, rungs, starts
from nas.strategies.ranking import best_first
from nas.utils.annotations import PositiveInt
from nas.utils.checked import checked

ROUNDING = 1e-9  # of powers of a factor that is no whole number


@dataclass(frozen=True)
class Bracket:
    """A bracket of successive halving.

    Args:
        budgets: Epochs of its rungs, in ascending order.
        sizes: Number of networks on each rung.
    """

    budgets: tuple[int, ...]
    sizes: tuple[int, ...]


def brackets(eta: float, budgets: Sequence[int]) -> tuple[Bracket, ...]:
    """Return the brackets of one round.

    Bracket s begins floor((s_max + 1) / (s + 1)) * eta^s networks, as in table 1 of the paper (its algorithm 1 rounds
    the product up instead), on the rung s below the highest, and keeps one in eta on each rung.

    Source: Li et al., Hyperband, JMLR 18(185), 2018 (arXiv 1603.06560), table 1.

    Args:
        eta: Reduction factor.
        budgets: Epochs of all rungs, in ascending order.

    Returns:
        The brackets, the one with the smallest budget first.
    """
    found = []
    for lowest in range(len(budgets)):
        halvings = len(budgets) - 1 - lowest
        begun = math.floor(len(budgets) / (halvings + 1)) * eta**halvings
        sizes = tuple(max(math.floor(begun / eta**step + ROUNDING), 1) for step in range(halvings + 1))
        found.append(Bracket(tuple(budgets[lowest:]), sizes))
    return tuple(found)


@checked("fidelity")
class Hyperband(Fidelity):
    """Hyperband: rounds of brackets; each begins fewer networks with a larger budget than the one before.

    So a search loses little if short trainings rank networks badly. On each rung of a bracket the best 1/eta are
    promoted when all its networks have ended; meanwhile further workers begin networks of the next bracket. The first
    budget of a network identifies its bracket, and the order of these networks its round. Networks are compared by
    Pareto rank within the rung of the bracket (feasible before infeasible), ties by score.

    Source: Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, JMLR 18(185), 2018
    (arXiv 1603.06560), algorithm 1 and table 1.

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
        self.brackets = brackets(eta, self.budgets)

    def start(self, history: History) -> int:
        """Return the smallest budget of the first bracket of the round that is not full."""
        counts = [len(self._members(history, bracket)) for bracket in self.brackets]
        full = [count // bracket.sizes[0] for count, bracket in zip(counts, self.brackets, strict=True)]
        return self.brackets[full.index(min(full))].budgets[0]

    def promotion(self, history: History, *, closed: bool = False) -> Proposal | None:
        """Return the best network that waits for its promotion, in the first bracket that has one."""
        for bracket, members in self._of_rounds(history):
            waiting, budget = self._waiting(history, bracket, members, closed)
            if budget is not None:
                begun = begun_at(history, budget)
                return next(Proposal(arch, budget) for arch in waiting if arch.id not in begun)
        return None

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks of incomplete rungs and those that wait for their promotion."""
        found = (self._waiting(history, bracket, members, False)[0] for bracket, members in self._of_rounds(history))
        return frozenset(arch.id for waiting in found for arch in waiting)

    def mean_budget(self, continues: bool) -> float:
        """Return the mean of the epochs of all trials of a round."""
        epochs = trials = 0
        for bracket in self.brackets:
            before = (0, *bracket.budgets[:-1]) if continues else (0,) * len(bracket.budgets)
            for size, budget, done in zip(bracket.sizes, bracket.budgets, before, strict=True):
                epochs, trials = epochs + size * (budget - done), trials + size
        return epochs / trials

    def _members(self, history: History, bracket: Bracket) -> list[Architecture]:
        return [arch for arch, budget in starts(history) if budget == bracket.budgets[0]]

    def _of_rounds(self, history: History) -> Iterator[tuple[Bracket, list[Architecture]]]:
        """Return each bracket of each round with its networks."""
        members = [self._members(history, bracket) for bracket in self.brackets]
        rounds = [math.ceil(len(own) / one.sizes[0]) for own, one in zip(members, self.brackets, strict=True)]
        for begin in range(max(rounds)):
            for own, bracket in zip(members, self.brackets, strict=True):
                size = bracket.sizes[0]
                if own[begin * size :]:
                    yield bracket, own[begin * size : (begin + 1) * size]

    def _waiting(
        self, history: History, bracket: Bracket, members: list[Architecture], closed: bool
    ) -> tuple[list[Architecture], int | None]:
        """Return the networks on the first rung that is not settled, and the budget to which they are promoted.

        The budget is None if some of them are still running or have not begun, or nothing is left to promote.
        """
        alive, full = members, closed or len(members) == bracket.sizes[0]
        for step, (lower, upper) in enumerate(pairwise(bracket.budgets), start=1):
            states = begun_at(history, lower)
            if not full or any(states.get(arch.id, State.RUNNING) is State.RUNNING for arch in alive):
                return [arch for arch in alive if states.get(arch.id) is not State.FAILED], None
            ids = {arch.id for arch in alive}
            finished = [trial for trial in results_at(history, lower) if trial.arch.id in ids]
            kept = bracket.sizes[step] if len(members) == bracket.sizes[0] else _share(len(members), self.eta, step)
            alive = [finished[row].arch for row in best_first(history, finished)[:kept]]
            begun = begun_at(history, upper)
            if any(arch.id not in begun for arch in alive):
                return alive, upper
        return [], None


def _share(count: int, eta: float, step: int) -> int:
    """Return how many networks of a bracket that stays incomplete reach a rung."""
    return math.floor(count / eta**step + ROUNDING)
