"""Margin of a comparison of two networks from the noise of their replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.history import History, Trial
from nas.metrics.noise import standard_errors

ERRORS = 2.0  # standard errors of a difference that count as noise, for many degrees of freedom


@dataclass(frozen=True)
class Noise:
    """Noise of single evaluations, pooled over the networks that have replicates.

    Args:
        deviation: Standard deviation of a score between replicates of one network, at least 0; infinite if no network
            has two replicates.
        degrees: Degrees of freedom of the deviation.
        counts_N: (N,) numbers of replicates of the compared networks.
    """

    deviation: float
    degrees: int
    counts_N: np.ndarray

    @property
    def quantile(self) -> float:
        """Standard errors of a difference that are taken for noise: ERRORS, and more for few degrees of freedom."""
        return standard_errors(ERRORS, self.degrees)

    def margins(self, count: int) -> np.ndarray:
        """Return by how much a score has to exceed those of the networks to be better beyond the noise.

        Args:
            count: Number of replicates of the network with the score.

        Returns:
            (N,) quantile times the standard error of the difference of two means; infinite without replicates.
        """
        if not self.degrees:
            return np.full(len(self.counts_N), np.inf)
        return self.quantile * self.deviation * np.sqrt(1 / count + 1 / self.counts_N)


def noise_of(facts: Sequence[Trial], history: History) -> Noise:
    """Pool the deviation between replicates over networks of one budget.

    Source: the pooled variance of a one-way analysis of variance, sum of (n - 1) s^2 over sum of (n - 1).

    Args:
        facts: N finished trials of one budget, each of another network.
        history: The study, with all replicates of these networks.

    Returns:
        The noise of the score.
    """
    found = [history.statistic(record, history.score) for record in facts]
    repeated = [one for one in found if one.count > 1]
    degrees = sum(one.count - 1 for one in repeated)
    counts_N = np.array([one.count for one in found], dtype=np.int64)
    if not degrees:
        return Noise(math.inf, 0, counts_N)
    pooled = sum((one.count - 1) * one.deviation**2 for one in repeated) / degrees
    return Noise(math.sqrt(pooled), degrees, counts_N)
