"""Overlap and surface distances of segmentations, for each case and class."""

from __future__ import annotations

import warnings

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


def surfaces(
    guess: np.ndarray, target: np.ndarray, classes: int, spacing_mm: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute hd95 and surface Dice, under the rule for empty regions of `nas.tasks.Segmentation`.

    Args:
        guess: Predicted classes (N, D, H, W).
        target: True classes (N, D, H, W).
        classes: Number of classes.
        spacing_mm: Voxel sizes (N, 3); lengths are in their unit.
        tolerance: Tolerance of the surface Dice, in the same unit.

    Returns:
        hd95 and surface Dice, each (N, classes - 1).
    """
    measure = monai_part("metrics")
    hd95, surface = np.full((2, len(target), classes - 1), np.nan)
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
                hd95[case, number - 1] = float(np.linalg.norm(spacing * target.shape[1:]))
                surface[case, number - 1] = 0.0
    return hd95, surface
