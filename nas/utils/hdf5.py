"""Writing of HDF5 files that ends in one OSError if the disk is full."""

from __future__ import annotations

import io
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
    learn of it: what follows the failed write is dropped, and the error is raised between two calls of HDF5. HDF5 takes
    no lock.

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
        except (OSError, RuntimeError):  # HDF5 reads back what was dropped
            target.check()
            raise
        target.check()


class _Target(io.FileIO):
    """A file that drops everything after the first write that fails."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failed: OSError | None = None

    def write(self, content: Any, /) -> int:
        view, done = memoryview(content).cast("B"), 0
        while self._failed is None and done < len(view):
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self._failed = error
        return len(view)

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
