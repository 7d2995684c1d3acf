"""Resampling of slices to the input of a network: to a number of pixels, or to a pixel size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from nas.data.io.images import AIR_HU


def to_side(slices_NHW: np.ndarray, side: int) -> np.ndarray:
    """Resample slices to a square; each pixel is the mean of the area that it covers.

    Args:
        slices_NHW: (N, H, W).
        side: Pixels per side.

    Returns:
        (N, side, side) float32.
    """
    if slices_NHW.shape[1:] == (side, side):
        return slices_NHW.astype(np.float32)
    x_1NHW = torch.from_numpy(slices_NHW.astype(np.float32))[None]
    return F.adaptive_avg_pool2d(x_1NHW, side)[0].numpy()


def to_pixel(slice_HW: np.ndarray, pixel_mm: tuple[float, float], wanted_mm: float) -> np.ndarray:
    """Resample a slice to a pixel size, over the same area; smoothed if the pixels become larger.

    Args:
        slice_HW: (H, W).
        pixel_mm: Its pixel size (H, W).
        wanted_mm: New pixel size, which is met as nearly as whole pixels allow.

    Returns:
        (H', W') float32.
    """
    sides = [max(1, round(n * mm / wanted_mm)) for n, mm in zip(slice_HW.shape, pixel_mm, strict=True)]
    x_BCHW = torch.from_numpy(slice_HW.astype(np.float32))[None, None]
    return F.interpolate(x_BCHW, sides, mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()


def moved(index_N2: np.ndarray, old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Convert pixel indices of a slice into those of the same slice with other sides.

    Args:
        index_N2: (N, 2) or (2,) indices (row, column).
        old: Sides (H, W) that they refer to.
        new: Sides (H, W) of the resampled slice.

    Returns:
        Indices as fractions.
    """
    return (index_N2 + 0.5) * np.array(new) / np.array(old) - 0.5


def patch(slice_HW: np.ndarray, centre: np.ndarray, side: int) -> np.ndarray:
    """Cut a square around a point, at the nearest whole pixel; outside of the slice it is filled with air.

    Args:
        slice_HW: (H, W).
        centre: Index (row, column), as fractions.
        side: Pixels per side.

    Returns:
        (side, side).
    """
    first = np.rint(centre - (side - 1) / 2).astype(int)
    out_HW = np.full((side, side), AIR_HU, dtype=slice_HW.dtype)
    low, high = np.maximum(first, 0), np.minimum(first + side, slice_HW.shape)
    if (low < high).all():
        at = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
        out_HW[at] = slice_HW[low[0] : high[0], low[1] : high[1]]
    return out_HW
