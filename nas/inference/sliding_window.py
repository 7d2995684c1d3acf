"""Sliding-window inference in numpy, as MONAI does it in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from nas.utils.windows import importance, starts

AT_ONCE = 4  # windows per batch

Network = Callable[[np.ndarray], np.ndarray]


def slide(
    network: Network, x_BCDHW: np.ndarray, window: Sequence[int], overlap: float, fill: float = 0.0
) -> np.ndarray:
    """Average the logits of windows, each weighted by a Gaussian around its middle.

    Args:
        network: (B, C, *window) -> (B, K, *window).
        x_BCDHW: Images (B, C, ...) with any number of spatial axes. If they are smaller than the window, they are
            padded on both sides and the result is cropped.
        window: Sides of the window in voxels.
        overlap: Overlap of neighbouring windows, in [0, 1).
        fill: Value of the padding.

    Returns:
        Logits (B, K, ...).
    """
    sides = x_BCDHW.shape[2:]
    missing = [max(0, side - own) for side, own in zip(window, sides, strict=True)]
    before = [total // 2 for total in missing]
    pads = [(half, total - half) for half, total in zip(before, missing, strict=True)]
    x_BCDHW = np.pad(x_BCDHW, [(0, 0), (0, 0), *pads], constant_values=fill)
    padded = x_BCDHW.shape[2:]
    weight = importance(window)
    places = list(product(*(starts(*lengths, overlap) for lengths in zip(padded, window, strict=True))))
    wanted = [(image, place) for image in range(len(x_BCDHW)) for place in places]
    total: np.ndarray | None = None
    weights = np.zeros(padded, dtype=np.float32)
    for place in places:
        weights[_at(place, window)] += weight
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        seen = np.stack([x_BCDHW[image][_at(place, window, all_of=1)] for image, place in some])
        logits = network(np.ascontiguousarray(seen, dtype=np.float32))
        if total is None:
            total = np.zeros((len(x_BCDHW), logits.shape[1], *padded), dtype=np.float32)
        for (image, place), one in zip(some, logits, strict=True):
            total[image][_at(place, window, all_of=1)] += one * weight
    assert total is not None
    inside = tuple(slice(half, half + side) for half, side in zip(before, sides, strict=True))
    return (total / weights)[(slice(None), slice(None), *inside)]


def _at(place: Sequence[int], window: Sequence[int], all_of: int = 0) -> tuple[slice, ...]:
    """Return the slices of a window, after `all_of` whole axes."""
    inside = [slice(start, start + side) for start, side in zip(place, window, strict=True)]
    return (*[slice(None)] * all_of, *inside)
