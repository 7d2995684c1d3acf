"""The best architectures that keep limits on their cost: a budget, a target, or both. Axes as in `topology`."""

from __future__ import annotations

import numpy as np

from nas.supernets.base import allowed_costs
from search_spaces.dints.budget import best_near, best_within
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best
from search_spaces.dints.pricing import Pricing

LOOKED_AT = 256  # architectures gone through for others beside the best


def best_limited(
    scores: Scores, costs: EdgeCosts, k: int, budget: float | None, target: float | None
) -> list[tuple[np.ndarray, float]]:
    """Operations (B, E), -1 for off, and score: first the exact answer (`best_within`, or `best_near` where there is a
    target), then the next best, k in all or fewer. Raises NASError for a budget below every architecture."""
    if target is not None:
        first = best_near(scores, costs, target, budget)
    else:
        assert budget is not None  # one of the two is given
        first = best_within(scores, costs, budget)
    others = next_best(scores, costs, k, *allowed_costs(target, budget)) if k > 1 else []
    return [first, *(other for other in others if not np.array_equal(other[0], first[0]))][:k]


def next_best(scores: Scores, costs: EdgeCosts, k: int, least: float, most: float) -> list[tuple[np.ndarray, float]]:
    """The best architectures that cost from `least` to `most`, at most k, best first: the k best of all where the bound
    of the price proves it, otherwise those among the `LOOKED_AT` that are worth most at that price."""
    pricing = Pricing(scores, costs)
    price = pricing.price_between(least, most)
    if price is None:
        return []
    priced, count = pricing.priced(price), k
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
