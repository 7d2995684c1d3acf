"""The best architectures that keep limits on their cost: a budget, a target, or both. Axes as in `topology`."""

from __future__ import annotations

import numpy as np

from nas.supernets.base import allowed_costs
from search_spaces.dints.budget import best_near, best_within
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best
from search_spaces.dints.pricing import Pricing

MAX_CANDIDATES = 256  # architectures examined to find those after the best one


def best_limited(
    scores: Scores, costs: EdgeCosts, k: int, budget: float | None, target: float | None
) -> list[tuple[np.ndarray, float]]:
    """Find the k best architectures within limits on the cost.

    Args:
        scores: Scores of all architectures.
        costs: Their costs.
        k: Number of architectures, >= 1.
        budget: Largest cost, or None. At least one of `budget` and `target` is given.
        target: Cost to come near to (see `nas.supernets.base.NEAR`), or None.

    Returns:
        Operations (B, E), -1 for off, and score: first the exact answer (`best_within`, or `best_near` with a target),
        then the next best, k in all or fewer.

    Raises:
        NASError: If every architecture costs more than the budget.
    """
    if target is not None:
        first = best_near(scores, costs, target, budget)
    else:
        assert budget is not None  # one of the two is given
        first = best_within(scores, costs, budget)
    further = next_best(scores, costs, k, *allowed_costs(target, budget)) if k > 1 else []
    return [first, *(other for other in further if not np.array_equal(other[0], first[0]))][:k]


def next_best(scores: Scores, costs: EdgeCosts, k: int, least: float, most: float) -> list[tuple[np.ndarray, float]]:
    """Find the best architectures that cost from `least` to `most`.

    They are the k best of all if the bound of the price proves it, otherwise the best among the `MAX_CANDIDATES` with
    the largest score at that price.

    Args:
        scores: Scores of all architectures.
        costs: Their costs.
        k: Number of architectures, >= 1.
        least: Smallest cost that is allowed; may be -inf.
        most: Largest cost that is allowed; may be inf.

    Returns:
        At most k pairs of operations (B, E), -1 for off, and score, best first.
    """
    pricing = Pricing(scores, costs)
    price = pricing.price_between(least, most)
    if price is None:
        return []
    priced, count = pricing.priced(price), k
    while True:
        candidates = k_best(priced, count)
        tables = [table_BE for table_BE, _ in candidates if least <= costs.of(table_BE) <= most]
        ranked = sorted(((table_BE, scores.of_table(table_BE)) for table_BE in tables), key=lambda pair: -pair[1])
        # No other architecture has a larger priced score than the last candidate, so that this bounds its score.
        bound = candidates[-1][1] + (price * (most if price > 0 else least) if price else 0.0)
        proven = len(ranked) >= k and ranked[k - 1][1] >= bound
        if proven or len(candidates) < count or count >= MAX_CANDIDATES:
            return ranked[:k]
        count = min(4 * count, MAX_CANDIDATES)
