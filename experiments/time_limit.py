"""A limit of time for work that cannot be interrupted, such as an exported model with an endless loop."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from experiments.argument_types import number_type
from experiments.cli import USER_ERROR, Parser
from nas.errors import NASError

HOUR_S, LONGEST_S = 3600.0, 1e8


def add_timeout(command: Parser) -> None:
    """Add the option `--timeout`.

    Args:
        command: The parser.
    """
    command.add_argument(
        "--timeout",
        type=number_type(float, 1e-3, LONGEST_S),
        default=HOUR_S,
        metavar="SECONDS",
        help="end the command if loading a model or one input takes longer (default: 3600)",
    )


@contextmanager
def ends_within(options: argparse.Namespace, what: str) -> Iterator[None]:
    """End the process with one line if the block takes longer than `--timeout`.

    The process ends at once: a thread that runs a model cannot be interrupted. Files are written atomically, so that
    nothing half done is left except a hidden temporary file.

    Args:
        options: Parsed arguments, with `timeout` in seconds.
        what: What takes so long, for the message.

    Yields:
        None, while the time runs.
    """
    seconds: float = options.timeout

    def end() -> None:
        fix = "give more time with --timeout, or leave it out"
        message = NASError(f"{what}, which took more than {seconds:g} s", "a model that ends", fix)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            print(f"error: {message}", file=sys.stderr, flush=True)
        os._exit(USER_ERROR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
