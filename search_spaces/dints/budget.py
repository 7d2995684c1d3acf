"""The best architecture within a hard budget, exactly: a resource-constrained longest path.

At the price with the least bound (`pricing.py`), only architectures that can still reach the best one found so far are
gone through, block by block, keeping for each state those that are not both dearer and worse than another: Handler and
Zang, Networks 10(4), 1980; Desrochers and Soumis, INFOR 26(3), 1988. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.errors import NASError
from nas.supernets.base import NEAR, allowed_costs
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores
from search_spaces.dints.paths import best_between
from search_spaces.dints.pricing import SLACK, Pricing


def best_within(scores: Scores, costs: EdgeCosts, budget: float) -> tuple[np.ndarray, float]:
    """Operations (B, E), -1 for off, of the architecture with the largest score whose cost is at most `budget`, and
    the score. Raises NASError where the cheapest feasible architecture costs more, and says what it costs."""
    search = _Search(scores, costs, budget)
    incumbent = search.solve(f"a budget of {budget:.12g}")
    return incumbent, scores.of_table(incumbent)


def best_near(scores: Scores, costs: EdgeCosts, target: float, budget: float | None = None) -> tuple[np.ndarray, float]:
    """The same for an architecture that costs about `target` (see `NEAR`): the best one not above that, and where it is
    cheaper than wanted, one that is best at a premium on cost; the nearest that premiums find where none is within.
    A budget is kept in any case."""
    _, most = allowed_costs(target, budget)
    search = _Search(scores, costs, most)
    found = search.solve(f"a target of {target:.12g}" if budget is None else f"a budget of {most:.12g}")
    if costs.of(found) < (1 - NEAR) * target:
        found = search.dearer(found, target)
    return found, scores.of_table(found)


@dataclass
class _Partial:
    """Ways to reach a state: cost_M, score_M, and operations_MbE of the b blocks so far."""

    cost_M: np.ndarray
    score_M: np.ndarray
    operations_MbE: np.ndarray

    def kept(self, keep: np.ndarray) -> _Partial:
        return _Partial(self.cost_M[keep], self.score_M[keep], self.operations_MbE[keep])

    def front(self) -> np.ndarray:
        """Rows by rising cost, each with a larger score than all before it."""
        order = np.lexsort((-self.score_M, self.cost_M))
        score_M = self.score_M[order]
        before_M = np.concatenate([[-np.inf], np.maximum.accumulate(score_M)])[: len(score_M)]
        return order[score_M > before_M]

    def undominated(self) -> _Partial:
        return self.kept(self.front())


class _Search:
    def __init__(self, scores: Scores, costs: EdgeCosts, budget: float) -> None:
        self.pricing = Pricing(scores, costs)
        self.scores, self.costs, self.budget = scores, costs, budget
        self.lattice = scores.lattice
        self.blocks = len(scores.patterns_BN)

    def solve(self, limit: str) -> np.ndarray:
        """limit: what to call the budget where no architecture keeps it."""
        free = self.pricing.path(0.0)
        if self.costs.of(free) <= self.budget:
            return free
        cheapest = self.pricing.cheapest()
        if self.costs.of(cheapest) > self.budget:
            raise NASError(
                limit,
                f"at least {self.costs.of(cheapest):.12g}, the cost of the smallest feasible architecture",
                "raise it, or make the space smaller (space.channel_mul, space.num_blocks)",
            )
        price, best = self.pricing.least_bound(free, cheapest, self.budget)
        return self._close(price, best)

    def dearer(self, cheap: np.ndarray, target: float) -> np.ndarray:
        """Of the paths at premiums found by bisection, none above the budget, the one nearest to the target; of those
        within reach of it the one with the best score."""
        paths = [cheap, *(path for _, path in self.pricing.premiums(target))]
        found = [path for path in paths if self.costs.of(path) <= self.budget]
        away = [abs(self.costs.of(path) / target - 1) for path in found]
        near = [path for path, distance in zip(found, away, strict=True) if distance <= NEAR]
        return max(near, key=self.scores.of_table) if near else found[int(np.argmin(away))]

    def _close(self, price: float, best: np.ndarray) -> np.ndarray:
        """The best architecture within the budget, at least as good as `best`."""
        edges_BEK, value_BN = self.pricing.values(price)
        ahead, cheapest = self._ahead(value_BN, -price * self.costs.end_S), self._cheapest_ahead()
        least = self.scores.of_table(best) - price * self.budget
        least -= SLACK * (1 + abs(least))
        start_S = self.costs.start_S
        reached = {
            state: _Partial(start_S[state : state + 1], np.zeros(1), np.empty((1, 0, self.lattice.edges), np.int64))
            for state in range(self.lattice.states)
        }
        for block in range(self.blocks):
            parts: dict[int, list[_Partial]] = {}
            for state, partial in reached.items():
                # the best worth with which a path arrives here decides which patterns are gone through at all
                arrival = float((partial.score_M - price * partial.cost_M).max())
                through_N = arrival + value_BN[block] + ahead[block + 1][self.lattice.left_N]
                for row in np.flatnonzero((self.lattice.entered_N == state) & (through_N >= least)):
                    after = int(self.lattice.left_N[row])
                    choices = self._choices(block, int(row), edges_BEK[block], through_N[row] - least)
                    joined = _join(partial, choices)
                    worth_M = joined.score_M - price * joined.cost_M + ahead[block + 1][after]
                    affordable_M = joined.cost_M + cheapest[block + 1][after] <= self.budget
                    parts.setdefault(after, []).append(joined.kept((worth_M >= least) & affordable_M).undominated())
            reached = {state: _together(found).undominated() for state, found in parts.items()}
            reached = {state: partial for state, partial in reached.items() if len(partial.cost_M)}
        found = [partial.operations_MbE[partial.score_M.argmax()] for partial in reached.values()]
        return max([best, *found], key=self.scores.of_table)

    def _choices(self, block: int, row: int, edges_EK: np.ndarray, slack: float) -> _Partial:
        """The operations on the edges of a pattern that lose at most `slack` of worth, and are not dominated."""
        edges = np.flatnonzero(self.lattice.patterns_NE[row])
        loss_EK = edges_EK.max(axis=1, keepdims=True) - edges_EK
        found = _Partial(
            np.zeros(1), self.scores.patterns_BN[block, row : row + 1], np.full((1, 1, self.lattice.edges), -1)
        )
        lost_M = np.zeros(1)
        for e in edges:
            options = np.flatnonzero(loss_EK[e] <= slack)
            total_MO = lost_M[:, None] + loss_EK[e, options]
            rows, columns = np.nonzero(total_MO <= slack)
            operations_MbE = found.operations_MbE[rows]
            operations_MbE[:, 0, e] = options[columns]
            grown = _Partial(
                found.cost_M[rows] + self.costs.edge_EK[e, options[columns]],
                found.score_M[rows] + self.scores.operations_BEK[block, e, options[columns]],
                operations_MbE,
            )
            keep = grown.front()
            found, lost_M = grown.kept(keep), total_MO[rows, columns][keep]
        return found

    def _ahead(self, value_BN: np.ndarray, end_S: np.ndarray) -> list[np.ndarray]:
        """(B + 1) rows (S,): the best value of the blocks from b on, after a state."""
        rows = [end_S]
        for best_SS in best_between(self.lattice, value_BN)[::-1]:
            rows.append((best_SS + rows[-1]).max(axis=1))
        return rows[::-1]

    def _cheapest_ahead(self) -> list[np.ndarray]:
        cost_BN = np.tile(self.costs.edge_EK.min(axis=1) @ self.lattice.patterns_NE.T, (self.blocks, 1))
        return [-row for row in self._ahead(-cost_BN, -self.costs.end_S)]


def _join(before: _Partial, after: _Partial) -> _Partial:
    """Every way of the one followed by every way of the other."""
    rows, columns = (grid.ravel() for grid in np.indices((len(before.cost_M), len(after.cost_M))))
    return _Partial(
        before.cost_M[rows] + after.cost_M[columns],
        before.score_M[rows] + after.score_M[columns],
        np.concatenate([before.operations_MbE[rows], after.operations_MbE[columns]], axis=1),
    )


def _together(parts: list[_Partial]) -> _Partial:
    return _Partial(
        np.concatenate([part.cost_M for part in parts]),
        np.concatenate([part.score_M for part in parts]),
        np.concatenate([part.operations_MbE for part in parts]),
    )
