"""Mirrored and turned views of an image, and the way back; for arrays of numpy and, by their axes, for tensors.

Exported networks predict by this module, so that it imports numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

PLANES = ("DH", "DW", "HW")
AXES = "DHW"


@dataclass(frozen=True)
class View:
    """A view whose axis i shows the axis `axes[i]` of the image, backwards if i is one of `mirrored`.

    Attributes:
        axes: A permutation of the spatial axes, numbered from 0.
        mirrored: Axes of the view, ascending.
    """

    axes: tuple[int, ...]
    mirrored: tuple[int, ...] = ()

    @property
    def back(self) -> tuple[int, ...]:
        """The permutation that undoes `axes`."""
        return tuple(self.axes.index(axis) for axis in range(len(self.axes)))

    def of(self, x_BCDHW: np.ndarray) -> np.ndarray:
        """Show a batch in this view.

        Args:
            x_BCDHW: (B, C, D, H, W), in 2D (B, C, H, W).

        Returns:
            The batch with permuted and mirrored axes; no copy.
        """
        return np.flip(x_BCDHW.transpose(0, 1, *_after(2, self.axes)), _after(2, self.mirrored))

    def undone(self, y_BKDHW: np.ndarray) -> np.ndarray:
        """Turn a prediction of this view back.

        Args:
            y_BKDHW: (B, K, ...) with the spatial axes of the view.

        Returns:
            The prediction with the axes of the image; no copy.
        """
        return np.flip(y_BKDHW, _after(2, self.mirrored)).transpose(0, 1, *_after(2, self.back))


@lru_cache(maxsize=64)
def views(dims: int, flips: tuple[int, ...] = (), rotations: tuple[str, ...] = ()) -> tuple[View, ...]:
    """List the views of an image.

    Args:
        dims: Spatial axes, 2 or 3.
        flips: Axes (0 = D, 1 = H, 2 = W; in 2D H, W) that are mirrored in every combination.
        rotations: Planes in which every mirrored view is turned by 0, 90, 180 and 270 degrees, one plane after another:
            "DH", "DW", "HW"; in 2D only "HW".

    Returns:
        Different views, the image itself first.
    """
    whole = tuple(range(dims))
    subsets = (axes for count in range(len(flips) + 1) for axes in combinations(flips, count))
    found = [View(whole, tuple(sorted(axes))) for axes in subsets]
    for plane in rotations:
        first, second = plane_axes(plane, dims)
        found = [_turned(view, first, second, quarters) for view in found for quarters in range(4)]
    return tuple(dict.fromkeys(found))


def plane_axes(plane: str, dims: int) -> tuple[int, int]:
    """Return the axes of a plane.

    Args:
        plane: Two letters out of D, H, W.
        dims: Spatial axes, 2 or 3.

    Returns:
        Their numbers among the spatial axes.
    """
    first, second = (AXES.index(letter) - (3 - dims) for letter in plane)
    return first, second


def _turned(view: View, first: int, second: int, quarters: int) -> View:
    """Turn a view as `numpy.rot90(x, quarters, (first, second))` does."""
    for _ in range(quarters):
        backwards = set(view.mirrored) ^ {second}
        swap = {first: second, second: first}
        axes = [view.axes[swap.get(axis, axis)] for axis in range(len(view.axes))]
        view = View(tuple(axes), tuple(sorted(swap.get(axis, axis) for axis in backwards)))
    return view


def _after(count: int, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(count + axis for axis in axes)
