"""MedMNIST3D: six public sets of small volumes with the authors' train / val / test split.

Source: Yang et al., MedMNIST v2, Scientific Data 10 (2023) 41, doi 10.1038/s41597-022-01721-8; files, checksums and
class names as in `medmnist/info.py` 3.0.2 of the authors' package (Zenodo record 10519652). Licence: CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from nas.data.io.npz import read_npz
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.errors import NASError
from nas.utils.annotations import OneOf, PathName, Side, Url
from nas.utils.checked import checked
from nas.utils.files import atomic_path

log = logging.getLogger(__name__)

ZENODO = "https://zenodo.org/records/10519652/files/{file}?download=1"
SPLITS = ("train", "val", "test")
TIMEOUT_S = 30.0
MD5 = "wherever the file came from, its md5 is checked"


@dataclass(frozen=True, slots=True)
class MedMNISTSet:
    """One of the six sets.

    Attributes:
        classes: Class names in the order of the labels.
        md5: Checksum of the file by size.
        extent_mm: Side of the cube in mm, NaN if it is not stated.
    """

    classes: tuple[str, ...]
    md5: Mapping[int, str]
    extent_mm: float = math.nan


SETS: Mapping[str, MedMNISTSet] = {
    "organmnist3d": MedMNISTSet(
        (
            "liver",
            "kidney-right",
            "kidney-left",
            "femur-right",
            "femur-left",
            "bladder",
            "heart",
            "lung-right",
            "lung-left",
            "spleen",
            "pancreas",
        ),
        {28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"},
    ),
    "nodulemnist3d": MedMNISTSet(
        ("benign", "malignant"),
        {28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"},
    ),
    "adrenalmnist3d": MedMNISTSet(
        ("normal", "hyperplasia"),
        {28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
        extent_mm=64.0,
    ),
    "fracturemnist3d": MedMNISTSet(
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
        {28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
        extent_mm=64.0,
    ),
    "vesselmnist3d": MedMNISTSet(
        ("vessel", "aneurysm"),
        {28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"},
    ),
    "synapsemnist3d": MedMNISTSet(
        ("inhibitory synapse", "excitatory synapse"),
        {28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"},
        extent_mm=1024e-6,
    ),
}


@checked("data")
class MedMNIST3D(Source):
    """One set, padded with 0 equally on all sides. Every file is checked against the authors' md5.

    Values are uint8 and scaled to [0, 1]. The fold is the authors' "train", "val" or "test". MedMNIST does not name
    patients, so that the group is the sample's own name: the authors state for some sets that they split by patient,
    which other splits cannot do.

    Args:
        root: Folder that holds `<flag>.npz` or `<flag>_64.npz`, itself or in a folder `<flag>`. If None, the cache
            folder.
        cache_dir: Folder of the prepared stores.
        flag: Name of the set, such as "nodulemnist3d".
        size: 28 or 64 voxels per side.
        download: Whether to fetch a missing file into `root`.
        pad_to: Voxels per side after padding. If None, the next multiple of 8.
        url: Address of the file. If None, Zenodo.

    Raises:
        NASError: If an argument is out of range.
    """

    scale = 1 / 255
    separate_volumes = False  # the authors name no patients: each volume is a group of its own
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": MD5,
        "download": MD5,
        "url": MD5,
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        flag: Annotated[str, OneOf(*SETS)] = "adrenalmnist3d",
        size: Annotated[int, OneOf(28, 64)] = 28,
        download: bool = False,
        pad_to: Side | None = None,
        url: Url | None = None,
    ) -> None:
        self.root, self.cache_dir, self.flag, self.size, self.download = root, cache_dir, flag, size, download
        self.pad_to = -(-size // 8) * 8 if pad_to is None else pad_to
        if self.pad_to < size:
            raise NASError(f"data.pad_to={pad_to}", f"at least the size, {size}", f"set data.pad_to to {size} or more")
        self.name, self.classes = f"{flag}_{size}", SETS[flag].classes
        self.file = f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz"
        self.url = ZENODO.format(file=self.file) if url is None else url

    @property
    def md5(self) -> str:
        """The authors' checksum of the file."""
        return SETS[self.flag].md5[self.size]

    def content(self) -> Mapping[str, Any]:
        """Return the md5, so that a store can be used without its source file."""
        return {"md5": self.md5}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": f"MedMNIST, doi 10.5281/zenodo.10519652, CC BY 4.0; {self.file}, md5 {self.md5}"}

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        path = self._file()
        before = (self.pad_to - self.size) // 2
        pad = [(before, self.pad_to - self.size - before)] * 3
        spacing = (SETS[self.flag].extent_mm / self.size,) * 3
        for split in SPLITS:
            volumes, labels = read_npz(path, [f"{split}_images", f"{split}_labels"])
            for number, (volume_DHW, label) in enumerate(zip(volumes, labels.reshape(-1), strict=True)):
                name = f"{split}-{number}"
                yield Sample(name, np.pad(volume_DHW, pad)[None], int(label), name, spacing, fold=split)

    def _file(self) -> Path:
        """Return the checked file, fetched if it is missing and `download` is set."""
        home = Path(self.cache_dir if self.root is None else self.root)
        for path in (home / self.file, home / self.flag / self.file):
            if path.is_file():
                self._check(path, str(path), f"fetch {self.url} again, or correct data.root")
                return path
        if not self.download:
            raise NASError(
                f"no {self.file} in {home}" if self.root else "data.root=null",
                f"the file of {ZENODO.format(file=self.file)}",
                "set data.root to the folder with the file, or data.download to true",
            )
        self._fetch(home / self.file)
        return home / self.file

    def _fetch(self, path: Path) -> None:
        """Download the file atomically, and check it before it gets its name."""
        log.info("fetching %s", self.url)
        try:
            with atomic_path(path) as temporary:
                with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as response, temporary.open("wb") as file:
                    shutil.copyfileobj(response, file)
                self._check(temporary, self.url, "try again, then correct data.url")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NASError(
                f"{self.url}, which cannot be fetched to {path} ({error})",
                f"the file {self.file}",
                "fetch it by hand and set data.root to its folder",
            ) from error

    def _check(self, path: Path, origin: str, fix: str) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if (md5 := digest.hexdigest()) != self.md5:
            raise NASError(f"md5 {md5} of {origin}", f"md5 {self.md5}", fix)
