"""One's own volumes: a csv that names them, one line a volume (or one a point of interest).

Columns: `path,label,patient`, and if wanted `split` and `x,y,z`. Others are ignored. `docs/own-data.md` is the guide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge, Le, Len

from nas.data.io.csv_table import Row, read_table, stamp
from nas.data.io.images import FULL, middle, read_image, triple
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.transforms.preparation import windowed_crop
from nas.errors import NASError
from nas.utils.checked import Interval, OneOf, PathName, Rule, Sides, Spacings, checked

if TYPE_CHECKING:
    from SimpleITK import Image

SPLITS = ("train", "val", "test")


ASCENDING = Rule(lambda ends: ends[0] < ends[1], "[low, high] from 0 to 100 with low < high")


@dataclass(frozen=True, slots=True)
class Item:
    """One line: file, label by name, patient, split ("" where there is none), world point in mm or None."""

    name: str
    path: Path
    label: str
    patient: str
    split: str
    point_mm: tuple[float, float, float] | None


@checked("data")
class Manifest(Source):
    """Volumes of a csv, each brought to one grid and one intensity range, as int16 (0 … 32767 is [0, 1]).

    path: the csv; the volumes' paths are relative to it (NIfTI, NRRD, MHD, MHA, NPY, or a folder with one DICOM
    series). spacing_mm, size: the target grid, one number or (D, H, W); a crop beyond the volume stands at the low
    end of the range. window: [low, high] in the volume's own units (HU for CT), the same for all volumes; without
    it, each channel of each volume is scaled between its own `percentiles`.
    centre: "auto" takes `x,y,z` (world mm, LPS) where the csv has these columns and the volume's middle otherwise;
    "image" and "point" insist on one. class_names: the labels in the order of their numbers (the last of two is
    the positive one); by default sorted. npy_spacing_mm: voxel size (D, H, W) of .npy files.
    """

    name = "manifest"
    scale = 1 / FULL

    def __init__(
        self,
        path: PathName | None,
        cache_dir: PathName,
        spacing_mm: Spacings = 1.0,
        window: Interval | None = None,
        size: Sides = 32,
        centre: Annotated[str, OneOf("auto", "image", "point")] = "auto",
        percentiles: Annotated[Sequence[Annotated[float, Ge(0), Le(100)]], Len(2, 2), ASCENDING] = (0.5, 99.5),
        class_names: Annotated[Sequence[str | int], Len(2)] | None = None,
        npy_spacing_mm: Spacings = 1.0,
    ) -> None:
        self.path, self.cache_dir, self.centre = path, cache_dir, centre
        self.spacing_mm, self.npy_spacing_mm = triple(spacing_mm), triple(npy_spacing_mm)
        depth, height, width = triple(size)
        self.size = (int(depth), int(height), int(width))
        self.window = None if window is None else _range(window, "window")
        self.percentiles = _range(percentiles, "percentiles")
        self.class_names = None if class_names is None else tuple(map(str, class_names))

    @cached_property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Names in the order of their numbers."""
        counts = Counter(item.label for item in self.items)
        if self.class_names is not None:
            if set(counts) != set(self.class_names) or len(set(self.class_names)) < len(self.class_names):
                raise NASError(
                    f"labels {_some(counts)} in {self.path}",
                    f"all of class_names, {', '.join(self.class_names)}, and no others",
                    "mend data.class_names or the csv",
                )
            return self.class_names
        if len(counts) < 2:
            raise NASError(f"one class only ({_some(counts)}) in {self.path}", "at least two labels", "add the others")
        whole = all(label.lstrip("-").isdecimal() for label in counts)
        return tuple(sorted(counts, key=int)) if whole else tuple(sorted(counts))

    @cached_property
    def items(self) -> list[Item]:
        """The lines of the csv, checked; every file is there."""
        if self.path is None:
            raise NASError("no csv", "one's own data as path,label,patient", "data.path=my.csv")
        columns, rows = read_table(self.path)
        points = {"x", "y", "z"} & set(columns)
        needed = {"path", "label", "patient", *(("x", "y", "z") if self.centre == "point" or points else ())}
        if self.centre not in ("auto", "image", "point"):
            raise NASError(f"centre={self.centre}", "auto, image or point", "mend data.centre")
        if missing := sorted(needed - set(columns)):
            raise NASError(
                f"no column {', '.join(missing)} in {self.path} (it has {', '.join(columns)})",
                "path,label,patient[,split][,x,y,z] in the first line",
                "name the columns so, with commas between them",
            )
        items = [self._item(row, bool(points) and self.centre != "image") for row in rows]
        if twice := [item for item, n in Counter((item.path, item.point_mm) for item in items).items() if n > 1]:
            raise NASError(f"{twice[0][0]} twice in {self.path}", "one line a volume or point", "remove the second")
        splits = {item.split for item in items}
        if not (splits == {""} or splits <= set(SPLITS) or all(split.isdecimal() for split in splits)):
            raise NASError(
                f"splits {_some(splits)} in {self.path}",
                "train, val and test, or the numbers of folds, on every line; or no such column",
                "mend the column",
            )
        return items

    def samples(self) -> Iterator[Sample]:
        number = {name: i for i, name in enumerate(self.classes)}
        before: tuple[Path, Image] | None = None
        for item in self.items:
            if before is None or before[0] != item.path:  # several points of one volume: read it once
                before = (item.path, read_image(item.path, self.npy_spacing_mm))
            yield Sample(
                name=item.name,
                volume_CDHW=self.cut(
                    before[1], middle(before[1]) if item.point_mm is None else item.point_mm, str(item.path)
                ),
                label=number[item.label],
                group=item.patient,
                spacing_mm=self.spacing_mm,
                fold=item.split,
            )

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """(C, D, H, W) int16 around a world point, as the store keeps it. name: of the volume, for messages."""
        return windowed_crop(image, centre_mm, self.size, self.spacing_mm, self.window, self.percentiles, name)

    def content_key(self) -> str:
        return stamp(self.items, dict.fromkeys(item.path for item in self.items))

    def provenance(self) -> Mapping[str, Any]:
        return {"source": str(self.path)}

    def preparation(self) -> Mapping[str, Any]:
        names = ("size", "spacing_mm", "window", "percentiles", "npy_spacing_mm")
        return {**super().preparation(), "how": "crop", **{name: getattr(self, name) for name in names}}

    def _item(self, row: Row, with_point: bool) -> Item:
        for column in ("path", "label", "patient"):
            if not row[column]:
                raise NASError(f"no {column} in {row.at}", "path, label and patient on every line", "fill the cell")
        path = Path(self.path or "").parent / row["path"]
        if not path.exists():
            raise NASError(f"no file {path} ({row.at})", "a volume, by its path from the csv", "mend the path")
        point = (row.number("x"), row.number("y"), row.number("z")) if with_point else None
        name = row["path"] if point is None else f"{row['path']}@{','.join(f'{mm:g}' for mm in point)}"
        return Item(name, path, row["label"], row["patient"], row.cells.get("split", ""), point)


def _range(ends: Sequence[float], name: str) -> tuple[float, float]:
    numbers = [float(end) for end in ends]
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise NASError(f"{name} {numbers}", "[low, high] with low < high", f"data.{name}=[low,high]")
    return numbers[0], numbers[1]


def _some(names: Any) -> str:
    listed = sorted(map(repr, names))
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
