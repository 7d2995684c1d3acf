"""Overlap and surface distances of segmentations, for each case and class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch

from nas.utils.optional import monai_part

HD_PERCENTILE = 95.0


def dice(guess: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Compute 2 |A ∩ B| / (|A| + |B|) of each case and class but the background.

    Args:
        guess: Predicted classes (N, D, H, W).
        target: True classes (N, D, H, W).
        classes: Number of classes.

    Returns:
        Values (N, classes - 1), NaN if both regions are empty.
    """
    values = np.full((len(target), classes - 1), np.nan)
    axes = tuple(range(1, target.ndim))
    for number in range(1, classes):
        a, b = guess == number, target == number
        total = a.sum(axes) + b.sum(axes)
        np.divide(2 * (a & b).sum(axes), total, out=values[:, number - 1], where=total > 0)
    return values


def diagonal(spacing: Sequence[float] | np.ndarray, sides: Sequence[int] | np.ndarray) -> float:
    """Compute the diagonal of an image, the distance that a region scores which is only present or only predicted.

    Args:
        spacing: Voxel size of each axis.
        sides: Voxels of each axis, without padding.

    Returns:
        Length in the unit of `spacing`: of 240 x 240 x 155 voxels of 1 mm, 373.13 mm.
    """
    return float(np.linalg.norm(np.multiply(spacing, sides)))


def surfaces(
    guess: np.ndarray,
    target: np.ndarray,
    classes: int,
    spacing_mm: np.ndarray,
    tolerance: float,
    extent: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute hd95 and surface Dice, under the rule for empty regions of `nas.tasks.Segmentation`.

    Args:
        guess: Predicted classes (N, D, H, W).
        target: True classes (N, D, H, W).
        classes: Number of classes.
        spacing_mm: Voxel sizes (N, 3); lengths are in their unit.
        tolerance: Tolerance of the surface Dice, in the same unit.
        extent: Sides (N, 3) of the volumes before they were padded. If None, they were not padded.

    Returns:
        hd95 and surface Dice, each (N, classes - 1).
    """
    measure = monai_part("metrics")
    hd95, surface = np.full((2, len(target), classes - 1), np.nan)
    sides = np.broadcast_to(target.shape[1:], spacing_mm.shape) if extent is None else extent
    for case, spacing in enumerate(spacing_mm):
        for number in range(1, classes):
            a, b = guess[case] == number, target[case] == number
            if a.any() and b.any():
                pair = [torch.from_numpy(mask)[None, None].float() for mask in (a, b)]
                its = {"include_background": True, "spacing": tuple(map(float, spacing))}
                with warnings.catch_warnings():  # MONAI 1.6 warns of an argument that it passes to itself
                    warnings.simplefilter("ignore", FutureWarning)
                    hd = measure.compute_hausdorff_distance(*pair, percentile=HD_PERCENTILE, **its)
                    share = measure.compute_surface_dice(*pair, [tolerance], **its)
                hd95[case, number - 1], surface[case, number - 1] = float(hd), float(share)
            elif a.any() or b.any():
                hd95[case, number - 1] = diagonal(spacing, sides[case])
                surface[case, number - 1] = 0.0
    return hd95, surface
