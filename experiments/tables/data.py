"""Digests of the data sets of a table, by which a row knows whether it was computed from the same data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from experiments.tables.spec import DataNeed
from nas.errors import NASError

MOST_BYTES = 256 << 20  # read of a data set
MOST_BYTES_OF_FILE = 1 << 20
MOST_READ = 20_000  # of more files only names and sizes are taken: opening each would take minutes


def data_digest(folder: Path, need: DataNeed) -> str:
    """Hash names, sizes and contents of the files of a data set, wherever its folder is.

    Small files are read whole. Of a large one the begin and the end are read: archives and compressed images end in
    checksums of what they hold. Times of files do not count, so that a copy of the data is the same data.

    Args:
        folder: Folder of the data set.
        need: Whose `files` count, with everything below a folder among them; without `files` all do.

    Returns:
        16 hexadecimal digits.

    Raises:
        NASError: If a file cannot be read.
    """
    try:
        files = sorted((Path(os.path.relpath(path, folder)).as_posix(), path) for path in _matches(folder, need))
        part = min(MOST_BYTES_OF_FILE, MOST_BYTES // max(1, len(files))) if len(files) <= MOST_READ else 0
        whole = hashlib.sha256()
        for name, path in files:
            size = path.stat().st_size
            whole.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
            if part:
                whole.update(_sample(path, size, part))
    except OSError as error:
        raise NASError(f"{folder} ({error})", "data that can be read", "check the rights of its files") from error
    return whole.hexdigest()[:16]


def _matches(folder: Path, need: DataNeed) -> set[Path]:
    return {file for pattern in need.files or ("*",) for path in folder.glob(pattern) for file in _below(path)}


def _below(path: Path) -> Iterator[Path]:
    """Yield a file, or the files below a folder; hidden ones are left out, which file managers make."""
    if path.name.startswith("."):
        return
    if not path.is_dir():
        if path.is_file():
            yield path
        return
    for parent, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and (file := Path(parent) / name).is_file():
                yield file


def _sample(path: Path, size: int, part: int) -> bytes:
    with open(path, "rb") as file:
        if size <= part:
            return file.read(part)
        begin = file.read(part // 2)
        file.seek(-(part // 2), os.SEEK_END)
        return begin + file.read(part // 2)
