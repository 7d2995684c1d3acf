"""Devices, pipes and open files as outputs: they are written to, not replaced."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

NAMED_FILES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def is_special(path: Path) -> bool:
    """Return whether a path is written to in place: a device, a pipe, a socket, or an open file of this process.

    Args:
        path: The path, which need not exist.

    Returns:
        False for regular files, for folders and for a path that does not exist.
    """
    if _open_number(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_number(path: Path) -> int | None:
    """Return the number of an open file of this process that a name such as /dev/stdout stands for."""
    text = os.path.abspath(path)
    if text in NAMED_FILES:
        return NAMED_FILES[text]
    folder, _, number = text.rpartition("/")
    return int(number) if folder in ("/dev/fd", "/proc/self/fd") and number.isdecimal() else None


def send(source: Path, target: Path) -> None:
    """Write the content of a file to a special file.

    Args:
        source: The file.
        target: The device, pipe or open file.

    Raises:
        OSError: If it cannot be written.
    """
    number = _open_number(target)
    if number is None:
        with open(source, "rb") as content, open(target, "wb", buffering=0) as file:
            shutil.copyfileobj(content, file)
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with open(source, "rb") as content, os.fdopen(os.dup(number), "wb") as file:
        shutil.copyfileobj(content, file)
