"""Nodule candidates without a network: bright blobs, found by the second derivatives of the scan.

Source: Li, Sone, Doi, Medical Physics 30(8), 2003: with the eigenvalues |l1| >= |l2| >= |l3| of the Hessian, all
negative at a bright structure, z_dot = |l3|² / |l1| is large at a blob and small at a vessel (l3 near 0).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from experiments.lung_screening.candidates import RADIUS_MM, Candidate, suppress
from experiments.lung_screening.lungs import bounds
from experiments.lung_screening.scan import Scan

GRID_MM = 1.5  # voxel size of the computation
DIAMETERS_MM = (6.0, 10.0, 16.0)  # the response to a ball of diameter d is largest at sigma = d / 4
HALF_HU = 40.0  # z_dot with a score of 1/2
BRIGHT_HU = -600.0  # minimum of a candidate's centre, smoothed


def blob_candidates(scan: Scan, lungs_DHW: np.ndarray, most: int) -> list[Candidate]:
    """Find the strongest blobs inside of the lungs.

    Args:
        scan: The CT.
        lungs_DHW: (D, H, W) bool, the lungs.
        most: Maximum number of candidates.

    Returns:
        Candidates, best first, with the score z_dot / (z_dot + 40 HU).
    """
    zoom = np.array(scan.spacing_mm) / GRID_MM
    low, high = bounds(lungs_DHW)
    box = tuple(map(slice, low, high))
    hu = ndimage.zoom(scan.hu_DHW[box].astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest")
    inside = ndimage.zoom(lungs_DHW[box].astype(np.uint8), zoom, order=0, grid_mode=True, mode="nearest") > 0
    # The outside is filled with lung, so that the chest wall is no blob and a nodule at it keeps its outer edge.
    hu = np.where(inside, np.minimum(hu, 200.0), -850.0).astype(np.float32)
    best = np.zeros(hu.shape, dtype=np.float32)
    for diameter in DIAMETERS_MM:
        best = np.maximum(best, _dots(hu, inside, diameter / 4 / GRID_MM))
    peaks = np.argwhere((best > 0) & (best == ndimage.maximum_filter(best, size=5)))
    scores = best[tuple(peaks.T)] / (best[tuple(peaks.T)] + HALF_HU)
    points = scan.world((peaks + 0.5) * (np.subtract(high, low) / hu.shape) - 0.5 + low)
    return [
        Candidate((float(points[i][0]), float(points[i][1]), float(points[i][2])), float(scores[i]))
        for i in suppress(points, scores, RADIUS_MM)[:most]
    ]


def _dots(hu: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """z_dot in HU with derivatives normalised by sigma²; 0 if an eigenvalue is not negative."""
    smooth = ndimage.gaussian_filter(hu, sigma)
    bright = inside & (smooth > BRIGHT_HU)
    at = np.nonzero(bright)
    hessian = np.empty((len(at[0]), 3, 3), dtype=np.float32)
    for i in range(3):
        slope = np.gradient(smooth, axis=i)
        for j in range(i, 3):
            hessian[:, i, j] = hessian[:, j, i] = np.gradient(slope, axis=j)[at]
    values = np.linalg.eigvalsh(hessian) * sigma**2  # ascending: the first is the most negative
    out = np.zeros(hu.shape, dtype=np.float32)
    out[at] = np.where(values[:, 2] < 0, values[:, 2] ** 2 / np.maximum(-values[:, 0], 1e-6), 0.0)
    return out
