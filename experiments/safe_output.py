"""Output of commands without control characters of file contents, and without passwords."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from nas.errors import visible

PROGRESS = re.compile("(\x1b\\[[AK]|\r)")  # of progress lines: cursor up, clear the rest of the line, carriage return


class SafeStream:
    """A text stream that writes the control characters of its texts as `\\x1b`.

    Args:
        stream: The stream.
        progress: Whether progress lines are written to it, whose own sequences stay.
    """

    def __init__(self, stream: TextIO, progress: bool) -> None:
        self.stream, self.progress = stream, progress

    def write(self, text: str) -> int:
        """Write a text.

        Args:
            text: The text.

        Returns:
            Its length.
        """
        if self.progress:
            parts = PROGRESS.split(text)
            self.stream.write("".join(visible(part) if number % 2 == 0 else part for number, part in enumerate(parts)))
        else:
            self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts.

        Args:
            lines: The texts.
        """
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class SafeRecord(logging.LogRecord):
    """A log record whose message holds neither control characters nor passwords, for every handler."""

    def getMessage(self) -> str:
        """Return the message.

        Returns:
            The message, safe to show.
        """
        return visible(super().getMessage())


@contextmanager
def safe_output() -> Iterator[None]:
    """Write stdout, stderr and log records safely.

    Yields:
        None, while it holds.
    """
    before = sys.stdout, sys.stderr, logging.getLogRecordFactory()
    sys.stdout, sys.stderr = SafeStream(sys.stdout, progress=False), SafeStream(sys.stderr, progress=True)
    logging.setLogRecordFactory(SafeRecord)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before[0], before[1]
        logging.setLogRecordFactory(before[2])
