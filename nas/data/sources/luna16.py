"""LUNA16 (Setio et al. 2017): lung nodules cut out of CT, benign or malignant, in the ten published folds.

Layout of the folder: `subset0` … `subset9` with the `.mhd`/`.raw` scans, `annotations.csv` as LUNA16 ships it (in the
folder or in `CSVFILES/`), and a csv that states which nodules are malignant:

- DeepLung's and NAS-Lung's `annotationdetclsconvfnl_v3.csv`, with the columns
  `seriesuid,coordX,coordY,coordZ,diameter_mm,malignant`. Its coordinates are NOT world coordinates: they are voxels
  (z, y, x) of DeepLung's own preprocessing (1 mm, cut to the lung mask), and its ids carry suffixes (`<uid>-12`).
  Only id, diameter and label are used; the position comes from `annotations.csv`, matched by scan and diameter.
- your own, with the columns `seriesuid,coordX,coordY,coordZ,diameter_mm,malignancy` in world mm (LPS, as in
  `annotations.csv`).

The label is 0 (benign) or 1 (malignant) in both.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from nas.data.io.crops import read_region
from nas.data.io.csv_table import Row, read_table
from nas.data.io.files import existing_folder, named_files
from nas.data.sample import Sample
from nas.data.source import CACHE, Source
from nas.data.sources._lidc_database import database_path, read_nodules
from nas.data.sources._nodule_crops import NoduleCrops
from nas.errors import NASError
from nas.utils.annotations import HuWindow, PathName, Side, Spacing
from nas.utils.checked import checked

log = logging.getLogger(__name__)

DEEPLUNG = ("seriesuid", "diameter_mm", "malignant")
WORLD = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm", "malignancy")


Point = tuple[float, float, float]
Points = Mapping[tuple[str, str], Sequence[Point]]
Scans = dict[str, tuple[Path, str]]  # SeriesInstanceUID -> (.mhd file, fold)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated position.

    Args:
        name: Name of the sample.
        series: SeriesInstanceUID of the scan.
        centre_mm: Centre in world mm (LPS).
        diameter_mm: Diameter in mm.
        label: 0 or 1.
    """

    name: str
    series: str
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    label: int


@checked("data")
class Luna16(NoduleCrops):
    """Crops of `size`³ voxels of `spacing_mm` with the nodule in the middle, as int16 HU.

    HU are clipped to `window` and stored exactly; scale and offset map the window to [0, 1] (with the default window
    1/1800 and 1200/1800). Crops are filled with air, -1000 HU, beyond the scan. The group is the patient of LIDC-IDRI,
    or the series if it is not in LIDC-IDRI. The fold is the subset, "0" to "9"; a patient whose scans lie in two
    subsets stays in the first, so that no patient is in two folds. size_mm3 is that of a ball of the nodule's diameter.

    Args:
        root: Folder with subset0 to subset9 and the csv files.
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size in mm.
        size: Voxels per side.
        window: [low, high] in whole HU.
        annotations: The csv of labels, in the folder or by path.
        positions: LUNA16's own csv of positions, in the folder or by path.
        skip_missing: Whether to leave out nodules of scans that are in no subset (a partial download) instead of
            raising an error.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "luna16"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its scans count by content, subset and series",
        "annotations": "the nodules that are read from it count",
        "positions": "the nodules that are read with it count",
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        spacing_mm: Spacing = 1.0,
        size: Side = 32,
        window: HuWindow = (-1200, 600),
        annotations: PathName = "annotationdetclsconvfnl_v3.csv",
        positions: PathName = "annotations.csv",
        skip_missing: bool = False,
    ) -> None:
        super().__init__(root, cache_dir, spacing_mm, size, window)
        self.annotations, self.positions, self.skip_missing = annotations, positions, skip_missing

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        patient_and_fold = patients_and_folds((nodule.series for nodule in self.nodules), self.scans)
        for nodule in self.nodules:
            path = self.scans[nodule.series][0]
            patient, fold = patient_and_fold[nodule.series]
            region = read_region(path, nodule.centre_mm, self.reach_mm)
            yield Sample(
                name=nodule.name,
                volume_CDHW=self.cut(region, nodule.centre_mm, path.name),
                label=nodule.label,
                group=patient,
                spacing_mm=(self.spacing_mm,) * 3,
                size_mm3=math.pi / 6 * nodule.diameter_mm**3,
                fold=fold,
                content=self.digests.of_volume(path),
            )

    def files(self) -> Mapping[str, Path]:
        """List the scans with nodules, by subset and series, and the database that names their patients."""
        annotated = dict.fromkeys(nodule.series for nodule in self.nodules)
        scans = named_files((f"subset{self.scans[uid][1]}/{uid}", self.scans[uid][0]) for uid in annotated)
        return {"patients": database_path(), **scans}

    def content(self) -> Mapping[str, Any]:
        """Return the nodules and the digests of the files."""
        return {**super().content(), "nodules": self.nodules}

    def provenance(self) -> Mapping[str, Any]:
        """Return source and licence."""
        return {"source": "LUNA16, from LIDC-IDRI", "licence": "CC BY 4.0", "doi": "10.1016/j.media.2017.06.015"}

    @cached_property
    def scans(self) -> Scans:
        """The scans of the folder, see `find_scans`."""
        return find_scans(self.root)

    @cached_property
    def nodules(self) -> list[Annotation]:
        """The annotated nodules, in the order of the csv.

        Raises:
            NASError: If a csv is missing or malformed, a scan is missing, or all nodules are of one class.
        """
        scans = self.scans
        path = find_csv(self.root, self.annotations)
        columns, rows = read_table(path)
        if set(WORLD) <= set(columns):
            nodules = [_annotation(row, _point(row), "malignancy") for row in rows]
        elif set(DEEPLUNG) <= set(columns):
            point_of = self._published_points()
            nodules = [_annotation(row, _lookup(row, point_of), "malignant") for row in rows]
        else:
            raise NASError(
                f"columns {', '.join(columns)} in {path}",
                f"{','.join(WORLD)} (world mm), or DeepLung's file with the column `malignant`",
                "name the columns so",
            )
        _require_one_label(nodules, rows)
        missing = sorted({nodule.series for nodule in nodules} - set(scans))
        if missing and not self.skip_missing:
            raise NASError(
                f"{len(missing)} scans of {path.name} that are in no subset, such as {missing[0]}",
                "the .mhd file of every annotated scan below subset0 … subset9",
                "fetch the missing subsets, or leave these nodules out with data.skip_missing=true",
            )
        present = [nodule for nodule in nodules if nodule.series in scans]
        if len(present) < len(nodules):
            log.warning("left out %d nodules, whose scans are in no subset", len(nodules) - len(present))
        if len({nodule.label for nodule in present}) < 2:
            raise NASError(f"nodules of one class only in {path.name}", "benign and malignant ones", "check the labels")
        return present

    def _published_points(self) -> Points:
        """Return world points by (series, diameter), from LUNA16's own annotations.csv."""
        points = defaultdict(list)
        for series, nodules in annotated_nodules(find_csv(self.root, self.positions)).items():
            for point, diameter_mm in nodules:
                points[series, _diameter_key(diameter_mm)].append(point)
        return points


def find_scans(root: PathName | None) -> Scans:
    """Find the scans of a LUNA16 folder.

    Args:
        root: Folder with subset0 to subset9.

    Returns:
        SeriesInstanceUID -> (.mhd file, fold).

    Raises:
        NASError: If the folder is missing or holds no scans, or a scan is in two subsets.
    """
    folder = existing_folder(root, "the folder with subset0 … subset9 and annotations.csv", "/path/to/luna16")
    scans: Scans = {}
    for fold in map(str, range(10)):
        for path in sorted((folder / f"subset{fold}").rglob("*.mhd")):
            if path.stem in scans:
                raise NASError(
                    f"scan {path.stem} in subset{scans[path.stem][1]} and subset{fold}",
                    "every scan in one subset",
                    "remove the copy",
                )
            scans[path.stem] = (path, fold)
    if not scans:
        raise NASError(f"no subset*/*.mhd in {root}", "unpacked subsets of LUNA16", "unpack subset0.zip …")
    return scans


def find_csv(root: PathName | None, name: PathName) -> Path:
    """Find a csv file of a LUNA16 folder.

    Args:
        root: The folder.
        name: File name, or a path.

    Returns:
        The file, in the folder, in its folder CSVFILES, or at the path.

    Raises:
        NASError: If it is at none of these.
    """
    folder = Path(root or "")
    candidates = [folder / name, folder / "CSVFILES" / name, Path(name)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise NASError(f"no file {name} in {folder}", f"{name} there or in CSVFILES/", "give its path")
    return path


def annotated_nodules(path: Path) -> dict[str, list[tuple[Point, float]]]:
    """Read LUNA16's own annotations.csv.

    Args:
        path: The file.

    Returns:
        Series -> centre in world mm (LPS) and diameter in mm of each of its nodules.

    Raises:
        NASError: If the file is missing or malformed.
    """
    columns, rows = read_table(path)
    if not set(WORLD[:5]) <= set(columns):
        raise NASError(f"columns {', '.join(columns)} in {path}", ",".join(WORLD[:5]), "take LUNA16's own file")
    nodules = defaultdict(list)
    for row in rows:
        nodules[row["seriesuid"]].append((_point(row), _diameter(row)))
    return nodules


def patients_and_folds(series: Iterable[str], scans: Scans) -> dict[str, tuple[str, str]]:
    """Return patient and fold of each series.

    The patient is that of LIDC-IDRI, or the series itself if it is not in LIDC-IDRI. A patient whose scans lie in two
    subsets stays in the fold of the first, so that no patient is in two folds.

    Args:
        series: SeriesInstanceUIDs, each in `scans`.
        scans: As `find_scans` returns them.

    Returns:
        SeriesInstanceUID -> (patient, fold).
    """
    patient_of = _patients()
    fold_of: dict[str, str] = {}
    assigned = {}
    for uid in dict.fromkeys(series):
        patient, subset = patient_of.get(uid, uid), scans[uid][1]
        if (fold := fold_of.setdefault(patient, subset)) != subset:
            log.warning("%s of subset%s joins the patient's other scan in fold %s", uid, subset, fold)
        assigned[uid] = (patient, fold)
    return assigned


@cache
def _patients() -> dict[str, str]:
    """Map the SeriesInstanceUIDs of LIDC-IDRI to patients."""
    return {nodule.series_instance_uid: nodule.patient_id for nodule in read_nodules()}


def _point(row: Row) -> tuple[float, float, float]:
    return row.number("coordX"), row.number("coordY"), row.number("coordZ")


def _diameter(row: Row) -> float:
    diameter_mm = row.number("diameter_mm")
    if diameter_mm <= 0:
        raise NASError(f"diameter_mm {diameter_mm} in {row.at}", "a diameter above 0", "correct the line")
    return diameter_mm


def _require_one_label(nodules: Sequence[Annotation], rows: Sequence[Row]) -> None:
    """Raise for two lines of one nodule with different labels.

    The centres of two nodules are further apart than the radius of the smaller one.
    """
    of_series: dict[str, list[tuple[Annotation, Row]]] = defaultdict(list)
    for nodule, row in zip(nodules, rows, strict=True):
        for other, line in of_series[nodule.series]:
            distance_mm = math.dist(nodule.centre_mm, other.centre_mm)
            if nodule.label != other.label and distance_mm < min(nodule.diameter_mm, other.diameter_mm) / 2:
                raise NASError(
                    f"one nodule with two labels: {line.at} and {row.at}",
                    "one label for each",
                    "remove one of the lines",
                )
        of_series[nodule.series].append((nodule, row))


def _diameter_key(diameter_mm: float) -> str:
    return f"{diameter_mm:.6f}"  # both files print the same number, with nine digits or with seventeen


def _lookup(row: Row, points: Points) -> tuple[float, float, float]:
    series, diameter = row["seriesuid"].split("-")[0], _diameter_key(_diameter(row))
    matches = points.get((series, diameter), [])
    if len(matches) != 1:
        raise NASError(
            f"{row.at}: {len(matches) or 'no'} nodules of {diameter} mm in scan {series} of LUNA16's annotations.csv",
            "exactly one: DeepLung's file lists nodules of LUNA16 (its own coordinates are not world mm)",
            "for other nodules name the label column `malignancy` and give world mm",
        )
    return matches[0]


def _annotation(row: Row, centre_mm: tuple[float, float, float], label: str) -> Annotation:
    if row.number(label) not in (0, 1):
        raise NASError(f"{label} {row[label]} in {row.at}", "0 (benign) or 1 (malignant)", "turn ratings into 0 and 1")
    series = row["seriesuid"].split("-")[0]
    x, y, z = centre_mm
    return Annotation(f"{series}@{x:.1f},{y:.1f},{z:.1f}", series, centre_mm, _diameter(row), int(row.number(label)))
