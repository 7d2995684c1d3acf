"""Writing of HDF5 files that ends in one OSError if the disk is full."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Write an HDF5 file.

    After a failed write HDF5 cannot close its own file: it prints errors, and the process may crash. Here the failed
    write is reported once, and the following ones, with which HDF5 closes the file, are dropped. HDF5 takes no lock.

    Args:
        path: The file, replaced if it exists.

    Yields:
        The file.

    Raises:
        OSError: If the file cannot be written.
    """
    import h5py

    with _Target(path) as target, h5py.File(target, "w") as file:
        yield file
    if target.failed is not None:
        raise target.failed


class _Target(io.FileIO):
    """A file that drops everything after the first write that fails."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failed: OSError | None = None

    def write(self, content: Any, /) -> int:
        view, done = memoryview(content).cast("B"), 0
        while self.failed is None and done < len(view):
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self._fail(error)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        if self.failed is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self._fail(error)
        return self.tell() if size is None else size

    def _fail(self, error: OSError) -> None:
        self.failed = OSError(error.errno, error.strerror, str(self.name))
        raise self.failed
