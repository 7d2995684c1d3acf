"""JSON files with a checksum of their content, so that damage is found when they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.utils.files import write_text
from nas.utils.hashing import digest

SEAL = "sha256"


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file with the checksum of its content as last entry.

    Args:
        path: The file, written atomically.
        content: JSON values without an entry "sha256".
    """
    plain = json.loads(json.dumps(content))
    write_text(path, json.dumps({**plain, SEAL: digest(plain)}, indent=1) + "\n")


def is_damaged(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether a file that was read does not match its checksum.

    A file without a checksum, as earlier versions wrote it, and one on a single line, which a program has made of
    changed content on purpose, count as intact.

    Args:
        path: The file.
        content: Its content with the checksum.

    Returns:
        True if it was damaged or edited.

    Raises:
        OSError: If it cannot be read.
    """
    if SEAL not in content or b"\n" not in path.read_bytes().strip():
        return False
    return bool(content[SEAL] != digest({name: value for name, value in content.items() if name != SEAL}))
