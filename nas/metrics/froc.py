"""FROC: sensitivity of a detector of nodules against its false positives per scan, and the CPM that sums it up.

Source: LUNA16's evaluation script (noduleCADEvaluationLUNA16.py; Setio et al., Medical Image Analysis 42, 2017). A
candidate hits a nodule when it lies nearer to its centre than the nodule's radius. Of several that hit one nodule the
best counts, and the others are neither right nor wrong; so are those that hit a finding which is excluded. Every other
one is a false positive. The script counts every nodule that a candidate hits: where two nodules overlap, one candidate
may find both. Between the points of the curve, which begins at (0, 0), sensitivity is interpolated linearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import NASError

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per scan at which the CPM takes the sensitivity


@dataclass(frozen=True)
class Froc:
    """The curve, one point for each threshold from high to low.

    Attributes:
        false_positives: False positives per scan (T,).
        sensitivity: Share of nodules that are hit (T,).
        nodules: Number of nodules in all scans.
        never_hit: Number of nodules without a candidate at any threshold.
    """

    false_positives: np.ndarray
    sensitivity: np.ndarray
    nodules: int
    never_hit: int

    def at(self, rate: float) -> float:
        """Look up the sensitivity at a rate.

        Args:
            rate: False positives per scan.

        Returns:
            The sensitivity, interpolated linearly between the points of the curve and (0, 0); beyond the last point
            its value. At a rate with several points the largest one.
        """
        points = np.append(0.0, self.false_positives), np.append(0.0, self.sensitivity)
        return float(np.interp(rate, *points))

    @property
    def cpm(self) -> float:
        """Competition performance metric: the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 per scan."""
        return float(np.mean([self.at(rate) for rate in RATES]))


@dataclass(frozen=True)
class Findings:
    """Candidates and nodules of one scan; points are in mm.

    Attributes:
        candidates_N3: Candidates (N, 3).
        scores_N: Their scores (N,).
        centres_M3: Centres of the nodules (M, 3).
        radii_M: Radii of the nodules (M,).
        excluded_M: Whether a finding counts for nothing (M,). If None, all count.
    """

    candidates_N3: np.ndarray
    scores_N: np.ndarray
    centres_M3: np.ndarray
    radii_M: np.ndarray
    excluded_M: np.ndarray | None = None


def froc(scans: Sequence[Findings]) -> Froc:
    """Compute the FROC curve.

    Args:
        scans: The scans.

    Returns:
        The curve.

    Raises:
        NASError: If no scan has a nodule that counts, or a score is not finite.
    """
    hits, wrong, nodules = [], [], 0
    for scan in scans:
        if not np.isfinite(scan.scores_N).all():
            raise NASError("scores that are not finite", "a number for each candidate", "check the network")
        found, false = _matched(scan)
        hits.append(found)
        wrong.append(false)
        nodules += int(_counted(scan).sum())
    if nodules == 0:
        raise NASError("no nodule in any scan", "at least one that is not excluded", "give scans with nodules")
    hit, false = np.concatenate(hits), np.concatenate(wrong)
    thresholds = np.unique(np.concatenate([hit[np.isfinite(hit)], false]))[::-1]
    ranked_hit, ranked_false = np.sort(hit), np.sort(false)
    caught = len(hit) - np.searchsorted(ranked_hit, thresholds, side="left")
    alarms = len(false) - np.searchsorted(ranked_false, thresholds, side="left")
    return Froc(alarms / len(scans), caught / nodules, nodules, int(np.isneginf(hit).sum()))


def _counted(scan: Findings) -> np.ndarray:
    return np.ones(len(scan.radii_M), dtype=bool) if scan.excluded_M is None else ~scan.excluded_M


def _matched(scan: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Return the best score of each counted nodule, -inf for one without hits, and the scores of false positives."""
    distance_NM = np.linalg.norm(scan.candidates_N3[:, None] - scan.centres_M3[None], axis=-1)
    hit_NM = distance_NM < scan.radii_M
    best_M = np.where(hit_NM, scan.scores_N[:, None], -np.inf).max(axis=0, initial=-np.inf)
    return best_M[_counted(scan)], scan.scores_N[~hit_NM.any(axis=1)]
