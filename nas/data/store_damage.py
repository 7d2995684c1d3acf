"""Damage of prepared data sets: the checksum of their columns, and the errors of files that cannot be read."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import h5py

from nas.errors import NASError
from nas.utils.environment import is_of_environment

CHUNKED = ("volumes", "masks", "values")  # datasets in chunks with checksums
CONTENTS, SEAL = "contents", "metadata"  # attributes with checksums
CONTENDED = {errno.EAGAIN, errno.EACCES}  # of a lock that another process holds
LOCK_FAILED = "unable to lock file"  # HDF5 has no error code of its own for it


def seal(file: h5py.File) -> None:
    """Record the checksums of a store that is written: of everything but the datasets in chunks.

    Args:
        file: The open file, otherwise complete.
    """
    if CONTENTS in file:  # apart, as older stores have none
        file.attrs[CONTENTS] = _digest(file, [CONTENTS])
    file.attrs[SEAL] = _digest_of_rest(file)


def require_seal(file: h5py.File) -> None:
    """Compare the checksums of a store with its content.

    Args:
        file: The open file; one of an earlier version has no checksums.

    Raises:
        ValueError: If they differ.
    """
    found = {SEAL: _digest_of_rest(file)} if SEAL in file.attrs else {}
    if CONTENTS in file.attrs and CONTENTS in file:
        found[CONTENTS] = _digest(file, [CONTENTS])
    for name, value in found.items():
        if value != file.attrs[name]:
            raise ValueError(f"its content has the hash {value[:12]}, written {str(file.attrs[name])[:12]}")


def _digest_of_rest(file: h5py.File) -> str:
    content = [_digest(file, sorted(set(file) - {*CHUNKED, CONTENTS}))]
    content += [repr((name, file[name].shape, str(file[name].dtype))) for name in CHUNKED if name in file]
    content += sorted(repr((name, str(value))) for name, value in file.attrs.items() if name != SEAL)
    return hashlib.sha256("|".join(content).encode()).hexdigest()


def _digest(file: h5py.File, names: Sequence[str]) -> str:
    content = hashlib.sha256()
    for name in names:
        values = file[name][()]
        texts = values.dtype == object
        content.update(repr((name, values.shape, "text" if texts else str(values.dtype))).encode())
        content.update(repr([row.hex() for row in values.tolist()]).encode() if texts else values.tobytes())
    return content.hexdigest()


class DamagedStore(NASError):
    """A file that cannot be read as a volume store, so that it has to be made again."""


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
