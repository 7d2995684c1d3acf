"""Where two configurations differ, for the one line that refuses to mix them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT = "absent"


def first_difference(mine: Any, other: Any, name: str = "") -> tuple[str, Any, Any]:
    """Of two values that differ, nested mappings with names as keys: the dotted name of the innermost setting that
    does, the first by name, and what it is in either, or ABSENT."""
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        names = sorted({*mine, *other})
        key = next(key for key in names if (key in mine, mine.get(key)) != (key in other, other.get(key)))
        return first_difference(mine.get(key, ABSENT), other.get(key, ABSENT), f"{name}.{key}" if name else key)
    return name, mine, other
