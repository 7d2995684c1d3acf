"""Your own volumes: a csv that names them, one line per volume or per point of interest.

Columns: `path,label,patient`, and optionally `split`, `x,y,z`, and `size_mm3` or `mask`. Columns `path_t1,path_t2,...`
in place of `path` name one file per channel. Columns of subgroups, such as `sex`, split results by their values.
Other columns are ignored. See `docs/tutorials/your-own-volumes.md`.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len

from nas.data.io.arrays import AXES
from nas.data.io.channels import joined, read_volumes, voxel_digests
from nas.data.io.crops import middle
from nas.data.io.csv_table import (
    MISSING,
    PATH,
    Row,
    is_number,
    path_columns,
    read_table,
    require_one_spelling,
    subgroup_columns,
    subgroups_of,
)
from nas.data.io.files import VOLUME_ENDINGS, named_files, split_name
from nas.data.io.images import FULL, triple
from nas.data.io.label_values import object_mm3
from nas.data.io.limits import Limit
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.transforms.preparation import windowed_crop
from nas.errors import NASError
from nas.utils.annotations import Interval, OneOf, PathName, Rule, Sides, Spacings, Text
from nas.utils.checked import checked

if TYPE_CHECKING:
    from SimpleITK import Image

LIMITS = (
    Limit(
        "Folders and tables",
        "manifest with the columns path_<channel>, or with 4D files",
        "read",
        "channels on the grid of the first by world coordinates; each covers at least half of it",
    ),
    Limit(
        "Folders and tables",
        "manifest with the columns size_mm3 or mask",
        "read",
        "the baseline volume; without them there is no such row",
    ),
    Limit(
        "Folders and tables",
        "a column that is there twice, empty or nan cells, labels in two spellings (1 and 1.0)",
        "refused",
        "write each label and patient one way",
    ),
    Limit(
        "Folders and tables",
        "labels that are paths of files",
        "refused",
        "for segmentation data=msd; for sizes the column mask",
    ),
)
SPLITS = ("train", "val", "test")
MASK_ENDINGS = (*VOLUME_ENDINGS, ".dcm", ".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")  # of files, not of classes


ASCENDING = Rule(lambda ends: ends[0] < ends[1], "[low, high] from 0 to 100 with low < high")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a manifest.

    Args:
        name: Name of the sample.
        paths: Its file, or one file per channel.
        label: Name of its class.
        patient: Its patient.
        split: Its part of a given split; empty if there is none.
        point_mm: Centre of the crop in world mm (LPS); None for the whole image.
        size_mm3: Volume of the object in mm^3, NaN if unknown.
        mask: Label map of the object; None if there is none.
        subgroups: Column -> value, of the columns by which results are split.
    """

    name: str
    paths: tuple[Path, ...]
    label: str
    patient: str
    split: str
    point_mm: tuple[float, float, float] | None
    size_mm3: float = math.nan
    mask: Path | None = None
    subgroups: Mapping[str, str] = field(default_factory=dict)


@checked("data")
class Manifest(Source):
    """Volumes of a csv, each brought to one grid and one intensity range, as int16 (0 … 32767 is [0, 1]).

    Args:
        path: The csv. The volumes' paths are relative to it (NIfTI, NRRD, MHD, MHA, NPY, or a folder with one DICOM
            series). A 4D file holds one channel per volume; files of several columns path_<channel> are brought onto
            the grid of the first by world coordinates.
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size of the target grid in mm, one number or (D, H, W).
        window: [low, high] in the volumes' own units (HU for CT). If None, each channel of each volume is scaled
            between its own `percentiles`.
        size: Voxels of the target grid, one number or (D, H, W). Beyond the volume, crops have the low end of the
            range.
        centre: Middle of the crop: "point" takes `x,y,z` (world mm, LPS) of the csv, "image" the volume's middle,
            "auto" the point if the csv has these columns.
        percentiles: (low, high) in percent, see `window`.
        class_names: The labels in the order of their numbers; of two, the last is the positive class unless
            task.positive names the other. If None, sorted.
        npy_spacing_mm: Voxel size of .npy files in mm, one number or (D, H, W).
        npy_axes: Axes of .npy files: DHW, CDHW or DHWC. If None, DHW or CDHW, and ambiguous arrays are refused.
        values_in_hu: Whether stored values of CT and PET slices (DICOM) without RescaleSlope and RescaleIntercept are
            in HU (PET: activity) already. If False, such series are refused.
        subgroups: Columns of the csv, such as sex or scanner, by whose values the results of a training are split. If
            None, those named sex, gender, age_group, ethnicity, race, site, centre, center, hospital, scanner,
            manufacturer or vendor.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "manifest"
    scale = 1 / FULL
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "path": "the csv and its volumes count by content",
    }

    def __init__(
        self,
        path: PathName | None,
        cache_dir: PathName = CACHE,
        spacing_mm: Spacings = 1.0,
        window: Interval | None = None,
        size: Sides = 32,
        centre: Annotated[str, OneOf("auto", "image", "point")] = "auto",
        percentiles: Annotated[Sequence[Annotated[float, Ge(0), Le(100)]], Len(2, 2), ASCENDING] = (0.5, 99.5),
        class_names: Annotated[Sequence[str | int], Len(2)] | None = None,
        npy_spacing_mm: Spacings = 1.0,
        npy_axes: Annotated[str, OneOf(*AXES)] | None = None,
        values_in_hu: bool = False,
        subgroups: Sequence[Text] | None = None,
    ) -> None:
        self.path, self.cache_dir, self.centre = path, cache_dir, centre
        self.spacing_mm, self.npy_spacing_mm = triple(spacing_mm), triple(npy_spacing_mm)
        self.npy_axes, self.values_in_hu = npy_axes, values_in_hu
        depth, height, width = triple(size)
        self.size = (int(depth), int(height), int(width))
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.percentiles = float(percentiles[0]), float(percentiles[1])
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.subgroups = None if subgroups is None else tuple(subgroups)

    @cached_property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Class names in the order of their numbers.

        Raises:
            NASError: If the labels of the csv are not those of `class_names`, or there is one only.
        """
        counts = Counter(item.label for item in self.items)
        if self.class_names is not None:
            if set(counts) != set(self.class_names) or len(set(self.class_names)) < len(self.class_names):
                raise NASError(
                    f"labels {_some(counts)} in {self.path}",
                    f"all of class_names, {', '.join(self.class_names)}, and no others",
                    "correct data.class_names or the csv",
                )
            return self.class_names
        if len(counts) < 2:
            raise NASError(f"one class only ({_some(counts)}) in {self.path}", "at least two labels", "add the others")
        return tuple(sorted(counts, key=float)) if all(map(is_number, counts)) else tuple(sorted(counts))

    @cached_property
    def items(self) -> list[Item]:
        """The lines of the csv.

        Raises:
            NASError: If the csv or one of its files is missing, a column or cell is missing, or a line is there twice.
        """
        if self.path is None:
            raise NASError(
                "data.path=null", "a csv with the columns path, label and patient", "set data.path to my.csv"
            )
        columns, rows = read_table(self.path)
        points, channels = {"x", "y", "z"} & set(columns), path_columns(columns)
        needed = {"label", "patient", *(("x", "y", "z") if self.centre == "point" or points else ())}
        if missing := sorted((needed | (set() if channels else {"path"})) - set(columns)):
            raise NASError(
                f"no column {', '.join(missing)} in {self.path} (it has {', '.join(columns)})",
                "path,label,patient[,split][,x,y,z] in the first line, or path_t1,path_t2,... for files of channels",
                "name the columns so, with commas between them",
            )
        split_by = subgroup_columns(columns, self.subgroups, self.path)
        with_point = bool(points) and self.centre != "image"
        items = [
            replace(self._item(row, channels, with_point), subgroups=subgroups)
            for row, subgroups in zip(rows, subgroups_of(rows, split_by), strict=True)
        ]
        keys = [(tuple(path.resolve() for path in item.paths), item.point_mm) for item in items]
        if twice := [key for key, n in Counter(keys).items() if n > 1]:
            first = twice[0][0][0]
            raise NASError(f"{first} twice in {self.path}", "one line per volume or point", "remove the second")
        patient_of: dict[Path, str] = {}  # of several channels one may be shared, such as a scan with two masks
        for path, patient in ((path.resolve(), item.patient) for item in items for path in item.paths):
            if patient_of.setdefault(path, patient) != patient:
                raise NASError(
                    f"one volume under two patients: {path} of {patient_of[path]} and {patient} in {self.path}",
                    "each volume of one patient",
                    "correct the patient",
                )
        splits = {item.split for item in items}
        if not (splits == {""} or splits <= set(SPLITS) or all(split.isdecimal() for split in splits)):
            raise NASError(
                f"splits {_some(splits)} in {self.path}",
                "train, val and test, or the numbers of folds, on every line; or no such column",
                "correct the column",
            )
        require_one_spelling("label", (item.label for item in items), self.path)
        require_one_spelling("patient", (item.patient for item in items), self.path, numbers_only=True)
        return items

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels, by the columns of the csv; empty if each case is one file."""
        return path_columns(read_table(self.path)[0]) if self.path is not None else ()

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        number = {name: i for i, name in enumerate(self.classes)}
        last: tuple[tuple[Path, ...], Image, str, tuple[str, tuple[str, ...]]] | None = None
        for item in self.items:
            if last is None or last[0] != item.paths:  # several points of one volume: read it once
                volumes = read_volumes(item.paths, self.npy_spacing_mm, self.npy_axes, self.values_in_hu)
                self._require_channels(volumes, item)
                last = (item.paths, joined(volumes), self.digests.of_volumes(item.paths), voxel_digests(volumes))
            _, image, content, (voxels, channels) = last
            mask_mm3 = None if item.mask is None else object_mm3(item.mask, item.point_mm, self.npy_spacing_mm)
            yield Sample(
                name=item.name,
                volume_CDHW=self.cut(
                    image, middle(image) if item.point_mm is None else item.point_mm, str(item.paths[0])
                ),
                label=number[item.label],
                group=item.patient,
                spacing_mm=self.spacing_mm,
                size_mm3=item.size_mm3 if mask_mm3 is None else mask_mm3,
                fold=item.split,
                content=content,
                image=voxels,
                channels=channels,
                subgroups=item.subgroups,
            )

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """Cut (C, D, H, W) int16 around a world point, see `Source.cut`."""
        return windowed_crop(image, centre_mm, self.size, self.spacing_mm, self.window, self.percentiles, name)

    def files(self) -> Mapping[str, Path]:
        """List the csv, the files of its volumes and its masks."""
        volumes = dict.fromkeys(path for item in self.items for path in item.paths)
        masks = dict.fromkeys(item.mask for item in self.items if item.mask is not None)
        return {
            "csv": Path(str(self.path)),
            **named_files((f"volume {n}", path) for n, path in enumerate(volumes)),
            **named_files((f"mask {n}", path) for n, path in enumerate(masks)),
        }

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": str(self.path)}

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "crop" with grid and intensity range."""
        names = ("size", "spacing_mm", "window", "percentiles", "npy_spacing_mm", "npy_axes", "values_in_hu")
        how = {**super().preparation(), "how": "crop", **{name: getattr(self, name) for name in names}}
        return how | ({"channels": self.channels} if self.channels else {})

    def _item(self, row: Row, channels: Sequence[str], with_point: bool) -> Item:
        columns = [f"{PATH}_{name}" for name in channels] or [PATH]
        for column in (*columns, "label", "patient"):
            if not row[column] or (column not in columns and row[column].lower() in MISSING):
                got = f" ({row[column]})" if row[column] else ""
                expected = f"{', '.join(columns)}, label and patient on every line"
                raise NASError(f"no {column} in {row.at}{got}", expected, "fill the cell")
        folder = Path(self.path or "").parent
        paths = tuple(folder / row[column] for column in columns)
        for path in paths:
            if not os.path.exists(path):  # of any text, see nas/data/io/images.py
                raise NASError(f"no file {path} ({row.at})", "a volume, by its path from the csv", "correct the path")
        if _names_a_file(row["label"], folder):
            raise NASError(
                f"the label {row['label']} in {row.at}, which is a file",
                "the name of a class",
                "for segmentation list images and masks in a dataset.json (data=msd); a mask that states the size of "
                "the object belongs in the column mask",
            )
        point = (row.number("x"), row.number("y"), row.number("z")) if with_point else None
        first = row[columns[0]]
        name = first if point is None else f"{first}@{','.join(f'{mm:g}' for mm in point)}"
        size_mm3 = row.number("size_mm3") if row.cells.get("size_mm3") else math.nan
        if size_mm3 <= 0:
            raise NASError(f"size_mm3 {size_mm3:g} in {row.at}", "a volume above 0 in mm^3", "correct the line")
        mask = folder / row["mask"] if row.cells.get("mask") else None
        if mask is not None and not mask.is_file():
            raise NASError(f"no file {mask} ({row.at})", "a label map, by its path from the csv", "correct the path")
        return Item(name, paths, row["label"], row["patient"], row.cells.get("split", ""), point, size_mm3, mask)

    def _require_channels(self, volumes: Sequence[tuple[Image, Path]], item: Item) -> None:
        if self.channels and len(volumes) != len(item.paths):
            raise NASError(
                f"{len(volumes)} channels in {len(item.paths)} files, such as {item.paths[0]}",
                "one channel in each file of the columns path_...",
                "list files of one channel, or the file of all channels in the column path",
            )


def _names_a_file(label: str, folder: Path) -> bool:
    ending = split_name(label)[1] or Path(label).suffix
    return bool(ending) and (ending.lower() in MASK_ENDINGS or (folder / label).is_file())


def _some(names: Any) -> str:
    listed = sorted(map(repr, names))
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
