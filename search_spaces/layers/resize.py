"""Linear interpolation of maps by the fastest of several equivalent PyTorch operations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from search_spaces.layers.layout import is_channels_last

MODES = {2: "bilinear", 3: "trilinear"}


def resize(x_BCDHW: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """Resize a map by linear interpolation between the outermost voxel centres (`align_corners=True`).

    On a CPU this is one matrix product per axis, 3 to 5 times faster, forward and backward, than PyTorch's
    interpolation.

    Args:
        x_BCDHW: Map (B, C, D, H, W) or (B, C, H, W).
        sides: New sides in voxels, without batch and channels.

    Returns:
        Map with these sides and the same type; the input itself if it already has these sides.
    """
    if tuple(x_BCDHW.shape[2:]) == sides:
        return x_BCDHW
    if x_BCDHW.device.type != "cpu" or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return F.interpolate(x_BCDHW, size=sides, mode=MODES[len(sides)], align_corners=True)
    return _by_products(x_BCDHW, sides)


def _by_products(x_BCDHW: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """Resize the last axis first, so that the larger maps are made last; keep the memory layout."""
    last = is_channels_last(x_BCDHW)
    y_BDHWC = x_BCDHW.movedim(1, -1) if last else x_BCDHW.contiguous()  # neither copies a map stored in that layout
    first = 1 if last else 2
    with torch.autocast("cpu", enabled=False):
        y_BDHWC = y_BDHWC.to(torch.promote_types(x_BCDHW.dtype, torch.float32))
        for axis in reversed(range(first, first + len(sides))):
            weights_MN = torch.from_numpy(_weights(y_BDHWC.shape[axis], sides[axis - first])).to(y_BDHWC.dtype)
            if axis == y_BDHWC.ndim - 1:
                y_BDHWC = y_BDHWC @ weights_MN.T
            else:
                y_BDHWC = (weights_MN @ y_BDHWC.flatten(axis + 1)).unflatten(axis + 1, y_BDHWC.shape[axis + 1 :])
        y_BDHWC = y_BDHWC.to(x_BCDHW.dtype)
    return y_BDHWC.movedim(-1, 1) if last else y_BDHWC


@lru_cache(maxsize=256)
def _weights(inputs: int, outputs: int) -> np.ndarray:
    """Return the weight of each input voxel in each output voxel, (outputs, inputs)."""
    weights_MN = np.zeros((outputs, inputs))
    step = (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
    for output in range(outputs):
        low = min(int(output * step), inputs - 1)
        share = output * step - low
        weights_MN[output, low] += 1 - share
        weights_MN[output, min(low + 1, inputs - 1)] += share
    return weights_MN
