"""Writing of HDF5 files that ends in one OSError if the disk is full."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Write an HDF5 file.

    After a failed write HDF5 cannot close its own file: it prints errors, and the process may crash. Here HDF5 does not
    learn of it: what cannot be written is kept in memory, and the error is raised between two calls of HDF5. HDF5
    takes no lock.

    Args:
        path: The file, replaced if it exists.

    Yields:
        The file, and a function that raises the error of an earlier write, if there was one.

    Raises:
        OSError: If the file cannot be written.
    """
    import h5py

    with _Target(path) as target:
        try:
            with h5py.File(target, "w") as file:
                yield file, target.check
        except (OSError, RuntimeError):  # of HDF5, after a write that failed
            target.check()
            raise
        target.check()


class _Target(io.FileIO):
    """A file that keeps in memory what cannot be written, so that HDF5 reads back what it wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failed: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []  # first byte and content

    def write(self, content: Any, /) -> int:
        view, done = memoryview(content).cast("B"), 0
        while self._failed is None and done < len(view):
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self._failed = error
        if done < len(view):
            self._kept.append((self.tell(), bytes(view[done:])))
            super().seek(len(view) - done, os.SEEK_CUR)
        return len(view)

    def readinto(self, buffer: Any, /) -> int:
        if self._failed is None:
            return super().readinto(buffer) or 0
        view, start = memoryview(buffer).cast("B"), self.tell()
        view[:] = bytes(len(view))
        super().readinto(view)
        for first, content in self._kept:
            low, high = max(first, start), min(first + len(content), start + len(view))
            if low < high:
                view[low - start : high - start] = content[low - first : high - first]
        super().seek(start + len(view))
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if self._failed is None or whence != os.SEEK_END:
            return super().seek(offset, whence)
        size = max([os.fstat(self.fileno()).st_size, *(first + len(content) for first, content in self._kept)])
        return super().seek(size + offset)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._failed = self._failed or error
            return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._failed is not None:
            raise OSError(self._failed.errno, self._failed.strerror, str(self.name))
