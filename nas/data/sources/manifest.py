"""Your own volumes: a csv that names them, one line per volume or per point of interest.

Columns: `path,label,patient`, and optionally `split` and `x,y,z`. Other columns are ignored. See
`docs/tutorials/your-own-volumes.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len

from nas.data.io.arrays import AXES
from nas.data.io.crops import middle
from nas.data.io.csv_table import Row, read_table
from nas.data.io.files import named_files
from nas.data.io.images import FULL, read_image, triple
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.transforms.preparation import windowed_crop
from nas.errors import NASError
from nas.utils.annotations import Interval, OneOf, PathName, Rule, Sides, Spacings
from nas.utils.checked import checked

if TYPE_CHECKING:
    from SimpleITK import Image

SPLITS = ("train", "val", "test")


ASCENDING = Rule(lambda ends: ends[0] < ends[1], "[low, high] from 0 to 100 with low < high")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a manifest.

    Args:
        name: Name of the sample.
        path: Its file.
        label: Name of its class.
        patient: Its patient.
        split: Its part of a given split; empty if there is none.
        point_mm: Centre of the crop in world mm (LPS); None for the whole image.
    """

    name: str
    path: Path
    label: str
    patient: str
    split: str
    point_mm: tuple[float, float, float] | None


@checked("data")
class Manifest(Source):
    """Volumes of a csv, each brought to one grid and one intensity range, as int16 (0 … 32767 is [0, 1]).

    Args:
        path: The csv. The volumes' paths are relative to it (NIfTI, NRRD, MHD, MHA, NPY, or a folder with one DICOM
            series).
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size of the target grid in mm, one number or (D, H, W).
        window: [low, high] in the volumes' own units (HU for CT). If None, each channel of each volume is scaled
            between its own `percentiles`.
        size: Voxels of the target grid, one number or (D, H, W). Beyond the volume, crops have the low end of the
            range.
        centre: Middle of the crop: "point" takes `x,y,z` (world mm, LPS) of the csv, "image" the volume's middle,
            "auto" the point if the csv has these columns.
        percentiles: (low, high) in percent, see `window`.
        class_names: The labels in the order of their numbers; of two, the last is the positive class. If None, sorted.
        npy_spacing_mm: Voxel size of .npy files in mm, one number or (D, H, W).
        npy_axes: Axes of .npy files: DHW, CDHW or DHWC. If None, DHW or CDHW, and ambiguous arrays are refused.
        values_in_hu: Whether stored values of CT and PET slices (DICOM) without RescaleSlope and RescaleIntercept are
            in HU (PET: activity) already. If False, such series are refused.

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
    ) -> None:
        self.path, self.cache_dir, self.centre = path, cache_dir, centre
        self.spacing_mm, self.npy_spacing_mm = triple(spacing_mm), triple(npy_spacing_mm)
        self.npy_axes, self.values_in_hu = npy_axes, values_in_hu
        depth, height, width = triple(size)
        self.size = (int(depth), int(height), int(width))
        self.window = None if window is None else (float(window[0]), float(window[1]))
        self.percentiles = float(percentiles[0]), float(percentiles[1])
        self.class_names = None if class_names is None else tuple(map(str, class_names))

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
        whole = all(label.lstrip("-").isdecimal() for label in counts)
        return tuple(sorted(counts, key=int)) if whole else tuple(sorted(counts))

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
        points = {"x", "y", "z"} & set(columns)
        needed = {"path", "label", "patient", *(("x", "y", "z") if self.centre == "point" or points else ())}
        if missing := sorted(needed - set(columns)):
            raise NASError(
                f"no column {', '.join(missing)} in {self.path} (it has {', '.join(columns)})",
                "path,label,patient[,split][,x,y,z] in the first line",
                "name the columns so, with commas between them",
            )
        items = [self._item(row, bool(points) and self.centre != "image") for row in rows]
        if twice := [item for item, n in Counter((item.path, item.point_mm) for item in items).items() if n > 1]:
            raise NASError(f"{twice[0][0]} twice in {self.path}", "one line per volume or point", "remove the second")
        splits = {item.split for item in items}
        if not (splits == {""} or splits <= set(SPLITS) or all(split.isdecimal() for split in splits)):
            raise NASError(
                f"splits {_some(splits)} in {self.path}",
                "train, val and test, or the numbers of folds, on every line; or no such column",
                "correct the column",
            )
        return items

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        number = {name: i for i, name in enumerate(self.classes)}
        last: tuple[Path, Image, str] | None = None
        for item in self.items:
            if last is None or last[0] != item.path:  # several points of one volume: read it once
                image = read_image(item.path, self.npy_spacing_mm, self.npy_axes, self.values_in_hu)
                last = (item.path, image, self.digests.of_volume(item.path))
            yield Sample(
                name=item.name,
                volume_CDHW=self.cut(
                    last[1], middle(last[1]) if item.point_mm is None else item.point_mm, str(item.path)
                ),
                label=number[item.label],
                group=item.patient,
                spacing_mm=self.spacing_mm,
                fold=item.split,
                content=last[2],
            )

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """Cut (C, D, H, W) int16 around a world point, see `Source.cut`."""
        return windowed_crop(image, centre_mm, self.size, self.spacing_mm, self.window, self.percentiles, name)

    def files(self) -> Mapping[str, Path]:
        """List the csv and the files of its volumes."""
        volumes = dict.fromkeys(item.path for item in self.items)
        return {"csv": Path(str(self.path)), **named_files((f"volume {n}", path) for n, path in enumerate(volumes))}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": str(self.path)}

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "crop" with grid and intensity range."""
        names = ("size", "spacing_mm", "window", "percentiles", "npy_spacing_mm", "npy_axes", "values_in_hu")
        return {**super().preparation(), "how": "crop", **{name: getattr(self, name) for name in names}}

    def _item(self, row: Row, with_point: bool) -> Item:
        for column in ("path", "label", "patient"):
            if not row[column]:
                raise NASError(f"no {column} in {row.at}", "path, label and patient on every line", "fill the cell")
        path = Path(self.path or "").parent / row["path"]
        if not path.exists():
            raise NASError(f"no file {path} ({row.at})", "a volume, by its path from the csv", "correct the path")
        point = (row.number("x"), row.number("y"), row.number("z")) if with_point else None
        name = row["path"] if point is None else f"{row['path']}@{','.join(f'{mm:g}' for mm in point)}"
        return Item(name, path, row["label"], row["patient"], row.cells.get("split", ""), point)


def _some(names: Any) -> str:
    listed = sorted(map(repr, names))
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
