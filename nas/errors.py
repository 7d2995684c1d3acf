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
