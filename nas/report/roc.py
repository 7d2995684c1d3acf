"""ROC curve with a confidence band by bootstrap over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import auc, roc_auc_score, roc_curve

RESAMPLES = 1000
CHUNK = 100  # resamples at once; bounds the memory
LEVEL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, slots=True)
class Roc:
    """fpr, tpr: the curve. auc, auc_low, auc_high: its area and 95 % interval.

    grid, low, high: (T,) pointwise 95 % band of the sensitivity at fixed false positive rates.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    auc: float
    auc_low: float
    auc_high: float
    grid: np.ndarray
    low: np.ndarray
    high: np.ndarray


def roc(positive_N: np.ndarray, prob_N: np.ndarray, group_N: np.ndarray, seed: int = 0) -> Roc:
    """The curve of one class against the rest. Whole groups are drawn with replacement, so that several nodules of one
    patient do not count as independent. Both classes must be present; resamples that miss one are drawn over."""
    positive_N = np.asarray(positive_N, dtype=bool)
    fpr, tpr, _ = roc_curve(positive_N, prob_N)
    grid = np.linspace(0.0, 1.0, 201)
    curves, areas = [], []
    for false_T, true_T in _resampled_curves(positive_N, np.asarray(prob_N), np.asarray(group_N), seed):
        # Where the curve steps upwards, interp takes the highest sensitivity at that rate.
        curves.append(np.interp(grid, false_T, true_T))
        areas.append(auc(false_T, true_T))
    low, high = np.percentile(curves, LEVEL, axis=0)
    auc_low, auc_high = np.percentile(areas, LEVEL)
    area = float(roc_auc_score(positive_N, prob_N))
    return Roc(fpr, tpr, area, float(auc_low), float(auc_high), grid, low, high)


def _resampled_curves(
    positive_N: np.ndarray, prob_N: np.ndarray, group_N: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """False and true positive rates (T + 1,) at every threshold, for each resample of the groups."""
    rng = np.random.default_rng(seed)
    names, member_N = np.unique(group_N, return_inverse=True)
    order = np.argsort(-prob_N, kind="stable")
    last_T = np.r_[np.flatnonzero(np.diff(prob_N[order])), len(prob_N) - 1]  # ends of runs of equal probability
    positive_N, member_N = positive_N[order], member_N[order]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(10 * RESAMPLES // CHUNK):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=CHUNK)
        weight_RN = drawn[:, member_N]
        true_RT = np.cumsum(weight_RN * positive_N, axis=1)[:, last_T]
        false_RT = np.cumsum(weight_RN * ~positive_N, axis=1)[:, last_T]
        for true_T, false_T in zip(true_RT, false_RT, strict=True):
            if true_T[-1] and false_T[-1]:
                found.append((np.r_[0.0, false_T / false_T[-1]], np.r_[0.0, true_T / true_T[-1]]))
        if len(found) >= RESAMPLES:
            break
    return found[:RESAMPLES]
