"""A store that was prepared before, by a command or on another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.store import VolumeStore
from nas.errors import NASError


class PreparedStore(Source):
    """path: the file (.h5). It is read where it lies; nothing is written into the cache."""

    name = "prepared"

    def __init__(self, path: str | None, cache_dir: str) -> None:
        self.path, self.cache_dir = path, cache_dir

    def prepare(self) -> VolumeStore:
        if self.path is None:
            raise NASError("no prepared store", "a VoxNAS volume store (.h5)", "data.path=/path/to/store.h5")
        return VolumeStore(Path(self.path))

    def preparation(self) -> Mapping[str, Any]:
        """Scale and offset of the store and, of CT slices, their windows and size."""
        store = self.prepare()
        made = store.provenance.get("arguments", {})
        here = {name: made[name] for name in ("windows", "size") if store.dims == 2 and "windows" in made}
        return {"how": "array", "scale": store.scale, "offset": store.offset, **here}

    def samples(self) -> Iterator[Sample]:
        store = self.prepare()
        return map(store.sample, range(len(store)))
