"""Scores of label maps, one value for each case and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.metrics.metric import Scores


@dataclass(frozen=True)
class SegmentationScores(Scores):
    """Scores of label maps.

    Attributes:
        values: Metric -> value of each case and class (N, K - 1), NaN if the case does not count for the class.
    """

    values: Mapping[str, np.ndarray]

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        if rows is not None and not len(rows):
            return {}
        return _mean_over_cases(self.values, slice(None) if rows is None else rows)

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return every metric of every class but the background."""
        return {
            f"{name}, {label}": values_N
            for name, values_NK in self.values.items()
            for label, values_N in zip(classes[1:], values_NK.T, strict=True)
        }

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return nothing: a mask has no place in a table."""
        return {}


def _mean_over_cases(cases: Mapping[str, np.ndarray], rows: np.ndarray | slice) -> dict[str, float]:
    """Average the values (N, K - 1) of each metric over the cases that count, then over classes; NaN without a case."""
    means: dict[str, float] = {}
    each: dict[str, float] = {}
    for name, values_NK in cases.items():
        drawn_NK = values_NK[rows]
        counts_K = np.isfinite(drawn_NK).sum(axis=0)
        sums_K = np.nansum(drawn_NK, axis=0)
        mean_K = np.divide(sums_K, counts_K, out=np.full(len(sums_K), np.nan), where=counts_K > 0)
        means[name] = float(mean_K.mean())
        each |= {f"{name}_{number}": float(value) for number, value in enumerate(mean_K, start=1)}
    return means | each
