"""Declared ranges of the arguments of search spaces."""

from __future__ import annotations

from itertools import pairwise

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
