"""Exceptions: NASError for invalid user input, TrialFailed for a candidate that cannot be scored."""

from __future__ import annotations


class NASError(Exception):
    """Invalid input of a user, reported in one line: `got ...; expected ...; fix: ...`.

    Args:
        got: The invalid value, as name=value.
        expected: Valid values.
        fix: The change that helps.
    """

    def __init__(self, got: str, expected: str, fix: str) -> None:
        super().__init__(got, expected, fix)
        self.got, self.expected, self.fix = got, expected, fix

    def __str__(self) -> str:
        line = f"got {self.got}; expected {self.expected}; fix: {self.fix}"
        return " ".join(line.split())


class TrialFailed(Exception):
    """A candidate could not be evaluated (NaN loss, out of memory); the search records the reason and continues."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message.

    Args:
        error: The error.

    Returns:
        At most 200 characters; the name of the class if there is no message.
    """
    return _lines(error)[0][:200]


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, where the libraries of images and of tensors name the cause.

    Args:
        error: The error.

    Returns:
        At most 200 characters; the name of the class if there is no message.
    """
    return _lines(error)[-1][:200]


def _lines(error: BaseException) -> list[str]:
    details = getattr(error, "details", None)  # of gRPC
    text = str(details() if callable(details) else error)
    return [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
