"""Calibration of the model of a training on its test cases, with and without the fitted temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.metrics.bootstrap import intervals
from nas.metrics.calibration import BINS, MARGIN, bins_of_case, expected_calibration_error, reliability, tempered
from nas.retraining.folds import FoldPrediction
from nas.retraining.scoring import Scorer, System

KINDS = ("classification", "segmentation")
CASES = "the probability of the most probable class of each case"
VOXELS = f"voxels in the box around the true foreground, {MARGIN} voxels wider on each side"


def calibration_of(scorer: Scorer, headline: System, networks: Sequence[System]) -> dict[str, Any]:
    """Measure the expected calibration error before and after temperature scaling.

    The probabilities before are those that the same networks would give at temperature 1; the scaling is undone
    exactly, as it only raises them to a power.

    Args:
        scorer: Scores on the tested samples.
        headline: The model that a user would use.
        networks: The retrained networks of which it consists.

    Returns:
        bins, of (what is measured), temperatures (network and fold -> temperature), before and after (ece, ci95 over
        patients, reliability), and difference (after minus before, with its interval); empty for tasks without class
        probabilities.
    """
    folds = [(f"{system.name}, {one.fold}", one) for system in networks for one in system.tested]
    if scorer.task.spec.kind not in KINDS or not folds or headline.prediction.ndim < 2:
        return {}
    after_NB3 = np.stack([bins_of_case(*pair) for pair in zip(headline.prediction, scorer.target, strict=True)])
    before_NB3 = after_NB3
    if any(one.temperature != 1 for _, one in folds):
        before_NB3 = _before(scorer, [one for _, one in folds])
    rows = scorer.bootstrap.rows
    before, after = (measured_calibration(bins_NB3, rows) for bins_NB3 in (before_NB3, after_NB3))
    if not np.isfinite([before["ece"], after["ece"]]).all():
        return {}
    apart = intervals([{"difference": _error(after_NB3, drawn) - _error(before_NB3, drawn)} for drawn in rows])
    return {
        "bins": BINS,
        "of": CASES if headline.prediction.ndim == 2 else VOXELS,
        "temperatures": {(name if len(networks) > 1 else one.fold): one.temperature for name, one in folds},
        "before": before,
        "after": after,
        "difference": {"value": after["ece"] - before["ece"], "ci95": list(apart["difference"])},
    }


def measured_calibration(bins_NB3: np.ndarray, draws: Sequence[np.ndarray]) -> dict[str, Any]:
    """Measure the expected calibration error of some cases.

    Args:
        bins_NB3: Bins of each case, as `nas.metrics.calibration.bins_of_case` gives them.
        draws: Rows of each bootstrap sample of patients; there may be none.

    Returns:
        ece, ci95 (None without bootstrap samples) and reliability (number, confidence and accuracy of each bin).
    """
    ci95 = intervals([{"ece": _error(bins_NB3, rows)} for rows in draws]).get("ece")
    return {
        "ece": _error(bins_NB3, np.arange(len(bins_NB3))),
        "ci95": None if ci95 is None else list(ci95),
        "reliability": [dict(entry) for entry in reliability(bins_NB3.sum(axis=0))],
    }


def _before(scorer: Scorer, folds: Sequence[FoldPrediction]) -> np.ndarray:
    """Bins of each case (N, B, 3), of the mean over networks at temperature 1, one case at a time."""
    position = {int(row): number for number, row in enumerate(scorer.rows)}
    where: list[list[tuple[FoldPrediction, int]]] = [[] for _ in scorer.rows]
    for one in folds:
        for number, row in enumerate(one.indices):
            where[position[int(row)]].append((one, number))
    found = []
    for target, of_case in zip(scorer.target, where, strict=True):
        prob = np.mean([tempered(one.prob[number], 1 / one.temperature, axis=0) for one, number in of_case], axis=0)
        found.append(bins_of_case(prob, target))
    return np.stack(found)


def _error(bins_NB3: np.ndarray, rows: np.ndarray) -> float:
    return expected_calibration_error(bins_NB3[rows].sum(axis=0))
