"""Declared ranges of the arguments of search spaces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nas.errors import NASError
from nas.utils.annotations import Rule

MAX_CHOICES = 100  # of one gene
SWITCH = Rule(lambda n: list(n) in ([False], [True], [False, True]), "[false], [true] or [false, true]")


class Increasing(Rule):
    """Metadata of an annotation: at least one number, each larger than the one before, within a range.

    Args:
        least: Smallest number allowed.
        most: Largest number allowed; it keeps networks of a space buildable.
        step: Every number is a multiple of this plus `offset`.
        offset: 1 with a step of 2: odd numbers.
    """

    def __init__(self, least: int, most: int, step: int = 1, offset: int = 0) -> None:
        kind = {(1, 0): "whole numbers", (2, 1): "odd numbers"}.get((step, offset), f"multiples of {step}")
        super().__init__(
            lambda numbers: (
                0 < len(numbers) <= MAX_CHOICES
                and least <= numbers[0] <= numbers[-1] <= most
                and all(a < b for a, b in pairwise(numbers))
                and all(number % step == offset for number in numbers)
            ),
            f"increasing {kind} from {least} to {most}, at most {MAX_CHOICES} of them",
        )


def _are_strides(strides: Sequence[Sequence[int]]) -> bool:
    return all(len(stride) in (2, 3) and set(stride) <= {1, 2} and 2 in stride for stride in strides)


STRIDES = Rule(
    _are_strides, "for each halving the factor of each axis, 1 or 2, one of them 2, such as [[1, 2, 2], [2, 2, 2]]"
)
FLAT_AXES = Rule(
    lambda levels: all(set(axes) <= {0, 1, 2} and len(set(axes)) == len(axes) for axes in levels),
    "for each level a list of axes out of 0, 1, 2, such as [[0], [], []]",
)


def require_levels(
    dims: int, depth: int, strides: Sequence[Sequence[int]] | None, flat_axes: Sequence[Sequence[int]] | None
) -> None:
    """Check that strides and flat kernels are given for every level of the deepest network.

    Args:
        dims: Spatial dimensions of the networks.
        depth: Halvings of the deepest network.
        strides: Factor of each axis for each halving, or None.
        flat_axes: Axes along which the kernels of each level have one voxel, or None.

    Raises:
        NASError: If the number of levels or axes is another.
    """
    if strides is not None and (len(strides) != depth or any(len(stride) != dims for stride in strides)):
        raise NASError(
            f"space.strides={[list(stride) for stride in strides]} with {depth} halvings in {dims}D",
            f"{depth} lists of {dims} factors, one for each halving of the deepest network",
            "correct space.strides, or set it to null",
        )
    if flat_axes is not None and (
        len(flat_axes) != depth + 1 or any(max(axes, default=0) >= dims or len(axes) >= dims for axes in flat_axes)
    ):
        raise NASError(
            f"space.flat_axes={[list(axes) for axes in flat_axes]} with {depth} halvings in {dims}D",
            f"{depth + 1} lists of fewer than {dims} axes, one for each level of the deepest network",
            "correct space.flat_axes, or set it to null",
        )
