"""The box in the middle of each volume that holds nearly all labelled voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas.planning.fingerprint import Fingerprint

LEFT_OUT = 1e-3  # share of the labelled voxels that may lie beyond the box along each axis


def reaches_of(mask_DHW: np.ndarray) -> tuple[np.ndarray, ...]:
    """Count labelled voxels by the side of the box in the middle that holds them.

    Args:
        mask_DHW: Label map; 0 is the background.

    Returns:
        For each axis, the number of labelled voxels that a box of 1, 2, 3, ... voxels has more than the box before it.
    """
    found = []
    for axis, side in enumerate(mask_DHW.shape):
        others = tuple(other for other in range(mask_DHW.ndim) if other != axis)
        counts = np.count_nonzero(mask_DHW, axis=others)
        from_middle = np.abs(2 * np.arange(side) - (side - 1))
        found.append(np.bincount(from_middle, weights=counts, minlength=side).astype(int))
    return tuple(found)


def middle_box_of_labels(
    fingerprint: Fingerprint, spacing_mm: Sequence[float], divisors: Sequence[int]
) -> tuple[tuple[int, ...], float] | None:
    """Find the smallest box in the middle of the resampled volumes that holds nearly all labelled voxels.

    Args:
        fingerprint: Facts of the data.
        spacing_mm: Voxel size (D, H, W) after resampling.
        divisors: The sides of the box are multiples of these.

    Returns:
        Sides (D, H, W) in voxels, and the largest share of the labelled voxels of all cases that lie beyond it; None if
        the fingerprint does not have their positions.
    """
    if not all(case.reaches_A for case in fingerprint.cases):
        return None
    sides, beyond = [], 0.0
    for axis, (spacing, divisor) in enumerate(zip(spacing_mm, divisors, strict=True)):
        count_N = np.concatenate([case.reaches_A[axis] for case in fingerprint.cases])
        side_N = np.concatenate(
            [np.arange(1, len(case.reaches_A[axis]) + 1) * case.spacing_mm[axis] for case in fingerprint.cases]
        )
        side_N /= spacing
        order = np.argsort(side_N)
        share_N = 1 - np.cumsum(count_N[order]) / max(count_N.sum(), 1)
        enough = int(np.argmax(share_N <= LEFT_OUT))
        side = math.ceil(side_N[order][enough] / divisor) * divisor
        sides.append(side)
        beyond += float(count_N[side_N > side].sum() / max(count_N.sum(), 1))
    return tuple(sides), beyond
