"""One HDF5 form for every data set: volumes chunked by sample, labels, patients, spacing, provenance, content hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.errors import NASError

FORMAT = 1
DAMAGE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)  # what h5py raises for a broken file


@dataclass(frozen=True, slots=True)
class Sample:
    """One volume on its way into a store.

    volume_CDHW: uint8, int16 or float32; every sample of a store has the same shape and type.
    group: the patient; no split ever puts one group on both sides.
    spacing_mm: (D, H, W) voxel size, NaN where unknown. size_mm3: volume of the object, NaN where unknown.
    fold: the split given by the data set's authors ("train", "val", "test", or "0".."9"), "" where there is none.
    """

    name: str
    volume_CDHW: np.ndarray
    label: int
    group: str
    spacing_mm: tuple[float, float, float] = (float("nan"),) * 3
    size_mm3: float = float("nan")
    fold: str = ""


class VolumeStore:
    """Reads one store. Metadata is in memory; volumes are read by index, nothing else is opened.

    Attributes: path, name, sha256 (content hash), shape (C, D, H, W), dtype (as stored), scale and offset (a network
    sees the stored value times `scale` plus `offset`), classes (names), labels (N,) int64, groups (N,) str, folds (N,)
    str, names (N,) str, spacing_mm (N, 3), size_mm3 (N,), provenance (dict).
    A file that is no store, is cut short or is damaged is a NASError, on opening or when the damaged row is read
    (each volume carries a checksum).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise NASError(
                f"no file {self.path}", "a VoxNAS volume store (.h5)", "prepare the data set, or mend the path"
            )
        try:
            with h5py.File(self.path, "r") as file:
                self._read_metadata(file)
        except DAMAGE as error:
            raise self._damaged(str(error)) from error

    def _read_metadata(self, file: h5py.File) -> None:
        if file.attrs["format"] != FORMAT:
            raise NASError(f"store format {file.attrs['format']} in {self.path}", f"format {FORMAT}", "delete the file")
        self.name, self.sha256 = str(file.attrs["name"]), str(file.attrs["sha256"])
        self.shape = tuple(int(n) for n in file["volumes"].shape[1:])
        self.dtype = file["volumes"].dtype
        self.scale, self.offset = float(file.attrs["scale"]), float(file.attrs["offset"])
        self.classes = tuple(json.loads(file.attrs["classes"]))
        self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
        self.labels = file["labels"][:].astype(np.int64)
        self.groups, self.folds, self.names = (file[key].asstr()[:].astype(str) for key in ("groups", "folds", "names"))
        self.spacing_mm, self.size_mm3 = file["spacing_mm"][:], file["size_mm3"][:]
        lengths = {len(file["volumes"]), *map(len, (self.labels, self.groups, self.folds, self.names, self.spacing_mm))}
        if len(lengths | {len(self.size_mm3)}) > 1:
            raise ValueError("columns of different lengths")

    def _damaged(self, reason: str) -> NASError:
        return NASError(
            f"{self.path}, which cannot be read as a volume store ({reason})",
            "a complete store, as `prepare` writes it",
            "delete the file: it is made anew from its source",
        )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(B, C, D, H, W) stored values of the named samples, in the order asked for; only those chunks are read.

        Raises IndexError for a row that is not there, NASError for a damaged one.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"rows {indices.min()} to {indices.max()} of a store of {len(self)}")
        out = np.empty((len(indices), *self.shape), dtype=self.dtype)
        try:
            with h5py.File(self.path, "r") as file:
                # h5py's low-level calls: parsing a selection costs as much as reading a small volume
                volumes = file["volumes"].id
                chosen, volume = volumes.get_space(), h5py.h5s.create_simple(self.shape)
                for row, index in enumerate(indices):
                    chosen.select_hyperslab((int(index), *[0] * len(self.shape)), (1, *self.shape))
                    volumes.read(volume, chosen, out[row])
        except OSError as error:
            raise self._damaged(str(error)) from error
        return out

    def verify(self) -> None:
        """Reads everything and computes the content hash again. Raises NASError where it is another."""
        digest = _digest(self.name, self.classes, self.scale, self.offset)
        for row in range(len(self)):
            sample = Sample(
                name=self.names[row],
                volume_CDHW=self.read([row])[0],
                label=int(self.labels[row]),
                group=self.groups[row],
                spacing_mm=tuple(self.spacing_mm[row]),
                size_mm3=self.size_mm3[row],
                fold=self.folds[row],
            )
            _add(digest, sample, sample.volume_CDHW)
        if digest.hexdigest() != self.sha256:
            raise self._damaged(f"its content has the hash {digest.hexdigest()[:12]}, written was {self.sha256[:12]}")


def write_store(
    path: str | Path,
    samples: Iterable[Sample],
    *,
    name: str,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    scale: float = 1.0,
    offset: float = 0.0,
) -> VolumeStore:
    """Writes a store through a temporary file and a rename: a reader sees all of it or none.

    Raises NASError for no samples, a volume of another shape or type than the first, NaN or infinite values, a label
    without a class. Whatever ends the writing, no half file is left and an older store stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            _write(file, samples, name=name, classes=classes, provenance=provenance, scale=scale, offset=offset)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return VolumeStore(path)


def _write(
    file: h5py.File,
    samples: Iterable[Sample],
    *,
    name: str,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    scale: float,
    offset: float,
) -> None:
    digest = _digest(name, classes, scale, offset)
    rows: list[Sample] = []
    volumes = None
    for sample in samples:
        volume = np.ascontiguousarray(sample.volume_CDHW)
        if volumes is None:
            volumes = file.create_dataset(
                "volumes",
                shape=(0, *volume.shape),
                maxshape=(None, *volume.shape),
                chunks=(1, *volume.shape),
                dtype=volume.dtype,
                compression="lzf",
                shuffle=volume.dtype.itemsize > 1,
                fletcher32=True,
            )
        if volume.shape != volumes.shape[1:] or volume.dtype != volumes.dtype:
            raise NASError(
                f"{sample.name} of shape {volume.shape} and type {volume.dtype}",
                f"shape {volumes.shape[1:]} and type {volumes.dtype} as in the first sample",
                "crop or resample every volume to one shape",
            )
        if not np.isfinite(volume).all():
            raise NASError(f"NaN or infinite values in {sample.name}", "finite voxels", "mend or leave out the volume")
        if not 0 <= sample.label < len(classes):
            raise NASError(f"label {sample.label} of {sample.name}", f"0 to {len(classes) - 1}", "mend the labels")
        volumes.resize(len(rows) + 1, axis=0)
        volumes[len(rows)] = volume
        _add(digest, sample, volume)
        rows.append(sample)
    if not rows:
        raise NASError(f"no samples for {name}", "at least one volume", "check the source's path and its filters")
    text = h5py.string_dtype()
    file["labels"] = np.array([row.label for row in rows], dtype=np.int64)
    file.create_dataset("groups", data=[row.group for row in rows], dtype=text)
    file.create_dataset("folds", data=[row.fold for row in rows], dtype=text)
    file.create_dataset("names", data=[row.name for row in rows], dtype=text)
    file["spacing_mm"] = np.array([row.spacing_mm for row in rows], dtype=np.float64)
    file["size_mm3"] = np.array([row.size_mm3 for row in rows], dtype=np.float64)
    file.attrs.update(
        format=FORMAT,
        name=name,
        sha256=digest.hexdigest(),
        scale=scale,
        offset=offset,
        classes=json.dumps(list(classes)),
        provenance=json.dumps(dict(provenance)),
    )


def _digest(name: str, classes: Sequence[str], scale: float, offset: float) -> hashlib._Hash:
    return hashlib.sha256(json.dumps([str(name), list(classes), float(scale), float(offset)]).encode())


def _add(digest: hashlib._Hash, sample: Sample, volume: np.ndarray) -> None:
    """Adds one sample; plain types first, as NumPy's own print differently."""
    numbers = (*map(float, sample.spacing_mm), float(sample.size_mm3))
    digest.update(repr((volume.shape, volume.dtype.str)).encode() + np.ascontiguousarray(volume).tobytes())
    digest.update(repr((str(sample.name), int(sample.label), str(sample.group), numbers, str(sample.fold))).encode())
