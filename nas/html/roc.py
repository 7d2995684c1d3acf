"""ROC curve with a confidence band by bootstrap over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.metrics.bootstrap import PERCENTILES, GroupBootstrap, auc

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Roc:
    """A ROC curve with its confidence band.

    Attributes:
        fpr: False positive rates of the curve.
        tpr: Sensitivities of the curve.
        auc: Area under it.
        auc_low: Lower end of the 95 % interval of the area.
        auc_high: Upper end.
        grid: False positive rates of the band (T,).
        low: Lower end of the pointwise 95 % band of the sensitivity (T,); empty without a band.
        high: Upper end.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    auc: float
    auc_low: float
    auc_high: float
    grid: np.ndarray
    low: np.ndarray
    high: np.ndarray


def roc(positive_N: np.ndarray, prob_N: np.ndarray, group_N: np.ndarray, *, band: bool = True) -> Roc:
    """Compute the curve of one class against the rest.

    Args:
        positive_N: Whether a case is of the class (N,); both kinds occur.
        prob_N: Probability of the class (N,).
        group_N: Patients (N,), which are resampled.
        band: Whether the band is computed, which takes a curve for each bootstrap sample.

    Returns:
        The curve.
    """
    from sklearn.metrics import roc_curve

    positive_N, prob_N = np.asarray(positive_N, dtype=bool), np.asarray(prob_N)
    fpr, tpr, _ = roc_curve(positive_N, prob_N)
    grid = np.linspace(0.0, 1.0, 201)
    curves, areas = [], []
    for rows in GroupBootstrap(np.asarray(group_N), positive_N, RESAMPLES, seed=0).rows:
        if band:
            false_T, true_T = rates(positive_N[rows], prob_N[rows])
            # Where the curve steps upwards, interp takes the highest sensitivity at that rate.
            curves.append(np.interp(grid, false_T, true_T))
        areas.append(auc(prob_N[rows], positive_N[rows]))
    low, high = np.percentile(curves, PERCENTILES, axis=0) if band else np.empty((2, 0))
    auc_low, auc_high = np.percentile(areas, PERCENTILES)
    return Roc(fpr, tpr, auc(prob_N, positive_N), float(auc_low), float(auc_high), grid, low, high)


def rates(positive_N: np.ndarray, prob_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the points of the curve as scikit-learn's `roc_curve` does, in a twentieth of its time.

    Args:
        positive_N: Whether a case is of the class (N,); both kinds occur.
        prob_N: Probability of the class (N,).

    Returns:
        False positive rates and sensitivities, both (T,), from 0 to 1.
    """
    order = np.argsort(-prob_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(prob_N[order])), len(order) - 1)
    true_T = np.cumsum(positive_N[order])[ends]
    false_T = 1 + ends - true_T
    return np.append(0.0, false_T / false_T[-1]), np.append(0.0, true_T / true_T[-1])
