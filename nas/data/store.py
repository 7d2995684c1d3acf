"""Prepared data sets: one HDF5 file with volumes, labels, masks or boxes, patients and a content hash."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.data.sample import Sample, add_to, content_digest, new_digest
from nas.data.store_damage import damaged, require_seal, unreadable
from nas.data.transforms.intensity import Intensity
from nas.data.transforms.patches import Patches
from nas.errors import NASError
from nas.utils.foreign import parse_json
from nas.utils.foreign_hdf5 import require_own_content
from nas.utils.hashing import digest

FORMAT = 1
SUBGROUPS = "subgroups"  # dataset (N, G) of texts
BY_ROW = ("volumes", "masks", "values")  # datasets of which rows are read
DAMAGE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)  # what h5py raises for a broken file


class VolumeStore:
    """A prepared data set. Metadata is in memory; volumes are read by row, and only the rows that are asked for.

    Args:
        path: The file (.h5).

    Attributes:
        name: Name of the data set.
        sha256: Hash of the whole content.
        kind: "classification", "segmentation" if the samples have masks,
            "detection" if they have boxes, "regression" if
            they have a real number each.
        shape: (C, D, H, W) of a volume. If D is 1, samples are slices of `sample_shape` (C, H, W) and `dims` is 2.
        dtype: Type of the stored values.
        scale: A network is given the stored value times `scale` plus `offset`.
        offset: See `scale`.
        classes: Class names in the order of their numbers.
        labels: (N,) int64, 0 if the samples have masks, boxes or real numbers.
        groups: (N,) str, the patient of each sample.
        folds: (N,) str, the split of the data set's authors, "" if there is none.
        names: (N,) str, one per sample.
        subgroups: Name of a column, such as "sex" -> (N,) str, "" if unknown; empty if the source states none.
        spacing_mm: (N, 3) voxel size (D, H, W) in mm, NaN if unknown.
        size_mm3: (N,) volume of the object in mm^3, NaN if unknown.
        voxels_NK: With masks, the voxels of each class in each sample; else None.
        boxes_NM7: With boxes, as in Sample, filled up with class -1; else None.
        numbers_N: Of a regression, the real numbers, float32; else None.
        extents_N3: Of padded volumes, the sides (D, H, W) before padding; else None.
        located_NKM: Of padded volumes, flat positions of voxels of each class (transforms/patches.py); else None.
        patches: How patches are drawn in training, see `draw_patches`. If None, a training is given whole volumes.
        preparation: How a file becomes the input of a network (transforms/preparation.py), as the source states it;
            from an array of stored values, if the file was opened without its source.
        by_training: Whether values are still to be scaled by statistics of the training set (`intensity`).
        unit: Name of a group, "patient" unless the source states another.
        cohort: The set of patients that the groups belong to, the data set's name unless the source states another.
        provenance: Source, licence and arguments, as the source gave them.
        is_copy: Whether the file is made anew from its source if it is missing, so that a damaged one is removed.

    Raises:
        NASError: If the file is missing, damaged, no store or of another format, if it may not be read, if a process
            holds it open for writing, and if its file system has no locks.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.is_copy = Path(path), False
        if not os.path.isfile(self.path):  # Path.is_file raises if the folder may not be read
            raise NASError(
                f"no file {self.path}", "a VoxNAS volume store (.h5)", "prepare the data set, or correct the path"
            )
        with self._opened(sealed=True) as file:
            require_own_content(file, BY_ROW, ("masks",))
            self._read_metadata(file)

    @contextmanager
    def _opened(self, *, sealed: bool = False) -> Iterator[h5py.File]:
        try:
            if sealed:
                require_seal(self.path)
            with h5py.File(self.path, "r") as file:
                yield file
        except DAMAGE as error:
            raise unreadable(self.path, error, remove=self.is_copy) from error

    def _read_metadata(self, file: h5py.File) -> None:
        if file.attrs["format"] != FORMAT:
            raise NASError(f"store format {file.attrs['format']} in {self.path}", f"format {FORMAT}", "delete the file")
        self.name, self.sha256 = str(file.attrs["name"]), str(file.attrs["sha256"])
        self.shape = tuple(int(n) for n in file["volumes"].shape[1:])
        self.dtype = file["volumes"].dtype
        self.scale, self.offset = float(file.attrs["scale"]), float(file.attrs["offset"])
        self.classes = tuple(parse_json(file.attrs["classes"]))
        self.provenance: dict[str, Any] = dict(parse_json(file.attrs["provenance"]))
        if file["labels"].dtype.kind not in "iu":  # a cast would make numbers of texts and NaN
            raise ValueError(f"labels of type {file['labels'].dtype}")
        if not math.isfinite(self.scale) or not math.isfinite(self.offset):
            raise ValueError("a scale or offset that is not finite")
        self.labels = file["labels"][:].astype(np.int64)
        self.groups, self.folds, self.names = (file[key].asstr()[:].astype(str) for key in ("groups", "folds", "names"))
        self._contents, self._images = (
            file[key].asstr()[:].astype(str) if key in file else None for key in ("contents", "images")
        )
        self.subgroups: Mapping[str, np.ndarray] = {}
        if SUBGROUPS in file:
            values_NG = file[SUBGROUPS].asstr()[:].astype(str)
            self.subgroups = dict(zip(map(str, parse_json(file[SUBGROUPS].attrs["names"])), values_NG.T, strict=True))
        self.spacing_mm, self.size_mm3 = file["spacing_mm"][:], file["size_mm3"][:]
        kinds = {"masks": "segmentation", "boxes": "detection", "numbers": "regression"}
        self.kind = next((kind for key, kind in kinds.items() if key in file), "classification")
        self.numbers_N = file["numbers"][:] if "numbers" in file else None
        self.voxels_NK = file["voxels"][:] if "masks" in file else None
        self.boxes_NM7 = file["boxes"][:] if "boxes" in file else None
        self.extents_N3, self.located_NKM = (file[key][:] if key in file else None for key in ("extents", "located"))
        self.by_training = bool(file.attrs.get("by_training", False))
        self.patches: Patches | None = None
        self.preparation: Mapping[str, Any] = {"how": "array", "scale": self.scale, "offset": self.offset}
        self.unit = str(self.provenance.get("unit", "patient"))
        self.cohort = str(self.provenance.get("cohort", self.name))
        lengths = {len(file["volumes"]), *map(len, (self.labels, self.groups, self.folds, self.names, self.spacing_mm))}
        lengths |= {len(self.size_mm3), *map(len, self.subgroups.values())}
        if len(lengths) > 1:
            raise ValueError("columns of different lengths")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dims(self) -> int:
        """Spatial dimensions of a sample: 2 for slices, else 3."""
        return 2 if self.shape[1] == 1 else 3

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a whole sample: (C, D, H, W), of slices (C, H, W)."""
        return self.shape if self.dims == 3 else (self.shape[0], *self.shape[2:])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input in training: a patch if patches are drawn, else a whole sample."""
        return self.sample_shape if self.patches is None else (self.shape[0], *self.patches.size_DHW)

    def draw_patches(self, patches: Patches) -> None:
        """Draw training samples as patches from now on.

        Args:
            patches: Their size and number.

        Raises:
            NASError: If a patch is larger than the volumes.
        """
        if any(side > whole for side, whole in zip(patches.size_DHW, self.shape[1:], strict=True)):
            raise NASError(
                f"patches of {list(patches.size_DHW)} voxels from volumes of {list(self.shape[1:])}",
                "no side larger than the volumes' (D, H, W)",
                "a smaller data.patch",
            )
        self.patches = patches

    def patient_digests(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the pseudonyms of patients, for files that must not hold names.

        They depend on cohort and patient only, so that one patient has one digest in stores with other crops, grids or
        samples. They are no protection if the names of a cohort can be guessed, such as LIDC-IDRI-0001.

        Args:
            rows: Rows of the store.

        Returns:
            The distinct digests of the patients of these rows, each 64 hexadecimal digits, sorted.

        Raises:
            IndexError: If a row does not exist.
        """
        return sorted({digest([self.cohort, group]) for group in self.groups[self._rows(rows)].tolist()})

    def content_digests(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the digests of the images behind samples, which find an image under another name.

        A digest is that of the source volume's files if the source knows them, and then the same in stores with other
        crops or grids; else it is that of the stored arrays, and another in a store that was prepared otherwise. A
        second digest is that of the source volume's voxels, if the source knows them: it is the same for a copy in
        another format or with another compression.

        Args:
            rows: Rows of the store.

        Returns:
            The distinct digests of these rows, each 64 hexadecimal digits, sorted.

        Raises:
            IndexError: If a row does not exist.
            NASError: If the file is damaged.
        """
        chosen = self._rows(rows)
        if self._contents is not None:
            found = set(self._contents[chosen].tolist())
            return sorted(found if self._images is None else found | set(self._images[chosen].tolist()) - {""})
        return sorted({content_digest(self.sample(int(row))) for row in chosen})  # a store of an earlier version

    def intensity(self, rows: Sequence[int] | np.ndarray) -> Intensity:
        """Compute the statistics of the foreground of samples, without reading any others.

        Args:
            rows: Rows of the store.

        Returns:
            Clipping bounds, mean and deviation per channel.

        Raises:
            NASError: If the foreground has one value only, or the file is damaged.
        """
        chosen = np.unique(self._rows(rows))
        with self._opened() as file:
            values_NCKM = file["values"][chosen]
        return Intensity.of_foreground(values_NCKM)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read stored values; only the chunks of these samples are read.

        Args:
            indices: (B,) rows of the store.

        Returns:
            (B, C, D, H, W) values as stored, in the order of `indices`.

        Raises:
            IndexError: If a row does not exist.
            NASError: If a row is damaged.
        """
        return self._read("volumes", indices, self.shape, self.dtype)

    def targets(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read the targets of a network.

        Args:
            indices: (B,) rows of the store.

        Returns:
            Labels (B,) int64, masks (B, D, H, W) uint8, of slices (B, H, W), boxes (B, M, 7) float32, of slices
            (B, M, 5), or real numbers (B,) float32.

        Raises:
            IndexError: If a row does not exist.
            NASError: If a row is damaged.
        """
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
        """Read one patch of each sample; only the chunks that hold the patches are read.

        Args:
            indices: (B,) rows of the store.
            corners_B3: First voxel (D, H, W) of each patch.

        Returns:
            Values (B, C, D, H, W) as stored, and masks (B, D, H, W) uint8, both of the size of `patches`.

        Raises:
            IndexError: If a row does not exist.
            NASError: If a row is damaged.
        """
        assert self.patches is not None
        size = self.patches.size_DHW
        corners_B4 = np.pad(corners_B3, ((0, 0), (1, 0)))
        volumes = self._read("volumes", indices, (self.shape[0], *size), self.dtype, corners_B4)
        return volumes, self._read("masks", indices, size, np.dtype(np.uint8), corners_B3)

    def voxel_mm(self, indices: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Return voxel sizes.

        Args:
            indices: (B,) rows of the store.

        Returns:
            (B, 3) in mm (D, H, W), of slices (B, 2); None if one of them is unknown.
        """
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
        with self._opened() as file:
            # h5py's low-level calls: parsing a selection costs as much as reading a small volume
            dataset = file[name].id
            selection, memory = dataset.get_space(), h5py.h5s.create_simple(shape)
            for position, row in enumerate(rows):
                selection.select_hyperslab((int(row), *map(int, starts[position])), (1, *shape))
                dataset.read(memory, selection, out[position])
        if dtype.kind == "f" and not np.isfinite(out).all():
            raise damaged(self.path, f"NaN or infinite {name}")
        return out

    def sample(self, row: int) -> Sample:
        """Read one row with the values that the writer received.

        Args:
            row: Row of the store.

        Returns:
            The sample.

        Raises:
            IndexError: If the row does not exist.
            NASError: If the row is damaged.
        """
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
            content="" if self._contents is None else str(self._contents[row]),
            image="" if self._images is None else str(self._images[row]),
            value=None if self.numbers_N is None else float(self.numbers_N[row]),
        )

    def verify(self) -> None:
        """Read everything and compute the content hash again.

        Raises:
            NASError: If the file is damaged or has another hash than the recorded one.
        """
        sha256 = new_digest(self.name, self.classes, self.scale, self.offset, self.by_training)
        for row in range(len(self)):
            sample = self.sample(row)
            add_to(sha256, sample, sample.volume_CDHW)
        if sha256.hexdigest() != self.sha256:
            raise damaged(self.path, f"its content has the hash {sha256.hexdigest()[:12]}, written {self.sha256[:12]}")
