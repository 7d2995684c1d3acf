"""Damage of prepared data sets: their checksum, and the errors of files that cannot be read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import h5py

from nas.errors import NASError
from nas.utils.environment import is_of_environment

CHUNKED = ("volumes", "masks", "values")  # datasets in chunks with checksums
MAGIC = b"\0VoxNAS1"  # end of a file with a checksum
TAIL = 2 * 32 + 8 + len(MAGIC)  # digest of the content and of the list of chunks, length of the list
BLOCK = 1 << 20  # bytes read at once
CONTENDED = {errno.EAGAIN, errno.EACCES}  # of a lock that another process holds
LOCK_FAILED = "unable to lock file"  # HDF5 has no error code for it


def seal(path: Path) -> None:
    """Append a checksum of everything but the chunks of volumes, masks and values, which have checksums of their own.

    HDF5 itself has none for most of its structures: it may read other values from a damaged file, or never return. It
    ignores what follows its own end of a file.

    Args:
        path: A complete store.
    """
    ranges = _merged(_chunks(path))
    head = json.dumps({"size": path.stat().st_size, "chunks": ranges}).encode()
    content = _digest(path, path.stat().st_size, ranges) + hashlib.sha256(head).digest()
    with open(path, "ab") as file:
        file.write(head + content + len(head).to_bytes(8, "big") + MAGIC)
        file.flush()
        os.fsync(file.fileno())


def require_seal(path: Path) -> None:
    """Compare a store with its checksum, before HDF5 reads it.

    Args:
        path: The store. One of an earlier version, or one that was edited by HDF5, has no checksum.

    Raises:
        ValueError: If they differ.
        OSError: If the file cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(size - TAIL, 0))
        tail = file.read()
        if len(tail) < TAIL or tail[-len(MAGIC) :] != MAGIC:
            return
        length = int.from_bytes(tail[64:72], "big")
        file.seek(max(size - TAIL - length, 0))
        head = file.read(length)
    if hashlib.sha256(head).digest() != tail[32:64]:
        raise ValueError("its checksum is damaged")
    recorded = json.loads(head)
    if recorded["size"] != size - TAIL - length or _digest(path, recorded["size"], recorded["chunks"]) != tail[:32]:
        raise ValueError("its content does not match its checksum")


def _chunks(path: Path) -> list[tuple[int, int]]:
    """Return first byte and length of every chunk with a checksum."""
    found: list[tuple[int, int]] = []
    with h5py.File(path, "r", locking=False) as file:
        for name in CHUNKED:
            if name in file and file[name].chunks is not None:
                file[name].id.chunk_iter(lambda info: found.append((int(info.byte_offset), int(info.size))))
    return found


def _merged(chunks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for start, length in sorted(chunks):
        if ranges and sum(ranges[-1]) == start:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
        else:
            ranges.append((start, length))
    return ranges


def _digest(path: Path, size: int, without: Sequence[Sequence[int]]) -> bytes:
    """Hash the first `size` bytes of a file without some ranges, which are in order."""
    content = hashlib.sha256()
    with open(path, "rb") as file:
        for start, length in [*without, (size, 0)]:
            while (left := start - file.tell()) > 0:
                if not (block := file.read(min(left, BLOCK))):
                    raise ValueError("it was cut short")
                content.update(block)
            file.seek(start + length)
    return content.digest()


class DamagedStore(NASError):
    """A file that cannot be read as a volume store and has to be made again."""


def unreadable(path: Path, error: Exception, *, remove: bool = False) -> NASError:
    """Distinguish a missing permission, a lock and a file system without locks from damage.

    Args:
        path: The store.
        error: As h5py raised it.
        remove: Whether a damaged file is removed, as it is made anew from its source.

    Returns:
        The error to raise.
    """
    if LOCK_FAILED in str(error):
        if getattr(error, "errno", None) in CONTENDED:
            return NASError(
                f"{path}, which another process holds open for writing ({error})",
                "a store that is only read",
                "close it there",
            )
        return NASError(
            f"{path} on a file system without locks ({error})",
            "file locks, or HDF5 without them",
            "set the environment variable HDF5_USE_FILE_LOCKING=FALSE: complete stores are only read",
        )
    if isinstance(error, PermissionError):
        return NASError(
            f"{path}, which this user may not read ({error})",
            "the right to read it",
            "have its owner grant it (chmod a+r), or use a cache folder of your own (data_cache=/folder)",
        )
    if is_of_environment(error):
        return NASError(f"{path} ({error})", "a file that can be read", "check the disk and the file system")
    if remove:
        with suppress(OSError):
            path.unlink()
        found = damaged(path, str(error))
        return DamagedStore(
            found.got, found.expected, "repeat the command: the file was removed, and is made anew from its source"
        )
    return damaged(path, str(error))


def damaged(path: Path, reason: str) -> DamagedStore:
    """Make the error of a file that is no complete store.

    Args:
        path: The file.
        reason: What is wrong with it.

    Returns:
        The error to raise.
    """
    return DamagedStore(
        f"{path}, which cannot be read as a volume store ({reason})",
        "a complete store, as `prepare` writes it",
        "delete the file: it is made anew from its source",
    )
