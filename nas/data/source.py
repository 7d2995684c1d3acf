"""A source of volumes: it yields samples once, and from then on the store in the cache is read."""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.sample import Sample
from nas.data.store import VolumeStore, write_store
from nas.data.transforms.patches import Patches
from nas.errors import NASError
from nas.utils.checked import PathName

if TYPE_CHECKING:
    from SimpleITK import Image


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
    patches: Patches | None = None  # what a training sees of a volume; None: all of it
    cache_dir: PathName

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """Every sample, in a fixed order. Raises NASError for a missing or broken source."""

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """(C, D, H, W) stored values around a world point (LPS mm) of an image, exactly as `samples` cuts them: what a
        network that was trained on this source expects of a new scan. name: the image's, for messages.

        Raises NASError for a source whose samples are not cut out of such images (`cuts` is False).
        """
        raise NASError(
            f"{self.name}, whose samples are not cut out of scans around points",
            "luna16, lidc_dicom or a manifest",
            "choose such data",
        )

    @property
    def cuts(self) -> bool:
        """Whether samples are cut out of scans around points, and `cut` therefore works."""
        return type(self).cut is not Source.cut

    def content_key(self) -> str:
        """What identifies the content cheaply (a version, file sizes and dates); "" where arguments say all."""
        return ""

    def provenance(self) -> Mapping[str, Any]:
        """Where the data come from and under which licence."""
        return {}

    def preparation(self) -> Mapping[str, Any]:
        """How a file becomes what a network sees, in a form of nas/data/transforms/preparation.py, for the card of an
        exported network; by default: not from a file, but from arrays of stored values."""
        return {"how": "array", "scale": self.scale, "offset": self.offset}

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, less the cache folder and what is decided when a store is used, not made."""
        names = inspect.signature(type(self).__init__).parameters
        unsaid = ("self", "cache_dir", "patch", "patches_per_volume")
        return {key: getattr(self, key) for key in names if key not in unsaid}

    def store_path(self) -> Path:
        key = json.dumps([type(self).__name__, self.arguments(), self.content_key()], sort_keys=True, default=str)
        return Path(self.cache_dir) / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}.h5"

    def prepare(self) -> VolumeStore:
        """The store, made on the first call. A store cut short by a full disk or edited by hand is a NASError."""
        path = self.store_path()
        store = VolumeStore(path) if path.exists() else self._written(path)
        if self.patches is not None:
            store.draw_patches(self.patches)
        return store

    def _written(self, path: Path) -> VolumeStore:
        return write_store(
            path,
            self.samples(),
            name=self.name,
            classes=self.classes,
            scale=self.scale,
            offset=self.offset,
            by_training=self.by_training,
            provenance={"arguments": json.loads(json.dumps(self.arguments(), default=str)), **self.provenance()},
        )
