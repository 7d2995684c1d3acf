"""How a check reports what it found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import NASError, TrialFailed, first_line


class CheckFailed(NASError, AssertionError):
    """A part breaks the contract of its kind, as one line: `got ...; expected ...; fix: ...`."""


def require(holds: object, got: str, expected: str, fix: str) -> None:
    """Check one property.

    Args:
        holds: Whether it holds.
        got: What was found instead.
        expected: The property.
        fix: The change that helps.

    Raises:
        CheckFailed: If it does not hold.
    """
    if not holds:
        raise CheckFailed(got, expected, fix)


@contextmanager
def no_error(what: str, expected: str, fix: str) -> Iterator[None]:
    """Report an error in the block as a finding; findings themselves and `TrialFailed` pass.

    Args:
        what: What the block does, such as "propose() after 3 trials".
        expected: The property.
        fix: The change that helps.

    Yields:
        None.

    Raises:
        CheckFailed: If the block raises an error.
    """
    try:
        yield
    except (CheckFailed, TrialFailed):
        raise
    except Exception as error:
        reason = f"{error.got}; expected {error.expected}" if isinstance(error, NASError) else first_line(error)
        raise CheckFailed(f"{what}, which raised {type(error).__name__}: {reason}", expected, fix) from error


def joined(names: object) -> str:
    """List names in a message.

    Args:
        names: Any iterable of values.

    Returns:
        The names, sorted, with commas; "none" without any.
    """
    return ", ".join(sorted(map(str, names))) or "none"  # type: ignore[call-overload]
