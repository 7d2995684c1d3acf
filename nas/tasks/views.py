"""Predictions averaged over mirrored and turned views, in PyTorch; `nas.inference.runtime` does the same in numpy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, TypeVar, runtime_checkable

import torch

from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.tasks.windows import CHANNELS_LAST
from nas.utils.views import View, plane_axes, views

UNEQUAL = 1.1  # ratio of voxel sides from which a plane is not isotropic


T = TypeVar("T")


@runtime_checkable
class HasViews(Protocol):
    """A task that can average its predictions over views.

    Attributes:
        flips: Mirrored axes.
        rotations: Planes of rotations.
    """

    flips: tuple[int, ...]
    rotations: tuple[str, ...]


def one_view(task: T) -> T:
    """Return a task without mirrored or turned views, for callers that make the views themselves.

    Args:
        task: Any task.

    Returns:
        A copy; the task itself if it has no views.
    """
    if not isinstance(task, HasViews):
        return task
    found = copy.copy(task)
    found.flips, found.rotations = (), ()
    return found


def averaged_over_views(
    predict: Callable[[torch.Tensor], torch.Tensor],
    x_BCDHW: torch.Tensor,
    flips: tuple[int, ...],
    rotations: tuple[str, ...],
) -> torch.Tensor:
    """Average probabilities over the views of a batch.

    Two views are seen in one batch if their sides agree: of one volume alone PyTorch computes fp32 convolutions slowly
    on a CPU.

    Args:
        predict: (B, C, ...) -> probabilities (B, K), or (B, K, ...) of every voxel, which are turned back.
        x_BCDHW: Images (B, C, D, H, W), in 2D (B, C, H, W).
        flips: Mirrored axes, see `nas.utils.views.views`.
        rotations: Planes of rotations.

    Returns:
        The mean over all views.
    """
    every = views(x_BCDHW.ndim - 2, flips, rotations)
    pairs = [every[first : first + 2] for first in range(0, len(every), 2)]
    sides = tuple(x_BCDHW.shape[2:])
    groups: list[Sequence[View]] = []
    for pair in pairs:
        alike = len({tuple(sides[axis] for axis in view.axes) for view in pair}) == 1
        groups += [pair] if alike else [[view] for view in pair]
    return reduce(torch.add, (_summed(predict, x_BCDHW, group) for group in groups)) / len(every)


def _summed(
    predict: Callable[[torch.Tensor], torch.Tensor], x_BCDHW: torch.Tensor, group: Sequence[View]
) -> torch.Tensor:
    x_NCDHW = torch.cat([_seen(x_BCDHW, view) for view in group])
    x_NCDHW = x_NCDHW.contiguous(memory_format=CHANNELS_LAST[x_NCDHW.ndim])
    parts = zip(predict(x_NCDHW).chunk(len(group)), group, strict=True)
    return reduce(torch.add, (_undone(prob_BKDHW, view) for prob_BKDHW, view in parts))


def _seen(x_BCDHW: torch.Tensor, view: View) -> torch.Tensor:
    if view.axes != view.back or view.axes != tuple(range(len(view.axes))):
        x_BCDHW = x_BCDHW.permute(0, 1, *(2 + axis for axis in view.axes))
    return x_BCDHW.flip([2 + axis for axis in view.mirrored]) if view.mirrored else x_BCDHW


def _undone(prob_BKDHW: torch.Tensor, view: View) -> torch.Tensor:
    if prob_BKDHW.ndim == 2:  # of the whole image
        return prob_BKDHW
    if view.mirrored:
        prob_BKDHW = prob_BKDHW.flip([2 + axis for axis in view.mirrored])
    return prob_BKDHW.permute(0, 1, *(2 + axis for axis in view.back))


def require_views(dims: int, flips: Sequence[int], rotations: Sequence[str]) -> None:
    """Check that views exist for images of these dimensions.

    Args:
        dims: Spatial axes, 2 or 3.
        flips: Mirrored axes.
        rotations: Planes of rotations.

    Raises:
        NASError: If slices are to be mirrored or turned along the axis that they lack.
    """
    if max(flips, default=0) >= dims:
        axes = ", ".join(map(str, range(dims)))
        raise NASError(f"task.flips={list(flips)}", f"axes out of {axes}", "set task.flips to []")
    if dims == 2 and set(rotations) - {"HW"}:
        raise NASError(f"task.rotations={list(rotations)} for slices", "the plane HW", "set task.rotations to [HW]")


def require_turnable(store: VolumeStore, rotations: Sequence[str], any_sides: bool) -> None:
    """Check that volumes look alike in the directions of a plane.

    Args:
        store: The data.
        rotations: Planes of rotations.
        any_sides: Whether the network sees windows, so that the sides of a volume may differ.

    Raises:
        NASError: If the voxels of a plane are not squares, or the sides differ where they must not.
    """
    for plane in rotations:
        first, second = plane_axes(plane, store.dims)
        sides = store.sample_shape[1:]
        if not any_sides and sides[first] != sides[second]:
            raise NASError(
                f"task.rotations=[{plane}] for images of {'x'.join(map(str, sides))} voxels",
                "a plane of equal sides",
                "leave the plane out of task.rotations",
            )
        spacing_N3 = store.spacing_mm[:, -store.dims :]
        ratio_N = spacing_N3[:, first] / spacing_N3[:, second]
        if ((ratio_N > UNEQUAL) | (ratio_N < 1 / UNEQUAL)).any():
            raise NASError(
                f"task.rotations=[{plane}] for voxels of {spacing_N3[0, first]:.3g} x {spacing_N3[0, second]:.3g} mm",
                "a plane whose voxels are squares",
                "leave the plane out of task.rotations",
            )
