"""What a client is told when its request is turned down: a status and one line."""

from __future__ import annotations

from nas.errors import NASError


class Refusal(NASError):
    """A client's mistake with its HTTP status (4xx)."""

    def __init__(self, status: int, got: str, expected: str, fix: str) -> None:
        super().__init__(got, expected, fix)
        self.status = status
