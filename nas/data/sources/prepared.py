"""A store that was prepared before, by a command or on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.utils.checked import PathName, checked


@checked("data")
class PreparedStore(Source):
    """path: the file (.h5). It is read where it lies; nothing is written into the cache."""

    name = "prepared"

    def __init__(self, path: PathName | None, cache_dir: PathName) -> None:
        self.path, self.cache_dir = path, cache_dir

    def prepare(self) -> VolumeStore:
        if self.path is None:
            raise NASError("no prepared store", "a VoxNAS volume store (.h5)", "data.path=/path/to/store.h5")
        return VolumeStore(Path(self.path))

    def samples(self) -> Iterator[Sample]:
        store = self.prepare()
        return map(store.sample, range(len(store)))
