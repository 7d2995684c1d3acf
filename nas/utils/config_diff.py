"""The first difference of two configurations, for messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT = "absent"


def first_difference(first: Any, second: Any, name: str = "") -> tuple[str, Any, Any]:
    """Find the first setting, in the order of names, in which two configurations differ.

    Args:
        first: A value, or nested mappings with names as keys.
        second: A value that differs from the first.
        name: Dotted name of the two.

    Returns:
        The dotted name of the innermost setting, and its two values, of which one may be ABSENT.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        names = sorted({*first, *second})
        key = next(key for key in names if (key in first, first.get(key)) != (key in second, second.get(key)))
        return first_difference(first.get(key, ABSENT), second.get(key, ABSENT), f"{name}.{key}" if name else key)
    return name, first, second
