"""One line for the rows of a table: which row runs, how many are done, and the time left."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.tables.plan import Planned


class TableProgress:
    """Shows the running row on a terminal; a log gets one line for each step.

    Args:
        name: Name of the table.
        rows: Its rows, with their expected minutes.
    """

    def __init__(self, name: str, rows: Sequence[Planned]) -> None:
        self._name = name
        self._expected = [60 * row.minutes for row in rows if not row.reason]
        self._start = time.monotonic()
        self._number, self._done_s = 0, 0.0  # the running row, and when the rows before it had ended
        self._last = ""
        self._drawn = False

    def __call__(self, number: int, total: int, text: str) -> None:
        """Show what runs now.

        Args:
            number: Number of the row among those to compute, from 0.
            total: Number of rows to compute.
            text: Its name and step.
        """
        passed = time.monotonic() - self._start
        if number != self._number:
            self._number, self._done_s = number, passed
        left = self._left(number, self._expected[len(self._expected) - total :]) - (passed - self._done_s)
        line = f"{self._name} {number + 1}/{total}: {text} [{_clock(passed)}, about {_clock(max(left, 0.0))} left]"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{line[:width]:<{width}}")
            self._drawn = True
        elif text != self._last:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._last = text

    def _left(self, number: int, to_do: Sequence[float]) -> float:
        """Seconds of the rows that have not ended: a small part of the work says little about the pace of the rest."""
        done, whole = sum(to_do[:number]), sum(to_do)
        if not done:
            return whole
        share = done / whole
        return (whole - done) * (share * self._done_s / done + 1 - share)

    def close(self) -> None:
        """End the line."""
        if self._drawn:
            sys.stderr.write("\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
