"""The base class of data sets: a source yields samples once, and from then on its prepared store is read."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.data.copies import without_copies
from nas.data.identity import FileDigests, reader_digest
from nas.data.io.files import named_files
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_damage import DamagedStore
from nas.data.store_writer import write_store
from nas.data.transforms.patches import Patches
from nas.errors import NASError
from nas.utils.annotations import PathName
from nas.utils.files import locked
from nas.utils.identity import StoreIdentity, arguments_of

if TYPE_CHECKING:
    from SimpleITK import Image

PATCH = "patches are drawn when a store is used, not when it is made"
DIGITS = 10  # of the digests in the name of a store
log = logging.getLogger(__name__)


CACHE = "outputs/data"  # folder of the prepared stores, if none is named


class Source(ABC):
    """One data set. As in a search space, every constructor argument is kept as an attribute of its name.

    A prepared store is named after everything that decides its content: class, constructor arguments, the content of
    the source files and the code that reads them. If one of them changes, another store is made.

    Attributes:
        name: Short name, the first part of the store's file name.
        cohort: Name under which patients are known; sources that cut other samples out of the same patients share it.
            If empty, it is `name`.
        classes: Class names in the order of their numbers.
        scale: A network is given the stored value times `scale` plus `offset`.
        offset: See `scale`.
        by_training: Whether values are stored raw, and scaled by statistics of the training set in each training.
        patches: Patches that a training draws from a volume. If None, it is given whole volumes.
        separate_volumes: Whether a volume that two patients have is refused (nas/data/copies.py); False for drawn
            samples, for parts of one volume that count as groups, and for data sets that name no patients.
        cache_dir: Folder of the prepared stores.
        UNIDENTIFYING: Constructor arguments that do not change the content of a store, each with the reason.
    """

    name: str
    cohort: str = ""
    classes: Sequence[str]
    scale: float = 1.0
    offset: float = 0.0
    by_training: bool = False
    patches: Patches | None = None
    separate_volumes: ClassVar[bool] = True
    cache_dir: PathName
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {"cache_dir": "location of the store, not its content"}

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """Read every sample, in a fixed order.

        Yields:
            The samples of the store.

        Raises:
            NASError: If the source is missing or broken.
        """

    def files(self) -> Mapping[str, Path]:
        """List the files whose content decides the samples.

        Returns:
            Name -> file. A name holds the parts of the path that samples use, such as a patient's folder.
        """
        return {}

    def content(self) -> Mapping[str, Any]:
        """Return values that identify the content of the source.

        Returns:
            By default the digests of `files` and of the data files that their headers name.
        """
        files = named_files(self.files().items())
        return dict(zip(files, self.digests.of_all(files.values()), strict=True))

    @cached_property
    def digests(self) -> FileDigests:
        """Digests of source files, remembered in the cache folder."""
        return FileDigests(Path(self.cache_dir) / f"{self.name}-digests.json")

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """Cut a sample out of an image as `samples` does, for a network that was trained on this source.

        Args:
            image: A volume with spacing, origin and direction.
            centre_mm: World point (x, y, z) in mm (LPS) of the sample's middle.
            name: Name of the image for messages.

        Returns:
            Stored values (C, D, H, W).

        Raises:
            NASError: If samples of this source are not cut out of such images (`cuts` is False).
        """
        raise NASError(
            f"{self.name}, whose samples are not cut out of scans around points",
            "luna16, lidc_dicom or a manifest",
            "choose one of these data sets",
        )

    @property
    def cuts(self) -> bool:
        """Whether samples are cut out of scans around points, so that `cut` works."""
        return type(self).cut is not Source.cut

    def provenance(self) -> Mapping[str, Any]:
        """Return the origin and the licence of the data.

        Returns:
            JSON values by name; by default none.
        """
        return {}

    def preparation(self) -> Mapping[str, Any]:
        """Return how a file becomes the input of a network, in a form of nas/data/transforms/preparation.py.

        Returns:
            By default: not from a file, but from an array of stored values.
        """
        return {"how": "array", "scale": self.scale, "offset": self.offset}

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that decide the content of a store.

        Returns:
            All arguments except `UNIDENTIFYING`.
        """
        return {name: value for name, value in arguments_of(self).items() if name not in self.UNIDENTIFYING}

    def store_path(self) -> Path:
        """Return the path of the prepared store, `<name>-<digest of arguments>-<digest of files and code>.h5`.

        Returns:
            A path in `cache_dir`; another one if an argument, a source file or the code that reads it has changed.

        Raises:
            NASError: If the source is missing.
        """
        source = type(self)
        path = f"{source.__module__}.{source.__qualname__}"
        arguments, content = StoreIdentity(path, self.arguments(), self.content(), reader_digest(source)).digests()
        return Path(self.cache_dir) / f"{self.name}-{arguments[:DIGITS]}-{content[:DIGITS]}.h5"

    def prepare(self) -> VolumeStore:
        """Open the prepared store, and make it on the first call; other processes wait for the one that makes it.

        A damaged store is made anew.

        Returns:
            The store, with the patches of this source.

        Raises:
            NASError: If the source is missing or broken, or the cache folder is not writable.
        """
        path = self.store_path()
        if not path.exists():
            self._make(path)
        try:
            store = VolumeStore(path)
        except DamagedStore as error:
            log.warning("%s: it is made anew", error.got)
            self._make(path, damaged=True)
            store = VolumeStore(path)
        store.is_copy = True
        store.preparation = self.preparation()
        self.digests.save()
        if self.patches is not None:
            store.draw_patches(self.patches)
        return store

    def _make(self, path: Path, *, damaged: bool = False) -> None:
        try:
            with locked(path.with_name(f".{path.name}.lock"), remove=True):
                if not path.exists() or (damaged and _is_damaged(path)):  # else another process has made it by now
                    self._write(path)
        except PermissionError as error:
            if error.filename is None or Path(self.cache_dir) not in Path(error.filename).parents:
                raise
            raise NASError(
                f"cache_dir={self.cache_dir}, which cannot be written ({error.strerror})",
                "a folder of your own",
                "data_cache=/folder",
            ) from error

    def _write(self, path: Path) -> None:
        outdated = sorted(path.parent.glob(f"{path.stem.rpartition('-')[0]}-*.h5"))
        reason = f"; the source files or their reader changed since {outdated[-1].name} was made" if outdated else ""
        log.info("preparing %s%s", path, reason)
        write_store(
            path,
            without_copies(self.samples()) if self.separate_volumes else self.samples(),
            name=self.name,
            classes=self.classes,
            scale=self.scale,
            offset=self.offset,
            by_training=self.by_training,
            provenance={
                "arguments": json.loads(json.dumps(self.arguments(), default=str)),
                "cohort": self.cohort or self.name,
                **self.provenance(),
            },
        )


def _is_damaged(path: Path) -> bool:
    try:
        VolumeStore(path)
    except DamagedStore:
        return True
    return False
