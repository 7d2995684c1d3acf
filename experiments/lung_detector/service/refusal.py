"""The exception for a refused request: a status and one line for the client."""

from __future__ import annotations

from nas.errors import NASError


class Refusal(NASError):
    """A client's mistake.

    Args:
        status: HTTP status (4xx).
        got: Content of the request.
        expected: Valid content.
        fix: How to correct the request.
    """

    def __init__(self, status: int, got: str, expected: str, fix: str) -> None:
        super().__init__(got, expected, fix)
        self.status = status
