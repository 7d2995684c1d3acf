"""Architectures at a price per unit of cost, which turns a limit on the cost into a term of the score.

The best path at any price bounds the score of every architecture within a budget (Lagrangian relaxation: Handler and
Zang, Networks 10(4), 1980). A negative price is called a premium. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores
from search_spaces.dints.paths import best_path

MAX_STEPS = 60  # doublings, then bisections, of a premium
TOLERANCE = 1e-9  # relative rounding error allowed in comparisons with a bound


class Pricing:
    """Best architectures when each unit of cost lowers the score by a price.

    An architecture is called a path and given as operations (B, E), -1 for an edge that is off.

    Args:
        scores: Scores of all architectures.
        costs: Their costs, in the unit that a price refers to.
    """

    def __init__(self, scores: Scores, costs: EdgeCosts) -> None:
        self.scores, self.costs = scores, costs

    def values(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Compute score minus price times cost, without the cost of stems and head.

        Args:
            price: Score per unit of cost; may be negative.

        Returns:
            The values of each operation on each edge (B, E, K), and of each pattern with its best operations (B, N).
        """
        edges_BEK = self.scores.operations_BEK - price * self.costs.edge_EK
        return edges_BEK, self.scores.patterns_BN + edges_BEK.max(axis=2) @ self.scores.lattice.patterns_NE.T

    def priced(self, price: float) -> Scores:
        """Compute the scores of architectures minus price times cost, stems and head included.

        Args:
            price: Score per unit of cost; may be negative.

        Returns:
            Scores of the same lattice; `of_table` gives the priced score of an architecture.
        """
        lattice = self.scores.lattice
        edges_BEK, value_BN = self.values(price)
        value_BN[0] -= price * self.costs.start_S[lattice.entered_N]
        value_BN[-1] -= price * self.costs.end_S[lattice.left_N]
        return Scores(lattice, value_BN, edges_BEK - edges_BEK.max(axis=2, keepdims=True))

    def path(self, price: float) -> np.ndarray:
        """Return the best path at a price.

        Args:
            price: Score per unit of cost; may be negative.

        Returns:
            Operations (B, E), -1 for off.
        """
        priced = self.priced(price)
        return priced.best_operations(best_path(priced.lattice, priced.patterns_BN)[0])

    def cheapest(self) -> np.ndarray:
        """Return the path with the least cost.

        Returns:
            The path, in the form of `path`.
        """
        alike = (np.zeros_like(scores) for scores in (self.scores.patterns_BN, self.scores.operations_BEK))
        return Pricing(Scores(self.scores.lattice, *alike), self.costs).path(1.0)

    def least_bound(self, budget: float) -> tuple[float, np.ndarray] | None:
        """Find the price with the least bound on the scores within a budget.

        At this price a path within the budget and one above it are equally good.

        Args:
            budget: Largest cost that is allowed.

        Returns:
            The price and the best path within the budget that was met. At price 0 that path is the best of all. None
            if every architecture costs more.
        """
        over, within = self.path(0.0), self.cheapest()
        if self.costs.of(over) <= budget:
            return 0.0, over
        if self.costs.of(within) > budget:
            return None
        best = within
        while True:
            saved = self.costs.of(over) - self.costs.of(within)
            price = max(0.0, (self.scores.of_table(over) - self.scores.of_table(within)) / saved)
            between = self.path(price)
            value, bound = (self.scores.of_table(path) - price * self.costs.of(path) for path in (between, over))
            affordable = self.costs.of(between) <= budget
            if affordable and self.scores.of_table(between) > self.scores.of_table(best):
                best = between
            if value <= bound + TOLERANCE * (1 + abs(bound)):
                return price, best
            over, within = (over, between) if affordable else (between, within)

    def premiums(self, target: float) -> Iterator[tuple[float, np.ndarray]]:
        """Search the least premium at which the best path costs the target: by doubling, then by bisection.

        Args:
            target: Cost to reach, > 0.

        Yields:
            Premiums with the best paths at them; the last is the least premium at which the target is reached.
        """
        low, high = 0.0, 1 / target
        for _ in range(MAX_STEPS):
            path = self.path(-high)
            yield high, path
            if self.costs.of(path) >= target:
                break
            low, high = high, 2 * high
        for _ in range(MAX_STEPS):
            middle = (low + high) / 2
            path = self.path(-middle)
            yield middle, path
            low, high = (low, middle) if self.costs.of(path) >= target else (middle, high)
        yield high, self.path(-high)

    def price_between(self, least: float, most: float) -> float | None:
        """Find the price at which the best architectures cost from `least` to `most`.

        Args:
            least: Smallest cost that is allowed; may be -inf.
            most: Largest cost that is allowed; may be inf.

        Returns:
            The price; None if every architecture costs more than `most`, or no premium reaches `least`.
        """
        bound = self.least_bound(most)
        if bound is None:
            return None
        price, path = bound
        if price > 0 or self.costs.of(path) >= least:
            return price
        *_, (premium, dearest) = self.premiums(least)
        return -premium if self.costs.of(dearest) >= least else None
