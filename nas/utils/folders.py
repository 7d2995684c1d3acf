"""Output folders: whether they can be written, and how they are removed again if nothing was written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import NASError
from nas.utils.special_files import is_special

BLOCK = 4096  # bytes that are written to see whether the disk has room


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Make a folder, and remove those folders again that were made for it and are empty at the end.

    Args:
        folder: The folder.

    Yields:
        None, while the folder exists.

    Raises:
        OSError: If it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def require_writable(folder: Path) -> None:
    """Check that files can be written into a folder, or into the folder in which it has to be made.

    Args:
        folder: The folder, which need not exist.

    Raises:
        NASError: If they cannot.
    """
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            file.write(bytes(BLOCK))
            file.flush()
    except OSError as error:
        raise NASError(
            f"{folder} ({(error.strerror or str(error)).lower()})",
            "a folder that can be written",
            "make room or correct the rights, or name another folder",
        ) from error


def require_output(path: Path) -> None:
    """Check, before the work for it, that a file can be written.

    Args:
        path: The file, which need not exist; a device or a pipe is written to in place.

    Raises:
        NASError: If it is a folder, or its folder cannot be written.
    """
    if path.is_dir():
        raise NASError(f"{path}, a folder", "a file that can be written", "name a file in it")
    if not is_special(path):
        require_writable(path.parent)


def require_no_input(outputs: Iterable[Path], inputs: Iterable[Path], option: str = "--out") -> None:
    """Check that no output takes the place of an input.

    Args:
        outputs: Files that will be written.
        inputs: Files that are read.
        option: The option that names the outputs.

    Raises:
        NASError: If a file is both.
    """
    known = {path.resolve() for path in inputs}
    if own := next((path for path in outputs if path.resolve() in known), None):
        raise NASError(f"{option} {own}, which is an input", "another file or folder", f"change {option}")


class OutputFolder:
    """An output folder that may be removed while a command writes into it.

    Args:
        path: The folder, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None

    def watch(self) -> None:
        """Remember the folder, which exists now."""
        self._identity = _identity(self.path)

    def is_gone(self) -> bool:
        """Check whether the folder was removed, also if another one of the same name was made since.

        Returns:
            False before `watch` was called.
        """
        return self._identity is not None and _identity(self.path) != self._identity

    def require(self) -> None:
        """Check that the folder was not removed.

        Raises:
            NASError: If it was.
        """
        if self.is_gone():
            raise NASError(
                f"{self.path}, which was removed during the search", "an output folder that stays", "repeat the command"
            )


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return device and number of a folder; None if it does not exist."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
