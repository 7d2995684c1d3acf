"""Results of trainings of different length on one scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)


def shifts(results: Mapping[int, Mapping[K, Mapping[str, float]]]) -> dict[int, dict[str, float]]:
    """Return what has to be added to the metrics at each budget, for the largest one with results.

    Args:
        results: Budget -> network -> metric -> value, in ascending order of the budgets.

    Returns:
        Budget -> metric -> sum of the mean differences between neighbouring budgets, over the networks that have both.
    """
    found: dict[int, dict[str, float]] = {}
    total: dict[str, float] = {}
    for lower, upper in reversed(list(pairwise(results))):
        pairs = [(own, results[upper][key]) for key, own in results[lower].items() if key in results[upper]]
        if pairs:
            for name in [name for name in pairs[0][0] if all(name in one for pair in pairs for one in pair)]:
                gained = float(np.mean([high[name] - low[name] for low, high in pairs]))
                total[name] = total.get(name, 0.0) + gained
        found[lower] = dict(total)
    return found
