"""A network slid over images larger than what it sees at once, in numpy: as MONAI does it for a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

SIGMA = 0.125  # of the Gaussian weights, as a share of a window's side
LEAST = 1e-3  # weight
AT_ONCE = 4  # windows

Network = Callable[[np.ndarray], np.ndarray]


def slide(
    network: Network, x_BCDHW: np.ndarray, window: Sequence[int], overlap: float, fill: float = 0.0
) -> np.ndarray:
    """Logits (B, K, D, H, W): the mean over windows, each weighted as a Gaussian, largest in its middle.

    network: (B, C, *window) -> (B, K, *window). An image smaller than the window is padded with `fill` on both
    sides alike for the network, and cut out again. Any number of spatial axes. overlap: of neighbouring windows, in
    [0, 1).
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


def starts(length: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along an axis: evenly from 0, the last one moved back to end with the axis."""
    if window >= length:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    return [min(start, length - window) for start in range(0, length - window + step, step)]


def importance(window: Sequence[int]) -> np.ndarray:
    """Weights of a window's voxels: a Gaussian around its middle, nowhere below its least value or LEAST."""
    weight = np.ones((1,) * len(window), dtype=np.float32)
    for axis, side in enumerate(window):
        place = np.arange(side, dtype=np.float32) - (side - 1) / 2
        line = np.exp(-(place**2) / (2 * (SIGMA * side) ** 2))
        weight = weight * line.reshape([-1 if one == axis else 1 for one in range(len(window))])
    return weight.clip(max(float(weight.min()), LEAST)).astype(np.float32)


def _at(place: Sequence[int], window: Sequence[int], all_of: int = 0) -> tuple[slice, ...]:
    """Where a window is, after `all_of` axes of which it has all."""
    found = [slice(start, start + side) for start, side in zip(place, window, strict=True)]
    return (*[slice(None)] * all_of, *found)
