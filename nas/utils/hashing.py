"""Canonical hashes of values and of files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from nas.utils.foreign import require_regular

BLOCK = 1 << 22  # bytes read at once


def digest(value: Any) -> str:
    """Hash a value by its canonical JSON: sorted keys, no blanks, lists and tuples alike.

    Args:
        value: Anything of JSON; tuples, sets, paths, dataclasses, NumPy scalars and arrays are converted.

    Returns:
        The SHA-256 as 64 hexadecimal digits.

    Raises:
        TypeError: If the value holds an object without a canonical form, whose text might name a memory address.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """Hash the content of a regular file.

    Args:
        path: The file, read in blocks.

    Returns:
        The SHA-256 as 64 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, such as a device without an end.
    """
    require_regular(path)
    content = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            content.update(block)
    return content.hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON")
