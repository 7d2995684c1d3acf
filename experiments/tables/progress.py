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
        to_do = self._expected[len(self._expected) - total :]
        done = sum(to_do[:number])
        factor = max(passed / done, 0.1) if number and done else 1.0
        left = max(factor * sum(to_do) - passed, 0.0)
        line = f"{self._name} {number + 1}/{total}: {text} [{_clock(passed)}, about {_clock(left)} left]"
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{line[:width]:<{width}}")
            self._drawn = True
        elif text != self._last:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        self._last = text

    def close(self) -> None:
        """End the line."""
        if self._drawn:
            sys.stderr.write("\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
