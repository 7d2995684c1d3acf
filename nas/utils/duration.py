"""Durations in words."""

from __future__ import annotations


def in_words(seconds: float) -> str:
    """Write a duration with at most two units.

    Args:
        seconds: The duration, at least 0.

    Returns:
        For example "40 s", "3 min 20 s", "2 h 5 min" or "1 d 4 h".
    """
    whole = round(seconds)
    for size, name, part, name_of_part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name} {rest} {name_of_part}" if rest else f"{whole // size} {name}"
    return f"{whole} s"
