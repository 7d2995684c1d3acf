"""A source of volumes: it yields samples once, and from then on the store in the cache is read."""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.data.store import Sample, VolumeStore, write_store


class Source(ABC):
    """One data set. As with a search space, every constructor argument is kept as an attribute of its name.

    cache_dir: folder of the prepared stores. A store's file name carries a hash of the arguments and of
    `content_key()`, so that another grid or a changed source never meets an old store.
    """

    name: str
    classes: Sequence[str]
    scale: float = 1.0
    offset: float = 0.0
    by_training: bool = False  # values are stored raw, and scaled by statistics of the training part
    cache_dir: str

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """Every sample, in a fixed order. Raises NASError for a missing or broken source."""

    def content_key(self) -> str:
        """What identifies the content cheaply (a version, file sizes and dates); "" where arguments say all."""
        return ""

    def provenance(self) -> Mapping[str, Any]:
        """Where the data come from and under which licence."""
        return {}

    def preparation(self) -> Mapping[str, Any]:
        """How a file becomes what a network sees, in a form of nas/data/preparation.py, for the card of an exported
        network; by default: not from a file, but from arrays of stored values."""
        return {"how": "array", "scale": self.scale, "offset": self.offset}

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, less the cache folder."""
        names = inspect.signature(type(self).__init__).parameters
        return {key: getattr(self, key) for key in names if key not in ("self", "cache_dir")}

    def store_path(self) -> Path:
        key = json.dumps([type(self).__name__, self.arguments(), self.content_key()], sort_keys=True, default=str)
        return Path(self.cache_dir) / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}.h5"

    def prepare(self) -> VolumeStore:
        """The store, made on the first call. A store cut short by a full disk or edited by hand is a NASError."""
        path = self.store_path()
        if path.exists():
            return VolumeStore(path)
        return write_store(
            path,
            self.samples(),
            name=self.name,
            classes=self.classes,
            scale=self.scale,
            offset=self.offset,
            by_training=self.by_training,
            provenance={**self.provenance(), "arguments": json.loads(json.dumps(self.arguments(), default=str))},
        )
