"""The best architecture within a hard budget, exactly: a resource-constrained longest path.

At the price with the least bound (`pricing.py`), a label-setting algorithm goes through the architectures that can
still reach the best score met so far, block by block, and keeps for each state the partial architectures that no other
one dominates in cost and score: Handler and Zang, Networks 10(4), 1980; Desrochers and Soumis, INFOR 26(3), 1988. Axes
as in `topology`; K: operations; M: partial architectures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.errors import NASError
from nas.supernets.base import NEAR, allowed_costs
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores
from search_spaces.dints.paths import best_between
from search_spaces.dints.pricing import TOLERANCE, Pricing


def best_within(scores: Scores, costs: EdgeCosts, budget: float) -> tuple[np.ndarray, float]:
    """Find the architecture with the largest score whose cost is at most the budget.

    Args:
        scores: Scores of all architectures.
        costs: Their costs.
        budget: Largest cost that is allowed, in the unit of `costs`.

    Returns:
        Its operations (B, E), -1 for off, and its score.

    Raises:
        NASError: If the cheapest feasible architecture costs more; the message states its cost.
    """
    best = _best_within(Pricing(scores, costs), budget, f"a budget of {budget:.12g}")
    return best, scores.of_table(best)


def best_near(scores: Scores, costs: EdgeCosts, target: float, budget: float | None = None) -> tuple[np.ndarray, float]:
    """Find the best architecture that costs about `target` (see `nas.supernets.base.NEAR`) and at most the budget.

    If the best one within the limit is cheaper than that, the search continues with premiums on cost, and the result
    is the nearest architecture that they lead to.

    Args:
        scores: Scores of all architectures.
        costs: Their costs.
        target: Cost to come near to, > 0, in the unit of `costs`.
        budget: Largest cost that is allowed, or None.

    Returns:
        Its operations (B, E), -1 for off, and its score.

    Raises:
        NASError: If the cheapest feasible architecture costs more than the limits allow.
    """
    _, most = allowed_costs(target, budget)
    pricing = Pricing(scores, costs)
    limit = f"a target of {target:.12g}" if budget is None else f"a budget of {most:.12g}"
    best = _best_within(pricing, most, limit)
    if costs.of(best) < (1 - NEAR) * target:
        best = _more_expensive(pricing, best, target, most)
    return best, scores.of_table(best)


def _best_within(pricing: Pricing, budget: float, limit: str) -> np.ndarray:
    """Find the best path within the budget, which messages call `limit`."""
    bound = pricing.least_bound(budget)
    if bound is None:
        raise NASError(
            limit,
            f"at least {pricing.costs.of(pricing.cheapest()):.12g}, the cost of the smallest feasible architecture",
            "raise it, or make the space smaller (space.channel_mul, space.num_blocks)",
        )
    price, best = bound
    return _LabelSetting(pricing, budget, price, best).solve() if price > 0 else best


def _more_expensive(pricing: Pricing, cheap: np.ndarray, target: float, budget: float) -> np.ndarray:
    """Choose among the paths at premiums within the budget: the best one near the target, otherwise the nearest."""
    costs = pricing.costs
    paths = [cheap, *(path for _, path in pricing.premiums(target))]
    paths = [path for path in paths if costs.of(path) <= budget]
    distances = [abs(costs.of(path) / target - 1) for path in paths]
    near = [path for path, distance in zip(paths, distances, strict=True) if distance <= NEAR]
    return max(near, key=pricing.scores.of_table) if near else paths[int(np.argmin(distances))]


@dataclass
class _Labels:
    """Partial architectures of b blocks that end in one state: cost_M, score_M and operations_MbE."""

    cost_M: np.ndarray
    score_M: np.ndarray
    operations_MbE: np.ndarray

    def select(self, rows: np.ndarray) -> _Labels:
        return _Labels(self.cost_M[rows], self.score_M[rows], self.operations_MbE[rows])

    def front(self) -> np.ndarray:
        """Rows by rising cost, each with a larger score than all before it."""
        order = np.lexsort((-self.score_M, self.cost_M))
        score_M = self.score_M[order]
        before_M = np.concatenate([[-np.inf], np.maximum.accumulate(score_M)])[: len(score_M)]
        return order[score_M > before_M]

    def undominated(self) -> _Labels:
        return self.select(self.front())


class _LabelSetting:
    """The labels of each state that can lead to a path within the budget that is at least as good as `best`."""

    def __init__(self, pricing: Pricing, budget: float, price: float, best: np.ndarray) -> None:
        self.scores, self.costs, self.lattice = pricing.scores, pricing.costs, pricing.scores.lattice
        self.budget, self.price, self.best = budget, price, best
        self.edges_BEK, self.value_BN = pricing.values(price)
        self.blocks = len(self.value_BN)
        self.remaining_value = self._remaining(self.value_BN, -price * self.costs.end_S)
        cost_BN = np.tile(self.costs.edge_EK.min(axis=1) @ self.lattice.patterns_NE.T, (self.blocks, 1))
        self.remaining_cost = [-row_S for row_S in self._remaining(-cost_BN, -self.costs.end_S)]
        least = self.scores.of_table(best) - price * budget
        self.least = least - TOLERANCE * (1 + abs(least))  # priced score that a path has to reach

    def _remaining(self, value_BN: np.ndarray, end_S: np.ndarray) -> list[np.ndarray]:
        """Return B + 1 rows (S,): the best value of the blocks from b on, starting from each state."""
        rows = [end_S]
        for best_SS in best_between(self.lattice, value_BN)[::-1]:
            rows.append((best_SS + rows[-1]).max(axis=1))
        return rows[::-1]

    def solve(self) -> np.ndarray:
        start_S, edges = self.costs.start_S, self.lattice.edges
        labels = {
            state: _Labels(start_S[state : state + 1], np.zeros(1), np.empty((1, 0, edges), np.int64))
            for state in range(self.lattice.states)
        }
        for block in range(self.blocks):
            labels = self._extend(block, labels)
        paths = [group.operations_MbE[group.score_M.argmax()] for group in labels.values()]
        return max([self.best, *paths], key=self.scores.of_table)

    def _extend(self, block: int, labels: dict[int, _Labels]) -> dict[int, _Labels]:
        """Extend the labels of each state by one block."""
        extended: dict[int, list[_Labels]] = {}
        for state, group in labels.items():
            # the best priced score on arrival decides which patterns are tried at all
            arrival = float((group.score_M - self.price * group.cost_M).max())
            through_N = arrival + self.value_BN[block] + self.remaining_value[block + 1][self.lattice.left_N]
            for row in np.flatnonzero((self.lattice.entered_N == state) & (through_N >= self.least)):
                after = int(self.lattice.left_N[row])
                joined = _join(group, self._choices(block, int(row), through_N[row] - self.least))
                value_M = joined.score_M - self.price * joined.cost_M + self.remaining_value[block + 1][after]
                affordable_M = joined.cost_M + self.remaining_cost[block + 1][after] <= self.budget
                reachable = joined.select((value_M >= self.least) & affordable_M)
                extended.setdefault(after, []).append(reachable.undominated())
        merged = {state: _concatenate(groups).undominated() for state, groups in extended.items()}
        return {state: group for state, group in merged.items() if len(group.cost_M)}

    def _choices(self, block: int, row: int, slack: float) -> _Labels:
        """Return the undominated operations on a pattern's edges that lose at most `slack` of the priced score."""
        edges_EK = self.edges_BEK[block]
        loss_EK = edges_EK.max(axis=1, keepdims=True) - edges_EK
        labels = _Labels(
            np.zeros(1), self.scores.patterns_BN[block, row : row + 1], np.full((1, 1, self.lattice.edges), -1)
        )
        lost_M = np.zeros(1)
        for e in np.flatnonzero(self.lattice.patterns_NE[row]):
            options = np.flatnonzero(loss_EK[e] <= slack)
            total_MO = lost_M[:, None] + loss_EK[e, options]
            rows, columns = np.nonzero(total_MO <= slack)
            operations_MbE = labels.operations_MbE[rows]
            operations_MbE[:, 0, e] = options[columns]
            grown = _Labels(
                labels.cost_M[rows] + self.costs.edge_EK[e, options[columns]],
                labels.score_M[rows] + self.scores.operations_BEK[block, e, options[columns]],
                operations_MbE,
            )
            front = grown.front()
            labels, lost_M = grown.select(front), total_MO[rows, columns][front]
        return labels


def _join(before: _Labels, after: _Labels) -> _Labels:
    """Combine each of the first labels with each of the second."""
    rows, columns = (grid.ravel() for grid in np.indices((len(before.cost_M), len(after.cost_M))))
    return _Labels(
        before.cost_M[rows] + after.cost_M[columns],
        before.score_M[rows] + after.score_M[columns],
        np.concatenate([before.operations_MbE[rows], after.operations_MbE[columns]], axis=1),
    )


def _concatenate(groups: list[_Labels]) -> _Labels:
    return _Labels(
        np.concatenate([group.cost_M for group in groups]),
        np.concatenate([group.score_M for group in groups]),
        np.concatenate([group.operations_MbE for group in groups]),
    )
