"""The best architecture within a hard budget, exactly, and the next best: a resource-constrained longest path.

A price per unit of cost turns the budget into a part of the score; the best path at any price bounds the score of
every architecture within the budget (Lagrangian relaxation). At the price with the least bound, only architectures
that can still reach the best one found so far are gone through, block by block, keeping for each state those that
are not both dearer and worse than another: Handler and Zang, Networks 10(4), 1980; Desrochers and Soumis, INFOR 26(3),
1988. The next best are among those that are worth most at that price. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nas.errors import NASError
from nas.supernet import NEAR
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best
from search_spaces.dints.paths import best_between, best_path

LOOKED_AT = 256  # architectures gone through for others beside the best
PREMIUMS = 60  # doublings, then halvings, of a premium
SLACK = 1e-9  # relative; room for rounding where a bound is compared with what it bounds


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
    most = (1 + NEAR) * target if budget is None else min((1 + NEAR) * target, budget)
    search = _Search(scores, costs, most)
    found = search.solve(f"a target of {target:.12g}" if budget is None else f"a budget of {most:.12g}")
    if costs.of(found) < (1 - NEAR) * target:
        found = search.dearer(found, target)
    return found, scores.of_table(found)


def next_best(scores: Scores, costs: EdgeCosts, k: int, least: float, most: float) -> list[tuple[np.ndarray, float]]:
    """The best architectures that cost from `least` to `most`, at most k, best first: the k best of all where the bound
    of the price proves it, otherwise those among the `LOOKED_AT` that are worth most at that price."""
    search = _Search(scores, costs, most)
    price = search.price_of(least, most)
    if price is None:
        return []
    priced, count = search.priced(price), k
    while True:
        looked_at = k_best(priced, count)
        tables = [table_BE for table_BE, _ in looked_at if least <= costs.of(table_BE) <= most]
        found = sorted(((table_BE, scores.of_table(table_BE)) for table_BE in tables), key=lambda one: -one[1])
        # the others are worth no more than the last one, and the dearest of them has the largest score for its worth
        beyond = looked_at[-1][1] + (price * (most if price > 0 else least) if price else 0.0)
        proven = len(found) >= k and found[k - 1][1] >= beyond
        if proven or len(looked_at) < count or count >= LOOKED_AT:
            return found[:k]
        count = min(4 * count, LOOKED_AT)


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
        self.scores, self.costs, self.budget = scores, costs, budget
        self.lattice = scores.lattice
        self.blocks = len(scores.patterns_BN)
        self.patterns_EN = self.lattice.patterns_NE.T.astype(np.float64)

    def solve(self, limit: str) -> np.ndarray:
        """limit: what to call the budget where no architecture keeps it."""
        free = self._path(0.0)
        if self.costs.of(free) <= self.budget:
            return free
        cheapest = self._cheapest()
        if self.costs.of(cheapest) > self.budget:
            raise NASError(
                limit,
                f"at least {self.costs.of(cheapest):.12g}, the cost of the smallest feasible architecture",
                "raise it, or make the space smaller (space.channel_mul, space.num_blocks)",
            )
        price, best = self._price(free, cheapest)
        return self._close(price, best)

    def dearer(self, cheap: np.ndarray, target: float) -> np.ndarray:
        """Of the paths at premiums found by bisection, none above the budget, the one nearest to the target; of those
        within reach of it the one with the best score."""
        paths = [cheap, *(path for _, path in self._premiums(target))]
        found = [path for path in paths if self.costs.of(path) <= self.budget]
        away = [abs(self.costs.of(path) / target - 1) for path in found]
        near = [path for path, distance in zip(found, away, strict=True) if distance <= NEAR]
        return max(near, key=self.scores.of_table) if near else found[int(np.argmin(away))]

    def price_of(self, least: float, most: float) -> float | None:
        """The price at which the best architectures cost from `least` to `most`; negative for a premium. None where
        every architecture costs more, or no premium reaches the least."""
        free = self._path(0.0)
        spent = self.costs.of(free)
        if spent > most:
            cheapest = self._cheapest()
            return self._price(free, cheapest)[0] if self.costs.of(cheapest) <= most else None
        if spent >= least:
            return 0.0
        *_, (premium, dearest) = self._premiums(least)
        return -premium if self.costs.of(dearest) >= least else None

    def priced(self, price: float) -> Scores:
        """The scores of architectures minus price times cost."""
        edges_BEK, value_BN = self._values(price)
        value_BN[0] -= price * self.costs.start_S[self.lattice.entered_N]
        value_BN[-1] -= price * self.costs.end_S[self.lattice.left_N]
        return Scores(self.lattice, value_BN, edges_BEK - edges_BEK.max(axis=2, keepdims=True))

    def _premiums(self, target: float) -> Iterator[tuple[float, np.ndarray]]:
        """Premiums and the best paths at them: doubled until a path costs the target, then bisected; the last of them
        is the least premium found at which it does."""
        low, high = 0.0, 1 / target
        for _ in range(PREMIUMS):
            path = self._path(-high)
            yield high, path
            if self.costs.of(path) >= target:
                break
            low, high = high, 2 * high
        for _ in range(PREMIUMS):
            middle = (low + high) / 2
            path = self._path(-middle)
            yield middle, path
            low, high = (low, middle) if self.costs.of(path) >= target else (middle, high)
        yield high, self._path(-high)

    def _values(self, price: float) -> tuple[np.ndarray, np.ndarray]:
        """Score minus price times cost: of each operation on each edge (B, E, K), and of each pattern with the best
        operations (B, N)."""
        edges_BEK = self.scores.operations_BEK - price * self.costs.edge_EK
        return edges_BEK, self.scores.patterns_BN + edges_BEK.max(axis=2) @ self.patterns_EN

    def _path(self, price: float) -> np.ndarray:
        priced = self.priced(price)
        return priced.best_operations(best_path(self.lattice, priced.patterns_BN)[0])

    def _cheapest(self) -> np.ndarray:
        alike = Scores(self.lattice, np.zeros_like(self.scores.patterns_BN), np.zeros_like(self.scores.operations_BEK))
        return _Search(alike, self.costs, self.budget)._path(1.0)

    def _price(self, dear: np.ndarray, cheap: np.ndarray) -> tuple[float, np.ndarray]:
        """The price with the least bound, where a path within the budget and one beyond it are equally good, and the
        best path found within the budget."""
        best = cheap
        while True:
            saved = self.costs.of(dear) - self.costs.of(cheap)
            price = max(0.0, (self.scores.of_table(dear) - self.scores.of_table(cheap)) / saved)
            between = self._path(price)
            worth = [self.scores.of_table(path) - price * self.costs.of(path) for path in (between, dear)]
            within = self.costs.of(between) <= self.budget
            if within and self.scores.of_table(between) > self.scores.of_table(best):
                best = between
            if worth[0] <= worth[1] + SLACK * (1 + abs(worth[1])):
                return price, best
            dear, cheap = (dear, between) if within else (between, cheap)

    def _close(self, price: float, best: np.ndarray) -> np.ndarray:
        """The best architecture within the budget, at least as good as `best`."""
        edges_BEK, value_BN = self._values(price)
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
        cost_BN = np.tile(self.costs.edge_EK.min(axis=1) @ self.patterns_EN, (self.blocks, 1))
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
