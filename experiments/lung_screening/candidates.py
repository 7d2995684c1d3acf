"""Nodule candidates: points in world coordinates with a score, after non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.lung_screening.patches import NoduleMap
from experiments.lung_screening.scan import Scan

RADIUS_MM = 12.0  # within which a candidate suppresses weaker ones
SMOOTHING_MM = (2.0, 2.5, 2.5)  # (D, H, W), of the map before its maxima are taken


@dataclass(frozen=True, slots=True)
class Candidate:
    """A nodule candidate.

    Attributes:
        point_mm: World mm (x, y, z), LPS.
        score: Probability of a network, or of the classical method a number in [0, 1) that is no probability.
        malignancy: Probability of malignancy, or None without a network for it.
    """

    point_mm: tuple[float, float, float]
    score: float
    malignancy: float | None = None


def suppress(points_N3: np.ndarray, scores_N: np.ndarray, radius: float) -> list[int]:
    """Suppress points near stronger ones; of equal scores the first is kept.

    Args:
        points_N3: (N, 3) points.
        scores_N: (N,) scores.
        radius: Distance, in the unit of the points, below which the weaker point is removed.

    Returns:
        Indices of the remaining points, highest score first.
    """
    order = np.argsort(-scores_N, kind="stable")
    alive_N = np.ones(len(order), dtype=bool)
    kept = []
    for position in order:
        if alive_N[position]:
            kept.append(int(position))
            alive_N &= ((points_N3 - points_N3[position]) ** 2).sum(axis=1) >= radius**2
    return kept


def of_map(scan: Scan, found: NoduleMap, least: float, most: int, radius_mm: float = RADIUS_MM) -> list[Candidate]:
    """Find the maxima of the smoothed map.

    A candidate lies at the mean of the patches around its maximum, weighted by their probability, so its position is
    finer than the raster.

    Args:
        scan: The CT.
        found: The map.
        least: Minimum probability.
        most: Maximum number of candidates.
        radius_mm: Distance below which the weaker of two maxima is removed.

    Returns:
        Candidates, highest probability first.
    """
    step_mm = [mm * gap for mm, gap in zip(scan.spacing_mm, _steps(found), strict=True)]
    depth, height, width = (sigma / mm for sigma, mm in zip(SMOOTHING_MM, step_mm, strict=True))
    smooth_N = found.smoothed((depth, height, width))
    likely = np.flatnonzero(smooth_N >= least)
    points_N3, scores_N = scan.world(found.index_N3[likely]), smooth_N[likely]
    candidates = []
    for position in suppress(points_N3, scores_N, radius_mm)[:most]:
        near = ((points_N3 - points_N3[position]) ** 2).sum(axis=1) < (radius_mm / 2) ** 2
        weight = scores_N[near] ** 4  # the slopes of the map get little weight
        x, y, z = (points_N3[near] * weight[:, None]).sum(axis=0) / weight.sum()
        candidates.append(Candidate((float(x), float(y), float(z)), float(scores_N[position])))
    return candidates


def _steps(found: NoduleMap) -> tuple[float, float, float]:
    """Voxels between neighbouring patches of the raster along each axis."""
    gaps = []
    for axis in range(3):
        places, first = np.unique(found.grid_N3[:, axis], return_index=True)
        indices = found.index_N3[first, axis]
        gaps.append(float((indices[-1] - indices[0]) / (places[-1] - places[0])) if len(places) > 1 else 1.0)
    return gaps[0], gaps[1], gaps[2]
