"""Architectures at a price per unit of cost, which turns a limit on the cost into a part of the score.

The best path at any price bounds the score of every architecture within a budget (Lagrangian relaxation: Handler and
Zang, Networks 10(4), 1980). A premium is a negative price. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores
from search_spaces.dints.paths import best_path

PREMIUMS = 60  # doublings, then halvings, of a premium
SLACK = 1e-9  # relative; room for rounding where a bound is compared with what it bounds


class Pricing:
    """Paths are architectures as operations (B, E), -1 for an edge that is off."""

    def __init__(self, scores: Scores, costs: EdgeCosts) -> None:
        self.scores, self.costs = scores, costs

    def values(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Score minus price times cost: of each operation on each edge (B, E, K), and of each pattern with the best
        operations (B, N); without what stems and head cost."""
        edges_BEK = self.scores.operations_BEK - price * self.costs.edge_EK
        return edges_BEK, self.scores.patterns_BN + edges_BEK.max(axis=2) @ self.scores.lattice.patterns_NE.T

    def priced(self, price: float) -> Scores:
        """The scores of architectures minus price times cost, stems and head included."""
        lattice = self.scores.lattice
        edges_BEK, value_BN = self.values(price)
        value_BN[0] -= price * self.costs.start_S[lattice.entered_N]
        value_BN[-1] -= price * self.costs.end_S[lattice.left_N]
        return Scores(lattice, value_BN, edges_BEK - edges_BEK.max(axis=2, keepdims=True))

    def path(self, price: float) -> np.ndarray:
        """The best at that price."""
        priced = self.priced(price)
        return priced.best_operations(best_path(priced.lattice, priced.patterns_BN)[0])

    def cheapest(self) -> np.ndarray:
        alike = (np.zeros_like(scores) for scores in (self.scores.patterns_BN, self.scores.operations_BEK))
        return Pricing(Scores(self.scores.lattice, *alike), self.costs).path(1.0)

    def least_bound(self, dear: np.ndarray, cheap: np.ndarray, budget: float) -> tuple[float, np.ndarray]:
        """The price with the least bound, where a path within the budget and one beyond it are equally good, and the
        best path found within the budget. dear: the best path at no price, above the budget; cheap: one within it."""
        best = cheap
        while True:
            saved = self.costs.of(dear) - self.costs.of(cheap)
            price = max(0.0, (self.scores.of_table(dear) - self.scores.of_table(cheap)) / saved)
            between = self.path(price)
            worth = [self.scores.of_table(path) - price * self.costs.of(path) for path in (between, dear)]
            within = self.costs.of(between) <= budget
            if within and self.scores.of_table(between) > self.scores.of_table(best):
                best = between
            if worth[0] <= worth[1] + SLACK * (1 + abs(worth[1])):
                return price, best
            dear, cheap = (dear, between) if within else (between, cheap)

    def premiums(self, target: float) -> Iterator[tuple[float, np.ndarray]]:
        """Premiums and the best paths at them: doubled until a path costs the target, then bisected; the last of them
        is the least premium found at which it does."""
        low, high = 0.0, 1 / target
        for _ in range(PREMIUMS):
            path = self.path(-high)
            yield high, path
            if self.costs.of(path) >= target:
                break
            low, high = high, 2 * high
        for _ in range(PREMIUMS):
            middle = (low + high) / 2
            path = self.path(-middle)
            yield middle, path
            low, high = (low, middle) if self.costs.of(path) >= target else (middle, high)
        yield high, self.path(-high)

    def price_between(self, least: float, most: float) -> float | None:
        """The price at which the best architectures cost from `least` to `most`. None where every architecture costs
        more, or no premium reaches the least."""
        free = self.path(0.0)
        spent = self.costs.of(free)
        if spent > most:
            cheapest = self.cheapest()
            return self.least_bound(free, cheapest, most)[0] if self.costs.of(cheapest) <= most else None
        if spent >= least:
            return 0.0
        *_, (premium, dearest) = self.premiums(least)
        return -premium if self.costs.of(dearest) >= least else None
