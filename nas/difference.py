"""Where two configurations differ, for the one line that refuses to mix them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT = "absent"


def first_difference(mine: Any, other: Any, name: str = "") -> tuple[str, Any, Any]:
    """Of two values that differ, nested mappings with names as keys: the dotted name of the innermost setting that
    does, the first by name, and what it is in either, or ABSENT."""
    if isinstance(mine, Mapping) and isinstance(other, Mapping):
        pairs = {key: (mine.get(key, ABSENT), other.get(key, ABSENT)) for key in sorted({*mine, *other})}
        key = next(key for key, (one, another) in pairs.items() if one != another)
        return first_difference(*pairs[key], f"{name}.{key}" if name else key)
    return name, mine, other
