"""Positions and weights of the windows of a sliding-window inference, as MONAI has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIGMA = 0.125  # standard deviation of the Gaussian weights, as a share of a window's side
LEAST = 1e-3  # smallest weight


def starts(length: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of the windows along an axis.

    Args:
        length: Voxels of the axis.
        window: Voxels of the window.
        overlap: Overlap of neighbouring windows, in [0, 1).

    Returns:
        Positions in even steps from 0; the last window ends with the axis.
    """
    if window >= length:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    return [min(start, length - window) for start in range(0, length - window + step, step)]


def importance(window: Sequence[int]) -> np.ndarray:
    """Return the weights of a window's voxels, a Gaussian around its middle.

    Args:
        window: Sides of the window in voxels.

    Returns:
        (*window) float32, at least LEAST.
    """
    weight = np.ones((1,) * len(window), dtype=np.float32)
    for axis, side in enumerate(window):
        place = np.arange(side, dtype=np.float32) - (side - 1) / 2
        line = np.exp(-(place**2) / (2 * (SIGMA * side) ** 2))
        weight = weight * line.reshape([-1 if one == axis else 1 for one in range(len(window))])
    return weight.clip(max(float(weight.min()), LEAST)).astype(np.float32)
