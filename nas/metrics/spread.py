"""Intervals of a mean over seeds from the values and intervals of the single seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.metrics.bootstrap import LEVEL


def with_seeds(values: Sequence[float], bounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Compute the 95 % interval of a mean over seeds that were tested on the same patients.

    The variance of the mean is the sum of that over patients, which all seeds share, and that over seeds: the mean
    distance of the seeds' bounds from their values, and Student's half-width of the mean over seeds, are added in
    squares. As in a bootstrap of seeds, the latter ends at the smallest and the largest value, so that it is too narrow
    for two or three seeds that differ much. It needs no predictions, unlike the hierarchical bootstrap of
    `nas.metrics.hierarchical`, whose counterpart it is.

    Args:
        values: The value of each seed.
        bounds: The 95 % interval over patients of each seed.

    Returns:
        Lower and upper bound; of a single seed, its own interval over patients.
    """
    value_S, bound_S2 = np.asarray(values, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    mean, seeds = value_S.mean(), len(value_S)
    below, above = (value_S - bound_S2[:, 0]).mean(), (bound_S2[:, 1] - value_S).mean()
    half = 0.0
    if seeds > 1:
        from scipy.stats import t  # here, as scipy.stats takes long to import

        half = float(t.ppf(0.5 + LEVEL / 200, seeds - 1) * value_S.std(ddof=1) / np.sqrt(seeds))
    down, up = min(half, mean - value_S.min()), min(half, value_S.max() - mean)
    return float(mean - np.hypot(below, down)), float(mean + np.hypot(above, up))
