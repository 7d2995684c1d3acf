"""Writing of a volume store: samples are checked one by one, and a reader sees the whole file or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.data.sample import Sample, add_to, checked_boxes, checked_mask, content_digest, new_digest
from nas.data.store import FORMAT, SUBGROUPS, VolumeStore
from nas.data.store_damage import seal
from nas.data.transforms.patches import locate
from nas.errors import NASError
from nas.utils.files import atomic_path
from nas.utils.hdf5 import new_hdf5

BLOCK = 64  # voxels per side of a chunk of padded volumes, from which patches are read


def write_store(
    path: str | Path,
    samples: Iterable[Sample],
    *,
    name: str,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    scale: float = 1.0,
    offset: float = 0.0,
    by_training: bool = False,
) -> VolumeStore:
    """Write a store atomically. If writing fails, no file is left, and an older store stays unchanged.

    Args:
        path: The file (.h5). Missing folders are made.
        samples: At least one sample, read one at a time.
        name: Name of the data set.
        classes: Class names in the order of their numbers.
        provenance: Facts of JSON values, such as source and licence. "unit" is the name of a group, "cohort" the set of
            patients that the groups belong to.
        scale: A network is given the stored value times `scale` plus `offset`.
        offset: See `scale`.
        by_training: Whether values are scaled by statistics of the training set; for padded volumes with masks only.

    Returns:
        The store, opened.

    Raises:
        NASError: If there are no samples, if a volume has another shape or type than the first, or NaN or infinite
            values, if a label has no class, if a mask or box does not fit its volume or has no class, and if only some
            samples have masks or boxes.
    """
    # without a lock: no other process knows the temporary name, and some file systems have no locks
    with atomic_path(path) as temporary:
        with new_hdf5(temporary) as (file, check):
            _write(file, _checked(samples, check), name, classes, provenance, scale, offset, by_training)
        seal(temporary)
    return VolumeStore(path)


def _checked(samples: Iterable[Sample], check: Callable[[], None]) -> Iterator[Sample]:
    """Yield samples; `check` is called after each."""
    for sample in samples:
        yield sample
        check()


def _write(
    file: h5py.File,
    samples: Iterable[Sample],
    name: str,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    scale: float,
    offset: float,
    by_training: bool,
) -> None:
    sha256 = new_digest(name, classes, scale, offset, by_training)
    rows = _Rows(file, len(classes))
    for sample in samples:
        add_to(sha256, sample, rows.add(sample))
    rows.finish(name)
    file.attrs.update(
        format=FORMAT,
        name=name,
        sha256=sha256.hexdigest(),
        scale=scale,
        offset=offset,
        classes=json.dumps(list(classes)),
        provenance=json.dumps(dict(provenance)),
    )
    if by_training:
        file.attrs["by_training"] = True


class _Rows:
    """The rows of a store that is being written: volumes and masks go to the file at once, the rest at the end."""

    def __init__(self, file: h5py.File, classes: int) -> None:
        self._file, self._classes = file, classes
        self._volumes: h5py.Dataset | None = None
        self._masks: h5py.Dataset | None = None
        self._columns: dict[str, list[Any]] = {
            key: [] for key in ("names", "groups", "folds", "contents", "images", "labels", "spacing_mm", "size_mm3")
        }
        self._boxes: list[np.ndarray] = []
        self._voxels: list[np.ndarray] = []
        self._extents: list[tuple[int, int, int]] = []
        self._located: list[np.ndarray] = []
        self._values: list[np.ndarray] = []
        self._numbers: list[float] = []
        self._subgroups: list[dict[str, str]] = []

    def __len__(self) -> int:
        return len(self._columns["names"])

    def add(self, sample: Sample) -> np.ndarray:
        """Check and write one sample; returns its volume (C, D, H, W)."""
        volume = np.ascontiguousarray(sample.volume_CDHW)
        if self._volumes is None:
            self._begin(sample, volume)
        self._check(sample, volume)
        _append(self._volumes, volume)
        if sample.boxes_M7 is not None:
            self._boxes.append(checked_boxes(sample, self._classes))
        if sample.value is not None:
            self._numbers.append(sample.value)
        if self._masks is not None:
            self._add_mask(sample, volume)
        self._subgroups.append({name: str(value) for name, value in sample.subgroups.items()})
        row = (
            sample.name,
            sample.group,
            sample.fold,
            sample.content or content_digest(sample),
            sample.image,
            sample.label,
            sample.spacing_mm,
            sample.size_mm3,
        )
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        return volume

    def _begin(self, first: Sample, volume: np.ndarray) -> None:
        block = None if first.extent_DHW is None else BLOCK
        self._volumes = _growing(self._file, "volumes", volume, block)
        if first.mask_DHW is not None:
            self._masks = _growing(self._file, "masks", np.empty(volume.shape[1:], dtype=np.uint8), block)

    def _check(self, sample: Sample, volume: np.ndarray) -> None:
        assert self._volumes is not None
        shape, dtype = self._volumes.shape[1:], self._volumes.dtype
        if volume.shape != shape or volume.dtype != dtype:
            raise NASError(
                f"{sample.name} of shape {volume.shape} and type {volume.dtype}",
                f"shape {shape} and type {dtype} as in the first sample",
                "crop or resample every volume to one shape",
            )
        if not np.isfinite(volume).all():
            raise NASError(f"NaN or infinite values in {sample.name}", "finite voxels", "repair or remove the volume")
        if not 0 <= sample.label < self._classes:
            raise NASError(f"label {sample.label} of {sample.name}", f"0 to {self._classes - 1}", "correct the labels")
        if sample.value is not None and not np.isfinite(sample.value):
            raise NASError(f"value {sample.value} of {sample.name}", "a finite number", "correct the source")
        has = {"a mask": sample.mask_DHW is not None, "boxes": sample.boxes_M7 is not None}
        has["a value"] = sample.value is not None
        wanted = {"a mask": self._masks is not None, "boxes": len(self._boxes) > 0 if len(self) else has["boxes"]}
        wanted["a value"] = len(self._numbers) > 0 if len(self) else has["a value"]
        if self._subgroups and set(sample.subgroups) != set(self._subgroups[0]):
            raise NASError(
                f"{sample.name} with the subgroups {', '.join(sample.subgroups) or 'none'}",
                f"{', '.join(self._subgroups[0]) or 'none'}, as the first sample",
                "correct the source",
            )
        for what, expected in wanted.items():
            if has[what] != expected:
                raise NASError(
                    f"{sample.name} {'with' if has[what] else 'without'} {what}",
                    f"{what} for all samples or none",
                    "correct the source",
                )

    def _add_mask(self, sample: Sample, volume: np.ndarray) -> None:
        mask = checked_mask(sample, self._classes)
        _append(self._masks, mask)
        self._voxels.append(np.bincount(mask.ravel(), minlength=self._classes))
        if sample.extent_DHW is not None:
            located_KM = locate(mask, sample.extent_DHW, self._classes)
            values_CKM = volume.reshape(len(volume), -1)[:, located_KM].astype(np.float32)
            self._extents.append(sample.extent_DHW)
            self._located.append(located_KM)
            self._values.append(np.where(located_KM < 0, np.float32(np.nan), values_CKM))

    def finish(self, name: str) -> None:
        """Write the columns; raises NASError if there are no rows."""
        if not len(self):
            raise NASError(f"no samples for {name}", "at least one volume", "check the source's path and its filters")
        file, columns = self._file, self._columns
        if self._voxels:
            file["voxels"] = np.array(self._voxels, dtype=np.int64)
        if self._boxes:
            file["boxes"] = _padded(self._boxes)
        if self._numbers:
            file["numbers"] = np.array(self._numbers, dtype=np.float32)
        if self._located:
            file["extents"] = np.array(self._extents, dtype=np.int64)
            file["located"] = np.array(self._located)
            values = np.array(self._values)
            file.create_dataset("values", data=values, chunks=(1, *values.shape[1:]), fletcher32=True)
        for key in ("names", "groups", "folds", "contents", "images"):
            file.create_dataset(key, data=columns[key], dtype=h5py.string_dtype())
        if names := list(self._subgroups[0]):
            texts = [[of_sample[name] for name in names] for of_sample in self._subgroups]
            file.create_dataset(SUBGROUPS, data=texts, dtype=h5py.string_dtype()).attrs["names"] = json.dumps(names)
        file["labels"] = np.array(columns["labels"], dtype=np.int64)
        for key in ("spacing_mm", "size_mm3"):
            file[key] = np.array(columns[key], dtype=np.float64)


def _padded(boxes: Sequence[np.ndarray]) -> np.ndarray:
    """Stack (M_i, 7) boxes to (N, M, 7), filled up with class -1."""
    padded_NM7 = np.zeros((len(boxes), max(1, *map(len, boxes)), 7), dtype=np.float32)
    padded_NM7[..., -1] = -1
    for row_M7, boxes_M7 in zip(padded_NM7, boxes, strict=True):
        row_M7[: len(boxes_M7)] = boxes_M7
    return padded_NM7


def _append(dataset: h5py.Dataset | None, row: np.ndarray) -> None:
    assert dataset is not None
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[-1] = row


def _growing(file: h5py.File, name: str, first: np.ndarray, block: int | None = None) -> h5py.Dataset:
    """Make a dataset of rows like `first`, in chunks with checksums: whole rows, or at most `block` voxels per side."""
    chunk = first.shape if block is None else tuple(min(side, block) for side in first.shape)
    return file.create_dataset(
        name,
        shape=(0, *first.shape),
        maxshape=(None, *first.shape),
        chunks=(1, *chunk),
        dtype=first.dtype,
        compression="lzf",
        shuffle=first.dtype.itemsize > 1,
        fletcher32=True,
    )
