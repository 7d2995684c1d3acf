"""One HDF5 form for every data set: volumes chunked by sample, labels or masks, patients, spacing, content hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.data.sample import Sample, add_to, checked_boxes, checked_mask, new_digest
from nas.data.transforms.intensity import Intensity
from nas.data.transforms.patches import Patches, locate
from nas.errors import NASError

FORMAT = 1
BLOCK = 64  # voxels a side of a chunk of padded volumes, of which patches are read
DAMAGE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)  # what h5py raises for a broken file


class VolumeStore:
    """Reads one store. Metadata is in memory; volumes are read by index, nothing else is opened.

    Attributes: path, name, sha256 (content hash), kind ("classification", "segmentation" where the samples have masks,
    "detection" where they have boxes, "regression" where they have a real number each), shape (C, D, H, W), dtype (as
    stored), scale and offset (a network sees the stored value times `scale` plus `offset`), classes (names), labels
    (N,) int64, groups (N,) str, folds (N,) str, names (N,) str, spacing_mm (N, 3), size_mm3 (N,), voxels_NK (with
    masks: the voxels of each class in each sample), boxes_NM7 (with boxes: as in Sample, class -1 where a sample has
    fewer than M), numbers_N (of a regression, float32), unit (what a group is, "patient" unless the source says
    otherwise), provenance (dict). Of padded volumes: extents_N3 (their real voxels), located_NKM (flat positions of
    voxels of each class, see nas/data/transforms/patches.py), else None; patches (how they are drawn in training,
    None: whole), which `draw_patches` sets; by_training: values are still to be scaled by statistics of the training
    part (`intensity`).
    Where D is 1 the samples are slices, of `sample_shape` (C, H, W), and `dims` is 2.
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
        kinds = {"masks": "segmentation", "boxes": "detection", "numbers": "regression"}
        self.kind = next((kind for key, kind in kinds.items() if key in file), "classification")
        self.numbers_N = file["numbers"][:] if "numbers" in file else None
        self.voxels_NK = file["voxels"][:] if "masks" in file else None
        self.boxes_NM7 = file["boxes"][:] if "boxes" in file else None
        self.extents_N3, self.located_NKM = (file[key][:] if key in file else None for key in ("extents", "located"))
        self.by_training = bool(file.attrs.get("by_training", False))
        self.patches: Patches | None = None
        self.unit = str(self.provenance.get("unit", "patient"))
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

    @property
    def dims(self) -> int:
        return 2 if self.shape[1] == 1 else 3

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """A whole sample: (C, D, H, W), of slices (C, H, W)."""
        return self.shape if self.dims == 3 else (self.shape[0], *self.shape[2:])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """What a network is given at once in training: a patch, where patches are drawn, else a whole sample."""
        return self.sample_shape if self.patches is None else (self.shape[0], *self.patches.size_DHW)

    def draw_patches(self, patches: Patches) -> None:
        """From now on a training sees patches. Raises NASError where they are larger than the volumes."""
        if any(side > whole for side, whole in zip(patches.size_DHW, self.shape[1:], strict=True)):
            raise NASError(
                f"patches of {list(patches.size_DHW)} voxels from volumes of {list(self.shape[1:])}",
                "no side larger than the volumes' (D, H, W)",
                "a smaller data.patch",
            )
        self.patches = patches

    def intensity(self, rows: Sequence[int] | np.ndarray) -> Intensity:
        """Statistics of the foreground of these samples; those of no other are read."""
        chosen = np.unique(self._rows(rows))
        try:
            with h5py.File(self.path, "r") as file:
                return Intensity.of_foreground(file["values"][chosen])
        except DAMAGE as error:
            raise self._damaged(str(error)) from error

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(B, C, D, H, W) stored values of the named samples, in the order asked for; only those chunks are read.

        Raises IndexError for a row that is not there, NASError for a damaged one.
        """
        return self._read("volumes", indices, self.shape, self.dtype)

    def targets(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """What a network is to say of the named samples: labels (B,) int64, masks (B, D, H, W) uint8, of slices
        (B, H, W), boxes (B, M, 7) float32, of slices (B, M, 5), or real numbers (B,) float32. Raises as `read` does."""
        if self.numbers_N is not None:
            return self.numbers_N[self._rows(indices)]
        if self.kind == "classification":
            return self.labels[self._rows(indices)]
        if self.boxes_NM7 is not None:
            boxes_BM7 = self.boxes_NM7[self._rows(indices)]
            return boxes_BM7 if self.dims == 3 else boxes_BM7[..., [1, 2, 4, 5, 6]]
        return self._masks(indices).reshape(-1, *self.sample_shape[1:])

    def read_patches(
        self, indices: Sequence[int] | np.ndarray, corners_B3: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stored values (B, C, D, H, W) and masks (B, D, H, W) of a patch of each named sample.

        corners_B3: the patches' first voxels. Only the chunks that hold them are read. Raises as `read` does.
        """
        assert self.patches is not None
        size = self.patches.size_DHW
        volumes = self._read(
            "volumes", indices, (self.shape[0], *size), self.dtype, np.pad(corners_B3, ((0, 0), (1, 0)))
        )
        return volumes, self._read("masks", indices, size, np.dtype(np.uint8), corners_B3)

    def voxel_mm(self, indices: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Voxel sizes of the named samples, (B, 3), of slices (B, 2); None where one of them is unknown."""
        spacing_mm = self.spacing_mm[self._rows(indices), -self.dims :]
        return spacing_mm if np.isfinite(spacing_mm).all() else None

    def _masks(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._read("masks", indices, self.shape[1:], np.dtype(np.uint8))

    def _rows(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(indices, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of a store of {len(self)}")
        return rows

    def _read(
        self,
        name: str,
        indices: Sequence[int] | np.ndarray,
        shape: tuple[int, ...],
        dtype: np.dtype,
        corners: np.ndarray | None = None,
    ) -> np.ndarray:
        rows = self._rows(indices)
        starts = np.zeros((len(rows), len(shape)), dtype=int) if corners is None else corners
        out = np.empty((len(rows), *shape), dtype=dtype)
        try:
            with h5py.File(self.path, "r") as file:
                # h5py's low-level calls: parsing a selection costs as much as reading a small volume
                dataset = file[name].id
                chosen, one = dataset.get_space(), h5py.h5s.create_simple(shape)
                for place, row in enumerate(rows):
                    chosen.select_hyperslab((int(row), *map(int, starts[place])), (1, *shape))
                    dataset.read(one, chosen, out[place])
        except OSError as error:
            raise self._damaged(str(error)) from error
        return out

    def sample(self, row: int) -> Sample:
        """One row as it was written. Raises as `read` does."""
        return Sample(
            name=str(self.names[row]),
            volume_CDHW=self.read([row])[0],
            label=int(self.labels[row]),
            group=str(self.groups[row]),
            spacing_mm=tuple(self.spacing_mm[row]),
            size_mm3=float(self.size_mm3[row]),
            fold=str(self.folds[row]),
            mask_DHW=self._masks([row])[0] if self.kind == "segmentation" else None,
            boxes_M7=None if self.boxes_NM7 is None else self.boxes_NM7[row][self.boxes_NM7[row, :, -1] >= 0],
            extent_DHW=None if self.extents_N3 is None else tuple(self.extents_N3[row]),
            value=None if self.numbers_N is None else float(self.numbers_N[row]),
        )

    def verify(self) -> None:
        """Reads everything and computes the content hash again. Raises NASError where it is another."""
        digest = new_digest(self.name, self.classes, self.scale, self.offset, self.by_training)
        for row in range(len(self)):
            sample = self.sample(row)
            add_to(digest, sample, sample.volume_CDHW)
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
    by_training: bool = False,
) -> VolumeStore:
    """Writes a store through a temporary file and a rename: a reader sees all of it or none.

    by_training: the values are to be scaled by statistics of the training part, for padded volumes with masks only.

    Raises NASError for no samples, a volume of another shape or type than the first, NaN or infinite values, a label
    without a class, a mask of another shape than its volume or with a value that is no class, a box that is empty, not
    inside its volume or of no class, masks or boxes for some samples only. Whatever ends the writing, no half file is
    left and an older store stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            digest = new_digest(name, classes, scale, offset, by_training)
            _write(file, samples, digest, name=name, classes=classes, provenance=provenance, scale=scale, offset=offset)
            if by_training:
                file.attrs["by_training"] = True
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return VolumeStore(path)


def _write(
    file: h5py.File,
    samples: Iterable[Sample],
    digest: hashlib._Hash,
    *,
    name: str,
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    scale: float,
    offset: float,
) -> None:
    rows: list[Sample] = []
    voxels: list[np.ndarray] = []
    located: list[np.ndarray] = []
    values: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    volumes = masks = None
    for sample in samples:
        volume = np.ascontiguousarray(sample.volume_CDHW)
        if volumes is None:
            block = None if sample.extent_DHW is None else BLOCK
            volumes = _growing(file, "volumes", volume, block)
            if sample.mask_DHW is not None:
                masks = _growing(file, "masks", np.empty(volume.shape[1:], dtype=np.uint8), block)
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
        if (masks is None) != (sample.mask_DHW is None):
            without = "out" if sample.mask_DHW is None else ""
            raise NASError(f"{sample.name} with{without} a mask", "masks for all samples or none", "mend the source")
        if bool(rows) and (rows[0].boxes_M7 is None) != (sample.boxes_M7 is None):
            without = "out" if sample.boxes_M7 is None else ""
            raise NASError(f"{sample.name} with{without} boxes", "boxes for all samples or none", "mend the source")
        if bool(rows) and (rows[0].value is None) != (sample.value is None):
            without = "out" if sample.value is None else ""
            raise NASError(f"{sample.name} with{without} a value", "a value for all samples or none", "fix the source")
        if sample.value is not None and not np.isfinite(sample.value):
            raise NASError(f"value {sample.value} of {sample.name}", "a finite number", "fix the source")
        if sample.boxes_M7 is not None:
            boxes.append(checked_boxes(sample, len(classes)))
        volumes.resize(len(rows) + 1, axis=0)
        volumes[len(rows)] = volume
        if masks is not None:
            mask = checked_mask(sample, len(classes))
            masks.resize(len(rows) + 1, axis=0)
            masks[len(rows)] = mask
            voxels.append(np.bincount(mask.ravel(), minlength=len(classes)))
            if sample.extent_DHW is not None:
                located.append(locate(mask, sample.extent_DHW, len(classes)))
                values_CKM = volume.reshape(len(volume), -1)[:, located[-1]].astype(np.float32)
                values.append(np.where(located[-1] < 0, np.float32(np.nan), values_CKM))
        add_to(digest, sample, volume)
        rows.append(sample)
    if not rows:
        raise NASError(f"no samples for {name}", "at least one volume", "check the source's path and its filters")
    if voxels:
        file["voxels"] = np.array(voxels, dtype=np.int64)
    if boxes:
        padded = np.zeros((len(boxes), max(1, *map(len, boxes)), 7), dtype=np.float32)
        padded[..., -1] = -1
        for row, its in zip(padded, boxes, strict=True):
            row[: len(its)] = its
        file["boxes"] = padded
    if rows[0].value is not None:
        file["numbers"] = np.array([row.value for row in rows], dtype=np.float32)
    if located:
        file["extents"] = np.array([row.extent_DHW for row in rows], dtype=np.int64)
        file["located"], file["values"] = np.array(located), np.array(values)
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


def _growing(file: h5py.File, name: str, first: np.ndarray, block: int | None = None) -> h5py.Dataset:
    """A dataset of rows like `first`, each a chunk with a checksum, or several of at most `block` voxels a side."""
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
