"""MedMNIST3D: six public sets of small volumes with the authors' train / val / test split.

Source: Yang et al., MedMNIST v2, Scientific Data 10 (2023) 41, doi 10.1038/s41597-022-01721-8; files, checksums and
class names as in `medmnist/info.py` 3.0.2 of the authors' package (Zenodo record 10519652). Licence: CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import math
import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Len

from nas.data.io.npz import read_npz
from nas.data.sample import Sample
from nas.data.source import Source
from nas.errors import NASError
from nas.utils.checked import OneOf, PathName, Side, checked

log = logging.getLogger(__name__)

ZENODO = "https://zenodo.org/records/10519652/files/{file}?download=1"
PARTS = ("train", "val", "test")
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class MedMNISTSet:
    """classes: in the order of the labels. md5: by size. extent_mm: edge of the cube, NaN where it is not stated."""

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
    """One set, `size` 28 or 64, zero-padded on all sides to `pad_to` voxels (None: the next multiple of 8).

    root: folder that holds `<flag>.npz` or `<flag>_64.npz`, itself or in a folder `<flag>`. Where the file is not
    there, `download` fetches it into `root` (None: into the cache folder) from `url` (None: Zenodo). Every file is
    checked against the authors' md5.
    Values: uint8, seen as 0 to 1. fold: the authors' "train", "val" or "test". MedMNIST tells no patients, so that
    group is the sample's own name: the authors split by patient where they say so, a split of one's own cannot.
    """

    scale = 1 / 255

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName,
        flag: Annotated[str, OneOf(*SETS)] = "adrenalmnist3d",
        size: Annotated[int, OneOf(28, 64)] = 28,
        download: bool = False,
        pad_to: Side | None = None,
        url: Annotated[str, Len(1)] | None = None,
    ) -> None:
        self.root, self.cache_dir, self.flag, self.size, self.download = root, cache_dir, flag, size, download
        self.pad_to = -(-size // 8) * 8 if pad_to is None else pad_to
        if self.pad_to < size:
            raise NASError(f"data.pad_to={pad_to}", f"at least the size, {size}", f"set data.pad_to to {size} or more")
        self.name, self.classes = f"{flag}_{size}", SETS[flag].classes
        self.file = f"{flag}.npz" if size == 28 else f"{flag}_{size}.npz"
        self.url = ZENODO.format(file=self.file) if url is None else url

    def arguments(self) -> dict[str, Any]:
        """What decides the content: a store is found again wherever its file came from."""
        return {"flag": self.flag, "size": self.size, "pad_to": self.pad_to}

    def content_key(self) -> str:
        return SETS[self.flag].md5[self.size]

    def provenance(self) -> Mapping[str, Any]:
        return {"source": f"MedMNIST, doi 10.5281/zenodo.10519652, CC BY 4.0; {self.file}, md5 {self.content_key()}"}

    def samples(self) -> Iterator[Sample]:
        path = self._file()
        before = (self.pad_to - self.size) // 2
        pad = [(before, self.pad_to - self.size - before)] * 3
        spacing = (SETS[self.flag].extent_mm / self.size,) * 3
        for part in PARTS:
            volumes, labels = read_npz(path, [f"{part}_images", f"{part}_labels"])
            for number, (volume_DHW, label) in enumerate(zip(volumes, labels.reshape(-1), strict=True)):
                name = f"{part}-{number}"
                yield Sample(name, np.pad(volume_DHW, pad)[None], int(label), name, spacing, fold=part)

    def _file(self) -> Path:
        """The checked file, fetched where that is wanted."""
        home = Path(self.cache_dir if self.root is None else self.root)
        for path in (home / self.file, home / self.flag / self.file):
            if path.is_file():
                self._check(path, str(path), f"fetch {self.url} again, or mend data.root")
                return path
        if not self.download:
            raise NASError(
                f"no {self.file} in {home}" if self.root else f"no folder with {self.file}",
                f"the file of {ZENODO.format(file=self.file)}",
                "data.root=/folder/with/the/file, or data.download=true",
            )
        self._fetch(home / self.file)
        return home / self.file

    def _fetch(self, path: Path) -> None:
        """Downloads beside the target, checks, renames: nobody ever sees a part of the file under its name."""
        log.info("fetching %s", self.url)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as response, temporary.open("wb") as file:
                shutil.copyfileobj(response, file)
            self._check(temporary, self.url, "try again; if it stays so, mend data.url")
            os.replace(temporary, path)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NASError(
                f"{self.url}, which cannot be fetched to {path} ({error})",
                f"the file {self.file}",
                "fetch it by hand and give its folder: data.root=/folder",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _check(self, path: Path, origin: str, fix: str) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if (md5 := digest.hexdigest()) != self.content_key():
            raise NASError(f"md5 {md5} of {origin}", f"md5 {self.content_key()}", fix)
