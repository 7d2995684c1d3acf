"""A store that was prepared before, by a command or on another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.utils.annotations import PathName
from nas.utils.checked import checked


@checked("data")
class PreparedStore(Source):
    """The store of a file; nothing is written into the cache.

    Args:
        path: The file (.h5).
        cache_dir: Not used; every data set has it.
    """

    name = "prepared"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "path": "the store has a content hash of its own, and no other store is made of it",
    }

    def __init__(self, path: PathName | None, cache_dir: PathName = CACHE) -> None:
        self.path, self.cache_dir = path, cache_dir

    def prepare(self) -> VolumeStore:
        """Open the file.

        Returns:
            The store.

        Raises:
            NASError: If no path is set, or the file is missing or damaged.
        """
        if self.path is None:
            raise NASError("data.path=null", "a VoxNAS volume store", "set data.path to /path/to/store.h5")
        store = VolumeStore(Path(self.path))
        store.preparation = _preparation(store)
        return store

    def preparation(self) -> Mapping[str, Any]:
        """Scale and offset of the store and, of CT slices, their windows and size."""
        return self.prepare().preparation

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        store = self.prepare()
        return map(store.sample, range(len(store)))


def _preparation(store: VolumeStore) -> dict[str, Any]:
    made = store.provenance.get("arguments", {})
    here = {name: made[name] for name in ("windows", "size") if store.dims == 2 and "windows" in made}
    return {**store.preparation, **here}
