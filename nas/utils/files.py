"""Atomic writing of files and folders, and locks between processes."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import NASError
from nas.utils.folders import removed_if_empty, require_writable
from nas.utils.foreign import MOST_JSON_BYTES, parse_json, require_regular
from nas.utils.process import has_ended, host_id
from nas.utils.special_files import is_special, send

if TYPE_CHECKING:
    from filelock import FileLock

POLL_S = 0.02  # pause between two tries to get a lock that another process holds
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}  # of file systems without locks


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically; a reader sees the old or the new content.

    Args:
        path: The file. Missing folders are made.
        content: The whole new content.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: str | Path, content: str) -> None:
    """Write a UTF-8 text file atomically, see `write_bytes`.

    Args:
        path: The file. Missing folders are made.
        content: The whole new text.
    """
    write_bytes(path, content.encode())


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, which replaces `path` if the block succeeds and is removed otherwise.

    Behind a symbolic link the file that it points to is replaced. A device, a pipe or a socket is not replaced: the
    content of the temporary file, then in the folder for temporary files, is written to it.

    Temporary files of the same target that killed processes of this machine left behind are removed as well.

    Args:
        path: The file to write. Missing folders are made.

    Yields:
        A path that no other process, thread or container uses.
    """
    path = Path(path)
    if is_special(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            send(temporary, path)
        return
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename != str(temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the user knows
    finally:
        temporary.unlink(missing_ok=True)
    _remove_leftovers(path)


def from_here(path: Path) -> Path:
    """Return a path relative to the working directory, if it lies there, for messages and commands.

    Args:
        path: A file or a folder.

    Returns:
        The shorter path.
    """
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def for_shell(path: Path, key: str = "") -> str:
    """Write a path as a word of a command line, quoted if it has blanks or other signs of a shell.

    Args:
        path: A file or a folder.
        key: Begin of the word, such as `arch=`.

    Returns:
        The word, with the path relative to the working directory if it lies there.
    """
    word = f"{key}{from_here(path)}"
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file: UTF-8, or UTF-16 or UTF-32, with or without the byte-order mark that editors write.

    Returns:
        Its content.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no JSON, too large or nested too deeply, or no regular file.
    """
    require_regular(path, MOST_JSON_BYTES)
    return parse_json(path.read_bytes())


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder, which replaces `folder` if the block succeeds and is removed otherwise.

    Args:
        folder: The folder to write. An older one is replaced as a whole.

    Yields:
        The new, empty temporary folder.
    """
    folder = Path(folder)
    temporary = temporary_path(folder)
    old = temporary.with_suffix(".old")
    with removed_if_empty(folder.parent):
        try:
            temporary.mkdir()
            yield temporary
            if folder.exists():
                os.replace(folder, old)
            try:
                os.replace(temporary, folder)
            except BaseException:
                if old.exists():
                    os.replace(old, folder)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: str | Path, *, remove: bool = False) -> Iterator[None]:
    """Hold an exclusive lock among the processes of all machines that see the lock file.

    The kernel releases the lock of a process that dies. If the file system has no locks, the block runs without one.

    Args:
        path: The lock file, which is made if it is missing. Missing folders are made.
        remove: Whether to remove the lock file at the end; a process that waits for it then makes it again.

    Yields:
        None, while the lock is held.

    Raises:
        OSError: If the lock file cannot be opened for writing.
    """
    path = Path(path)
    lock = _acquired(path)
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)  # while it is held: FileLock drops a lock on a file that has been removed
        lock.release()


@contextmanager
def locked_if_free(path: str | Path) -> Iterator[bool]:
    """Hold a lock as `locked` does, unless another process holds it.

    Args:
        path: The lock file, which is made if it is missing.

    Yields:
        Whether the lock is held.
    """
    from filelock import Timeout

    try:
        lock = _acquired(Path(path), timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def exclusive(folder: str | Path) -> Iterator[None]:
    """Hold a folder for one command; a second one is refused at once.

    Args:
        folder: The folder, which is made if it is missing. If it is empty at the end, it is removed again.

    Yields:
        None, while the folder is held.

    Raises:
        NASError: If another process holds it, or it cannot be written.
    """
    folder = Path(folder)
    require_writable(folder)
    path = folder / ".lock"
    with removed_if_empty(folder):
        try:
            lock = _acquired(path, timeout=0) if _has_filelock() else None
        except TimeoutError as error:  # of filelock
            raise NASError(
                f"{folder}, in which another process works",
                "a folder of its own",
                "wait for it, or name another folder (name=..., --out)",
            ) from error
        try:
            yield
        finally:
            if lock is not None:
                path.unlink(missing_ok=True)
                lock.release()


@contextmanager
def staged(folder: str | Path, last: str) -> Iterator[Path]:
    """Give an empty folder, whose files are moved into `folder` together if the block succeeds.

    Args:
        folder: The folder of the files, made if needed. Its other files stay.
        last: Name of the file that makes the others valid: the old one is removed before any other is replaced, and the
            new one is moved last.

    Yields:
        A temporary folder on the same file system.
    """
    folder = Path(folder)
    with removed_if_empty(folder):
        temporary = temporary_path(folder / "files")
        temporary.mkdir()
        try:
            yield temporary
            (folder / last).unlink(missing_ok=True)
            for path in sorted(temporary.iterdir(), key=lambda path: path.name == last):
                os.replace(path, folder / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _has_filelock() -> bool:
    """Whether there are locks: `voxnas predict` with an exported network needs no filelock."""
    return importlib.util.find_spec("filelock") is not None


def _acquired(path: Path, timeout: float = -1) -> FileLock:
    """Return a lock after it has been acquired, or one without effect if the file system has no locks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = file_lock(path)
    try:
        lock.acquire(timeout)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return lock


def file_lock(path: str | Path) -> FileLock:
    """Make a lock that is never emulated by the mere existence of a file, which a killed process would leave locked.

    Args:
        path: The lock file.

    Returns:
        A lock that is not held yet. Its `acquire` raises OSError if the file system has no locks.
    """
    from filelock import FileLock  # here, so that `voxnas predict` needs no filelock

    return FileLock(path, poll_interval=POLL_S, fallback_to_soft=False)


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that is unique, also among containers that share process numbers.

    Args:
        path: The file or folder that the temporary one will replace.

    Returns:
        The path `.<name>.<host>.<process>.<random>.tmp` in the same folder.
    """
    return path.with_name(f".{path.name}.{_host_digest()}.{os.getpid()}.{uuid.uuid4().hex[:12]}.tmp")


def _remove_leftovers(path: Path) -> None:
    prefix = f".{path.name}.{_host_digest()}."
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(".tmp")]
    for name in names:
        pid = name.removeprefix(prefix).partition(".")[0]
        if pid.isdigit() and has_ended(int(pid)):
            (path.parent / name).unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _host_digest() -> str:
    """Return a short name of this host, so that process numbers of other hosts are not mistaken for its own."""
    return hashlib.blake2s(host_id().encode(), digest_size=4).hexdigest()
