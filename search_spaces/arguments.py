"""What the arguments of a space are checked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.errors import NASError
from nas.space import SearchSpace


def increasing(numbers: Sequence[int]) -> bool:
    """At least one number, from 1 upwards, each larger than the one before."""
    return len(numbers) > 0 and numbers[0] >= 1 and list(numbers) == sorted(set(numbers))


def some_of(given: Sequence[object], known: Sequence[object]) -> bool:
    """At least one, all known, none twice."""
    return 0 < len(given) == len(set(given)) and set(given) <= set(known)


def require(space: SearchSpace, rules: Mapping[str, tuple[bool, str]]) -> None:
    """rules: argument -> whether it holds, and what is expected. Raises NASError for the first that does not."""
    for name, (holds, expected) in rules.items():
        if not holds:
            raise NASError(f"{name}={getattr(space, name)}", expected, f"mend space.{name}")
