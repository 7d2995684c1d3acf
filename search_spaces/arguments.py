"""Checks of the arguments of search spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.errors import NASError
from nas.space import SearchSpace


def is_increasing(numbers: Sequence[int]) -> bool:
    """Return whether numbers start at 1 or more and strictly increase.

    Args:
        numbers: Numbers to check.

    Returns:
        True for at least one number, all >= 1, each larger than the one before.
    """
    return len(numbers) > 0 and numbers[0] >= 1 and list(numbers) == sorted(set(numbers))


def is_subset(given: Sequence[object], known: Sequence[object]) -> bool:
    """Return whether values are a non-empty subset of the known ones, without repetition.

    Args:
        given: Values to check.
        known: Values that are allowed.

    Returns:
        True for at least one value, all known and no value twice.
    """
    return 0 < len(given) == len(set(given)) and set(given) <= set(known)


def require(space: SearchSpace, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Check the arguments of a space.

    Args:
        space: The space, with each argument as an attribute.
        rules: For each argument, whether it is valid, and the expected values in words ("at least 1").

    Raises:
        NASError: For the first argument that is not valid.
    """
    for name, (holds, expected) in rules.items():
        if not holds:
            raise NASError(f"space.{name}={getattr(space, name)}", expected, f"set space.{name} to {expected}")
