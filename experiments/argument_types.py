"""Types of arguments on a command line: numbers in a range, texts, paths, seeds, sizes of images."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MOST, LARGEST, LONGEST_PATH = 10**9, 1e18, 4096  # as in nas.utils.annotations, which takes long to import


def number_type(kind: type[int] | type[float], least: float, most: float = float("inf")) -> Callable[[str], Any]:
    """Make the `type` of an argument that takes a number.

    Args:
        kind: `int` or `float`.
        least: Smallest value.
        most: Largest value; infinity itself is refused.

    Returns:
        A function that reads the text of the argument.
    """

    largest = min(most, MOST if kind is int else LARGEST)

    def read(text: str) -> Any:
        with suppress(ValueError):
            value = kind(text)
            if least <= value <= largest:
                return value
        name = "a whole number" if kind is int else "a number"
        limits = f"from {least} to {most}" if most != float("inf") else f"of at least {least}"
        raise argparse.ArgumentTypeError(f"{text!r}, expected {name} {limits}")

    return read


count_type = number_type(int, 1)  # the `type` of an argument that counts something


def text_type(text: str) -> str:
    """Check the text of an argument: it is the `type` of arguments that have no other.

    Args:
        text: The text.

    Returns:
        The text.

    Raises:
        argparse.ArgumentTypeError: If it is empty or has control characters.
    """
    if not text.strip() or not _is_printable(text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a text that is not empty")
    return text


def path_type(text: str) -> Path:
    """Check the path of an argument, which replaces `type=Path`.

    Args:
        text: The text.

    Returns:
        The path.

    Raises:
        argparse.ArgumentTypeError: If it is empty, too long for a path, or has control characters.
    """
    if not text.strip() or len(os.fsencode(text)) > LONGEST_PATH or not _is_printable(text):
        raise argparse.ArgumentTypeError(f"{text[:100]!r}, expected a path")
    return Path(text)


def _is_printable(text: str) -> bool:
    """Whether a text has no control characters; bytes that the locale does not know are none."""
    return all(letter.isprintable() or "\udc80" <= letter <= "\udcff" for letter in text)


def seed_type(text: str) -> int:
    """Parse a seed.

    Args:
        text: A whole number from 0 to 4294967295.

    Returns:
        The seed.
    """
    return int(number_type(int, 0, 2**32 - 1)(text))


def size_type(text: str) -> tuple[int, ...]:
    """Parse the size of an image.

    Args:
        text: One side of a cube, `D,H,W`, or for slices `H,W`.

    Returns:
        One, three or two sides.

    Raises:
        argparse.ArgumentTypeError: If a side is no whole number from 1 to 4096.
    """
    parts = text.strip("[]() ").split(",")
    if 1 <= len(parts) <= 3 and all(part.strip().isdecimal() and 1 <= int(part) <= 4096 for part in parts):
        return tuple(int(part) for part in parts)
    raise argparse.ArgumentTypeError(f"{text!r}, expected one whole number from 1 to 4096, or D,H,W, or H,W")
