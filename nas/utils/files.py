"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from nas.utils.process import has_ended, place


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes through a temporary file in the same folder and a rename; a reader sees the old or the new file.

    Temporary files of this file that killed processes of this machine left behind are removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_here()}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _remove_leftovers(path)


def write_text(path: str | Path, content: str) -> None:
    write_bytes(path, content.encode())


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` at the end; whatever ends it before leaves nothing
    behind, and an older folder as it was."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (folder.with_name(f".{folder.name}.{_here()}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Holds the lock file `path`, alone among the processes of all machines that see it; the kernel lets go of it for
    a holder that dies. Where the file system has no locks the context is entered without one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(path: Path) -> None:
    prefix = f".{path.name}.{_here()}."
    with os.scandir(path.parent) as entries:
        found = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for name in found:
        pid = name.removeprefix(prefix).removesuffix(".tmp")
        if pid.isdigit() and has_ended(int(pid)):
            (path.parent / name).unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _here() -> str:
    """A short name of the machine, so that no other's process numbers are mistaken for its own."""
    return hashlib.blake2s(place().encode(), digest_size=4).hexdigest()
