"""The lines of errors that messages quote."""

from __future__ import annotations

import pytest

from nas.errors import NASError, first_line, last_line


class Call(Exception):
    """An error with a method `details`, as gRPC raises them."""

    def details(self) -> str:
        return "the server is gone"


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("one"), "one", "one"),
        (ValueError("\n one \ntwo\n\n"), "one", "two"),
        (ValueError(""), "ValueError", "ValueError"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (ValueError(" \n"), "ValueError", "ValueError"),
        (ValueError("x" * 300), "x" * 200, "x" * 200),
        (NASError("a\nb", "c", "d"), "got a b; expected c; fix: d", "got a b; expected c; fix: d"),
        (Call("other"), "the server is gone", "the server is gone"),
    ],
)
def test_first_and_last_line(error: Exception, first: str, last: str) -> None:
    assert first_line(error) == first
    assert last_line(error) == last
