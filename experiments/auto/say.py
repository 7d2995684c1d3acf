"""Progress lines of `voxnas auto`: the step that runs, and when everything will be done."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from tqdm import tqdm

from experiments.auto.clock import Clock
from nas.utils.text_table import terminal_width

STEPS = 6
LOG = "log.txt"  # of the output folder: what the steps print


class Says:
    """Writes a line on stderr at the begin of each step.

    Args:
        clock: The running time.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def step(self, number: int, text: str) -> None:
        """Say that a step begins.

        Args:
            number: Its number.
            text: What it does, and until when.
        """
        self.line(f"{number}/{STEPS} {text}")

    def line(self, text: str) -> None:
        """Write a line with the time.

        Args:
            text: The text.
        """
        clock = f"{tqdm.format_interval(self.clock.used)} of {tqdm.format_interval(self.clock.limit)}"
        for line in textwrap.wrap(f"[{clock}] {text}", max(terminal_width() - 1, 20), subsequent_indent="    "):
            print(line, file=sys.stderr, flush=True)


def clock_time(seconds: float) -> str:
    """Return the time of day after some seconds.

    Args:
        seconds: Seconds from now.

    Returns:
        Hours and minutes; with the day if it is not today.
    """
    now = datetime.now()
    then = now + timedelta(seconds=max(seconds, 0.0))
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"


@contextlib.contextmanager
def printing_into(folder: Path) -> Iterator[None]:
    """Write what commands print into the log of the output folder.

    Args:
        folder: The output folder.

    Yields:
        None, while stdout is the log.
    """
    with open(folder / LOG, "a", encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield
