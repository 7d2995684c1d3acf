"""Curves of searches with several seeds: the best value so far over trained networks and over training cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Run = tuple[Sequence[float], Sequence[float]]  # of one seed: ends of its trials, rising, and its best value at each


@dataclass(frozen=True)
class Curve:
    """Mean and quartiles over seeds at P positions; NaN if a seed has no value yet.

    Attributes:
        x_P: Positions (P,).
        mean_P: Means.
        q25_P: Lower quartiles.
        median_P: Medians.
        q75_P: Upper quartiles.
    """

    x_P: np.ndarray
    mean_P: np.ndarray
    q25_P: np.ndarray
    median_P: np.ndarray
    q75_P: np.ndarray

    @classmethod
    def of(cls, x_P: np.ndarray, best_SP: np.ndarray) -> Curve:
        """Summarise the curves of several seeds.

        Args:
            x_P: Positions (P,).
            best_SP: Values of S seeds (S, P); NaN before the first one.

        Returns:
            The curve.
        """
        known_P = np.isfinite(best_SP).all(axis=0)
        value_SK = best_SP[:, known_P]

        def filled(value_K: np.ndarray) -> np.ndarray:
            value_P = np.full(len(x_P), np.nan)
            value_P[known_P] = value_K
            return value_P

        quartile_3K = np.quantile(value_SK, (0.25, 0.5, 0.75), axis=0)
        return cls(np.asarray(x_P, dtype=np.float64), filled(value_SK.mean(axis=0)), *map(filled, quartile_3K))


def over_trials(runs: Sequence[Run], trials: int) -> np.ndarray:
    """Return the best values after each of a number of trials; a search that ended early keeps its last value.

    Args:
        runs: One run per seed, each with a trial.
        trials: Number of trials T.

    Returns:
        (S, T) values.
    """
    return np.array([np.pad(np.asarray(best, dtype=float), (0, trials - len(best)), mode="edge") for _, best in runs])


def over_cost(runs: Sequence[Run], cost_P: np.ndarray) -> np.ndarray:
    """Return the best values at given costs.

    Args:
        runs: One run per seed, whose ends are cumulated costs, for example seconds.
        cost_P: (P,) costs.

    Returns:
        (S, P) values; NaN before the first result.
    """
    rows = []
    for ends, best in runs:
        position_P = np.searchsorted(ends, cost_P, side="right") - 1
        rows.append(np.where(position_P >= 0, np.asarray(best, dtype=float)[position_P], np.nan))
    return np.array(rows)
