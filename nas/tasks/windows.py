"""Sliding-window inference in PyTorch, with the windows and weights of `nas.inference.sliding_window`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product

import torch
import torch.nn.functional as F

from nas.utils.windows import importance, starts

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of axes of a batch of images
AT_ONCE = 4  # windows per batch, at least: on a CPU single ones fall into a slow path of 3D convolutions
GPU_VOXELS = 4 * 96**3  # per batch on a GPU, which small windows leave idle


def window_logits(
    network: Callable[[torch.Tensor], torch.Tensor], x_BCDHW: torch.Tensor, window: Sequence[int], overlap: float
) -> torch.Tensor:
    """Average the logits of windows, each weighted by a Gaussian around its middle.

    Args:
        network: (B, C, *window) -> (B, K, *window).
        x_BCDHW: Images (B, C, ...). If they are smaller than the window, they are padded with 0 on both sides and the
            result is cropped. Windows keep their memory layout.
        window: Sides of the window in voxels.
        overlap: Overlap of neighbouring windows, in [0, 1).

    Returns:
        Logits (B, K, ...), fp32.
    """
    sides = tuple(x_BCDHW.shape[2:])
    missing = [max(0, side - own) for side, own in zip(window, sides, strict=True)]
    before = [total // 2 for total in missing]
    if any(missing):
        pads = [pad for half, total in zip(before, missing, strict=True) for pad in (total - half, half)]
        x_BCDHW = F.pad(x_BCDHW, pads[::-1])
    axes = zip(x_BCDHW.shape[2:], window, strict=True)
    places = list(product(*(starts(length, side, overlap) for length, side in axes)))
    if len(places) == 1:
        total_BKDHW = network(x_BCDHW).float()
    else:
        total_BKDHW = _blended(network, x_BCDHW, tuple(window), places)
    inside = (slice(half, half + side) for half, side in zip(before, sides, strict=True))
    return total_BKDHW[(slice(None), slice(None), *inside)]


def _blended(
    network: Callable[[torch.Tensor], torch.Tensor],
    x_BCDHW: torch.Tensor,
    window: tuple[int, ...],
    places: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Return the weighted mean of all windows, (B, K, ...) fp32."""
    weight = _weights(window, x_BCDHW.device)
    all_channels = (slice(None),)
    regions = [tuple(slice(start, start + side) for start, side in zip(place, window, strict=True)) for place in places]
    wanted = [(image, region) for image in range(len(x_BCDHW)) for region in regions]
    at_once = AT_ONCE
    if x_BCDHW.device.type == "cuda":
        at_once = max(AT_ONCE, GPU_VOXELS // weight.numel())
    total_BKDHW: torch.Tensor | None = None
    for first in range(0, len(wanted), at_once):
        some = wanted[first : first + at_once]
        # cat, unlike stack, keeps the memory layout
        logits = network(torch.cat([x_BCDHW[image][all_channels + region][None] for image, region in some]))
        # PyTorch adds and normalises maps of few channels faster if the voxels of a channel are adjacent
        logits = logits.to(torch.float32, memory_format=torch.contiguous_format)
        if total_BKDHW is None:
            total_BKDHW = logits.new_zeros((len(x_BCDHW), logits.shape[1], *x_BCDHW.shape[2:]))
        for (image, region), one in zip(some, logits, strict=True):
            total_BKDHW[image][all_channels + region].addcmul_(one, weight)
    assert total_BKDHW is not None
    weights = weight.new_zeros(x_BCDHW.shape[2:])
    for region in regions:
        weights[region] += weight
    return total_BKDHW.div_(weights)


@lru_cache(maxsize=8)
def _weights(window: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return the weights of a window's voxels, (*window) fp32."""
    with torch.inference_mode(False):  # the cache is also for callers outside of it
        return torch.from_numpy(importance(window)).to(device)
