"""Snapshots of a folder, to show that a command changed nothing."""

from __future__ import annotations

import os
from pathlib import Path


def snapshot(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, object]:
    """Name -> content and time of change of every file below a folder; of other entries their kind."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(without):
            continue
        if path.is_file() and not path.is_symlink():
            found[name] = (path.read_bytes(), path.stat().st_mtime_ns)
        else:
            found[name] = "folder" if path.is_dir() else os.lstat(path).st_mode
    return found
