"""Slices on the pixels that a network reads: brought to one side, or to one pixel size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from nas.data.io.images import AIR_HU


def to_side(slices_NHW: np.ndarray, side: int) -> np.ndarray:
    """(N, side, side) float32: each pixel the mean of the area that it covers."""
    if slices_NHW.shape[1:] == (side, side):
        return slices_NHW.astype(np.float32)
    x_1NHW = torch.from_numpy(slices_NHW.astype(np.float32))[None]
    return F.adaptive_avg_pool2d(x_1NHW, side)[0].numpy()


def to_pixel(slice_HW: np.ndarray, pixel_mm: tuple[float, float], wanted_mm: float) -> np.ndarray:
    """(H', W') float32 of pixels of about `wanted_mm`, over the same area; smoothed where that is coarser."""
    sides = [max(1, round(n * mm / wanted_mm)) for n, mm in zip(slice_HW.shape, pixel_mm, strict=True)]
    x_BCHW = torch.from_numpy(slice_HW.astype(np.float32))[None, None]
    return F.interpolate(x_BCHW, sides, mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()


def moved(index_N2: np.ndarray, old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """Pixel indices (row, column) of a slice of `old` sides as those of the same slice with `new` sides."""
    return (index_N2 + 0.5) * np.array(new) / np.array(old) - 0.5


def patch(slice_HW: np.ndarray, centre: np.ndarray, side: int) -> np.ndarray:
    """(side, side) around a pixel index (row, column), to the nearest whole pixel; air beyond the slice."""
    first = np.rint(centre - (side - 1) / 2).astype(int)
    out_HW = np.full((side, side), AIR_HU, dtype=slice_HW.dtype)
    low, high = np.maximum(first, 0), np.minimum(first + side, slice_HW.shape)
    if (low < high).all():
        at = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
        out_HW[at] = slice_HW[low[0] : high[0], low[1] : high[1]]
    return out_HW
