"""Nodule candidates: points of the world with a score, thinned out by non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.lung_screening.patches import NoduleMap
from experiments.lung_screening.scan import Scan

RADIUS_MM = 12.0  # in which a candidate silences weaker ones
SMOOTHING_MM = (2.0, 2.5, 2.5)  # (D, H, W), of the map before its maxima are taken


@dataclass(frozen=True, slots=True)
class Candidate:
    """point_mm: world mm (x, y, z), LPS. score: the larger the more like a nodule; of a network its probability, of
    the classical method a number in [0, 1) that is none. malignancy: probability, None where no network was asked."""

    point_mm: tuple[float, float, float]
    score: float
    malignancy: float | None = None


def suppress(points_N3: np.ndarray, scores_N: np.ndarray, radius: float) -> list[int]:
    """Positions of the points that are kept, best first: each silences all weaker ones nearer than `radius`.

    Of equal scores the first in the list is kept.
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
    """The maxima of the smoothed map with a probability of at least `least`, best first, at most `most`.

    A candidate lies at the mean of the patches that it silences, weighted by their probability: finer than the raster.
    """
    step_mm = [mm * gap for mm, gap in zip(scan.spacing_mm, _steps(found), strict=True)]
    depth, height, width = (sigma / mm for sigma, mm in zip(SMOOTHING_MM, step_mm, strict=True))
    smooth_N = found.smoothed((depth, height, width))
    likely = np.flatnonzero(smooth_N >= least)
    points_N3, scores_N = scan.world(found.index_N3[likely]), smooth_N[likely]
    candidates = []
    for position in suppress(points_N3, scores_N, radius_mm)[:most]:
        near = ((points_N3 - points_N3[position]) ** 2).sum(axis=1) < (radius_mm / 2) ** 2
        weight = scores_N[near] ** 4  # so that the slopes of the map count for little
        x, y, z = (points_N3[near] * weight[:, None]).sum(axis=0) / weight.sum()
        candidates.append(Candidate((float(x), float(y), float(z)), float(scores_N[position])))
    return candidates


def _steps(found: NoduleMap) -> tuple[float, float, float]:
    """Voxels from one place of the raster to the next."""
    gaps = []
    for axis in range(3):
        places, first = np.unique(found.grid_N3[:, axis], return_index=True)
        indices = found.index_N3[first, axis]
        gaps.append(float((indices[-1] - indices[0]) / (places[-1] - places[0])) if len(places) > 1 else 1.0)
    return gaps[0], gaps[1], gaps[2]
