"""Intervals over seeds, and paired differences over seeds and over patients."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        low: Lower bound of its 95 % interval; NaN with fewer than two seeds.
        high: Upper bound.
        n: Number of seeds.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """A mean of paired differences: a group minus the first group.

    Attributes:
        p: Two-sided p value of the paired t-test; NaN if the interval is no interval over seeds.
        unit: Name of what was paired, "seeds" or for example "patients".
        seeds: Number of seeds over which the interval also is, if the unit is another; 1 if it is not.
    """

    p: float = NAN
    unit: str = "seeds"
    seeds: int = 1

    @property
    def counted(self) -> str:
        """Number of pairs, for example "3 seeds" or "30 patients, 2 seeds"."""
        also = f", {self.seeds} seeds" if self.seeds > 1 else ""
        return f"{self.n} {self.unit if self.n != 1 else self.unit.removesuffix('s')}{also}"

    def text(self, digits: int = 3) -> str:
        """Write the difference with its interval.

        Args:
            digits: Decimals.

        Returns:
            For example "+0.021 [-0.004, +0.046]".
        """
        mean = f"{self.mean:+.{digits}f}"
        return f"{mean} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]" if self.has_interval else mean

    def within_noise(self, tests: int = 1) -> bool:
        """Check whether the difference may be chance.

        Args:
            tests: Number of tests of the comparison, by which p values are multiplied (Bonferroni).

        Returns:
            True if the 95 % interval holds 0 or does not exist, or the corrected p value is 0.05 or more.
        """
        return not self.has_interval or self.low <= 0 <= self.high or self.p * tests >= 1 - LEVEL


def over_seeds(values: Sequence[float], least: float = -np.inf, most: float = np.inf) -> Estimate:
    """Compute mean and 95 % interval over seeds, by Student's t distribution.

    Args:
        values: One value per seed, finite.
        least: Smallest possible value, at which the interval ends; 0 for costs.
        most: Largest possible value.

    Returns:
        The mean; a single seed has no interval.
    """
    value_S = np.asarray(values, dtype=np.float64)
    low, high, _ = _t_test(value_S)
    return Estimate(float(value_S.mean()), max(low, least), min(high, most), len(value_S))


def paired_over_seeds(first: Sequence[float], other: Sequence[float]) -> Difference:
    """Compare two groups whose values have the same seeds, by a paired t-test.

    Args:
        first: Values of the first group, one per seed.
        other: Values of the other group, in the same order.

    Returns:
        Mean of other minus first, with its interval and p value.
    """
    apart_S = np.asarray(other, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    low, high, p = _t_test(apart_S)
    return Difference(float(apart_S.mean()), low, high, len(apart_S), p)


def from_first(values: Mapping[str, Mapping[tuple[int, ...], float]]) -> dict[str, Difference]:
    """Compare groups with the first one over the seeds that both have.

    Args:
        values: Label of a group -> seed -> value.

    Returns:
        Label of every further group -> difference from the first; a group without a common seed is left out.
    """
    found = {}
    first = next(iter(values.values()))
    for label, members in list(values.items())[1:]:
        common = [seed for seed in members if seed in first]
        if common:
            found[label] = paired_over_seeds([first[seed] for seed in common], [members[seed] for seed in common])
    return found


def smallest_rank_p(n: int) -> float:
    """Return the smallest two-sided p value that a Wilcoxon test of paired differences can give.

    Args:
        n: Number of pairs, at least 1.

    Returns:
        2 / 2^n, at most 1.
    """
    return min(1.0, 2.0 ** (1 - n))


def _t_test(value_S: np.ndarray) -> tuple[float, float, float]:
    """Bounds of the mean, and p value of a mean of 0; NaN for a single value."""
    from scipy.stats import ttest_1samp  # here, as scipy.stats takes long to import

    if len(value_S) < 2:
        return NAN, NAN, NAN
    if np.ptp(value_S) == 0:  # the t statistic is undefined
        return float(value_S[0]), float(value_S[0]), 1.0 if value_S[0] == 0 else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # values that are nearly equal
        result = ttest_1samp(value_S, 0.0)
    bounds = result.confidence_interval(LEVEL)
    return float(bounds.low), float(bounds.high), float(result.pvalue)
