"""One DICOM series in a folder: its slices in order along the normal, checked before any pixel is read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.dicom_header import Slice, read_header, require_complete, require_unit, slice_of
from nas.data.io.geometry import geometry_of
from nas.data.io.limits import Limit
from nas.data.io.tilt import MOST_DEGREES, upright
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

OFF_GRID = 0.2  # distances of slices: how far a slice may lie from its place on an even grid
WIDEST = 1.5  # times the narrowest distance between slices
SIDEWAYS = 0.5  # pixels: how far a slice may lie beside the line of the others, and sizes and axes may differ

LIMITS = (
    Limit(
        "DICOM series",
        "distances between slices that differ, such as rounded positions",
        "read",
        f"if every slice is within {OFF_GRID} distances of its place on an even grid and the widest distance is at "
        f"most {WIDEST} times the narrowest; else refused (missing slices)",
    ),
    Limit("DICOM series", "slices at one position (cine, time series, copies)", "refused", "keep one of each"),
    Limit(
        "DICOM series",
        "orientations and pixel spacings that differ between slices",
        "read",
        f"if no pixel moves by more than {SIDEWAYS} pixels; else refused",
    ),
    Limit(
        "DICOM series",
        "gantry tilt, and other positions that move sideways from slice to slice",
        "corrected",
        f"interpolated to an upright grid, which is larger by the shift; above {MOST_DEGREES:g} degrees refused",
    ),
)


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """The slices of one series, in order along their normal.

    Attributes:
        folder: The folder of the files.
        uid: SeriesInstanceUID.
        modality: "CT", "MR" or "PT".
        patient: PatientID, "" if the files do not state it.
        slices: The slices.
        position_mm: (N,) position along the normal.
        between_mm: Median distance of slices at different positions; 0 if all are at one.
    """

    folder: Path
    uid: str
    modality: str
    patient: str
    slices: tuple[Slice, ...]
    position_mm: np.ndarray = field(repr=False)
    between_mm: float

    @property
    def files(self) -> tuple[str, ...]:
        """(N,) paths."""
        return tuple(str(slice_.path) for slice_ in self.slices)

    @property
    def z_mm(self) -> np.ndarray:
        """(N,) z of ImagePositionPatient."""
        return np.array([slice_.position_mm[2] for slice_ in self.slices])

    @property
    def unit(self) -> str:
        """Unit of the values: "HU" for CT, the tag Units for PET, else ""."""
        return "HU" if self.modality == "CT" else self.slices[0].units

    def even(self, first: int = 0, last: int | None = None) -> bool:
        """Check that no slice is missing or doubled: every slice is near its place on an even grid.

        Args:
            first: First slice.
            last: Last slice, included. If None, the last of the series.

        Returns:
            Whether the distances agree; False for less than two slices.
        """
        position = self.position_mm[first : None if last is None else last + 1]
        gaps = np.diff(position)
        if len(gaps) == 0 or gaps.min() <= 0.1 * self.between_mm or gaps.max() > WIDEST * gaps.min():
            return False
        step, start = np.polyfit(np.arange(len(position)), position, 1)
        off = np.abs(position - start - step * np.arange(len(position))).max()
        return bool(off <= OFF_GRID * step and step <= WIDEST * self.between_mm)

    def read(
        self, first: int = 0, last: int | None = None, values_in_hu: bool = False, keep_pixels: bool = False
    ) -> Image:
        """Read slices as one volume of rescaled values (HU for CT).

        Args:
            first: First slice.
            last: Last slice, included. If None, the last of the series.
            values_in_hu: Whether values of CT and PET without rescale tags are in HU (activity) already.
            keep_pixels: Whether a tilted series keeps its pixels, as if it were upright, so that rows and columns are
                those of the files.

        Returns:
            The volume on an upright grid.

        Raises:
            NASError: If there is one slice only, a slice is missing or doubled, a file is incomplete, or the unit of
                the values is not known.
        """
        sitk = medical("SimpleITK")
        chosen = self.slices[first : None if last is None else last + 1]
        if len(chosen) < 2:
            raise NASError(f"one slice of series {self.uid} in {self.folder}", "a volume", "give the whole series")
        require_unit(list(chosen), values_in_hu)
        if not self.even(first, last):
            raise self._uneven(np.diff(self.position_mm[first : None if last is None else last + 1]), chosen)
        # ITK uses the type of the first slice for all: slices that differ in their rescale or type need floats
        alike = len({(slice_.rescale, slice_.stored) for slice_ in chosen}) == 1
        files = [str(slice_.path) for slice_ in chosen]
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames(files)
        reader.SetOutputPixelType(sitk.sitkUnknown if alike else sitk.sitkFloat32)
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.GlobalWarningDisplayOff()  # of distances of slices, which `even` judges
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise NASError(
                f"{_first_damaged(files) or self.folder}, which cannot be read (damaged or incomplete pixels)",
                "complete DICOM files",
                "fetch the series again",
            ) from error
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        return upright(image, chosen, str(self.folder), keep_pixels)

    def world(self, column: float, row: float, level: float) -> tuple[float, float, float]:
        """Return the world point of a pixel as the files state it.

        Args:
            column: Pixel along the rows, from 0, as fraction too.
            row: Pixel along the columns.
            level: Number of the slice, as fraction too.

        Returns:
            (x, y, z) in mm (LPS).
        """
        first = self.slices[0]
        points_N3 = np.array([slice_.position_mm for slice_ in self.slices])
        start = [np.interp(level, np.arange(len(points_N3)), axis) for axis in points_N3.T]
        row_mm, column_mm = first.spacing_mm
        x, y, z = start + column * column_mm * np.array(first.row) + row * row_mm * np.array(first.column)
        return float(x), float(y), float(z)

    def _uneven(self, gaps: np.ndarray, slices: tuple[Slice, ...]) -> NASError:
        """Describe doubled slices first, because they change the distance that missing ones are found by."""
        if self.between_mm == 0:
            return NASError(
                f"{len(self.slices)} slices at one position in {self.folder}, such as {slices[0].path.name} and "
                f"{slices[1].path.name}",
                "slices at different positions (ImagePositionPatient)",
                "give one slice per position; a time series at one position is no volume",
            )
        doubled = np.flatnonzero(gaps <= 0.1 * self.between_mm)
        if len(doubled):
            pair = " and ".join(slice_.path.name for slice_ in slices[doubled[0] : doubled[0] + 2])
            return NASError(
                f"{len(doubled)} slices that are there twice in {self.folder}, such as {pair}",
                "slices at even distances, each once",
                "remove the copies, or put each reconstruction into a folder of its own",
            )
        widest = int(gaps.argmax())
        pair = " and ".join(slice_.path.name for slice_ in slices[widest : widest + 2])
        return NASError(
            f"{gaps[widest]:.2f} mm between {pair} in {self.folder}, whose slices are {self.between_mm:.2f} mm apart",
            "slices at even distances",
            "fetch the missing slices",
        )


def open_series(folder: str | Path, uid: str | None = None) -> DicomSeries:
    """Open the DICOM series of a folder; other files (XML, notes) may lie beside the slices.

    Args:
        folder: The folder, without those below it.
        uid: SeriesInstanceUID, if the folder may hold several series.

    Returns:
        The series; no pixel is read.

    Raises:
        NASError: If there is no DICOM slice or no series `uid`, if there are several series and no `uid`, if a file is
            damaged or of a kind that is not read, if slices differ in size, spacing or orientation, and if they are
            compressed in a way that cannot be decoded.
    """
    folder = Path(folder)
    headers = {path: header for path in sorted(folder.iterdir()) if (header := read_header(path)) is not None}
    by_uid: dict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        by_uid[str(header.get("SeriesInstanceUID"))].append(path)
    if not by_uid:
        raise NASError(f"no DICOM file in {folder}", "a folder with one DICOM series", "correct the path")
    if uid is None and len(by_uid) > 1:
        counts = ", ".join(f"{len(paths)} files of {name}" for name, paths in by_uid.items())
        raise NASError(
            f"{len(by_uid)} series in {folder} ({counts})",
            "one DICOM series per folder",
            "put each series into a folder of its own",
        )
    uid = next(iter(by_uid)) if uid is None else uid
    if uid not in by_uid:
        raise NASError(f"no series {uid} in {folder}", "its slices", "correct the path")
    return _ordered(folder, uid, {path: headers[path] for path in by_uid[uid]})


def find_series(root: str | Path) -> dict[str, Path]:
    """Find the folders with DICOM files at and below a folder; one header is read per folder.

    Args:
        root: The folder to search.

    Returns:
        SeriesInstanceUID -> folder, the first by path if a series is in several.

    Raises:
        NASError: If a folder has damaged DICOM files only.
    """
    folders: dict[str, Path] = {}
    for folder in sorted(path for path in [Path(root), *Path(root).rglob("*")] if path.is_dir()):
        if (header := _first_header(folder)) is not None:
            folders.setdefault(str(header.get("SeriesInstanceUID")), folder)
    return folders


def _first_header(folder: Path) -> Any | None:
    damaged: NASError | None = None
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            if (header := read_header(path)) is not None:
                return header
        except NASError as error:
            if path.suffix.lower() in (".dcm", ".dicom", ".ima"):  # other files may be of any kind in such a tree
                damaged = damaged or error
    if damaged is not None:
        raise damaged
    return None


def _ordered(folder: Path, uid: str, headers: dict[Path, Any]) -> DicomSeries:
    slices = [slice_of(path, header) for path, header in headers.items()]
    first = slices[0]
    others = [slice_ for slice_ in slices if not _alike(first, slice_)]
    if others:
        grids = {(slice_.sides, slice_.spacing_mm, slice_.row, slice_.column) for slice_ in (first, *others)}
        raise NASError(
            f"slices of {len(grids)} different grids in series {uid} of {folder}, such as {first.path.name} and "
            f"{others[0].path.name}",
            "one size, spacing and orientation",
            "remove scouts and reformatted slices from the folder",
        )
    for slice_ in slices:
        require_complete(slice_, headers[slice_.path])
    row, column = np.array(first.row), np.array(first.column)
    if np.abs([np.linalg.norm(row) - 1, np.linalg.norm(column) - 1]).max() > 0.01:
        raise NASError(f"ImageOrientationPatient in {first.path}", "two vectors of length 1", "correct the tag")
    in_plane = np.column_stack([row * first.spacing_mm[1], column * first.spacing_mm[0], np.cross(row, column)])
    size = (first.sides[1], first.sides[0], 1)
    geometry = geometry_of(in_plane, first.position_mm, size, f"{first.path} (ImageOrientationPatient)")
    normal = geometry.direction_33[:, 2]
    slices.sort(key=lambda slice_: (float(normal @ np.array(slice_.position_mm)), slice_.path))
    position_mm = np.array([float(normal @ np.array(slice_.position_mm)) for slice_ in slices])
    gaps = np.diff(position_mm)
    apart = gaps[gaps > 1e-3]
    return DicomSeries(
        folder=folder,
        uid=uid,
        modality=first.modality,
        patient=str(headers[first.path].get("PatientID", "")),
        slices=tuple(slices),
        position_mm=position_mm,
        between_mm=float(np.median(apart)) if len(apart) else 0.0,
    )


def _alike(first: Slice, other: Slice) -> bool:
    """Check that the pixels of two slices are at the same places, within `SIDEWAYS` pixels at the corners."""
    if first.sides != other.sides:
        return False
    half_rows, half_columns = (side / 2 for side in first.sides)
    steps = [
        [np.array(s.row) * s.spacing_mm[1] * half_columns, np.array(s.column) * s.spacing_mm[0] * half_rows]
        for s in (first, other)
    ]
    moved = sum(np.linalg.norm(a - b) for a, b in zip(*steps, strict=True))
    return bool(moved <= SIDEWAYS * min(first.spacing_mm))


def _first_damaged(files: list[str]) -> str:
    """Return the first file that ITK cannot read."""
    sitk = medical("SimpleITK")
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(file)
        try:
            reader.Execute()
        except RuntimeError:
            return file
    return ""
