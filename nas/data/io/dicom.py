"""One DICOM series in a folder: its slices in order along the normal, checked before any pixel is read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import NASError, last_line
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "PatientID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
]
# Transfer syntaxes that ITK decodes: uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000.
_IMPLICIT = "1.2.840.10008.1.2"
_DECODED = {_IMPLICIT} | {
    f"{_IMPLICIT}.{end}"
    for end in ("1", "1.99", "2", "5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
}


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """The slices of one series, in order along their normal.

    Attributes:
        folder: The folder of the files.
        uid: SeriesInstanceUID.
        modality: "CT", "MR", "PT" …, "" if the files do not state it.
        patient: PatientID, "" if the files do not state it.
        files: (N,) paths.
        position_mm: (N,) position along the normal.
        z_mm: (N,) z of ImagePositionPatient.
        one_rescale: Whether all slices have the same rescale slope and intercept.
    """

    folder: Path
    uid: str
    modality: str
    patient: str
    files: tuple[str, ...]
    position_mm: np.ndarray
    z_mm: np.ndarray
    one_rescale: bool

    def even(self, first: int = 0, last: int | None = None) -> bool:
        """Check that no slice is missing or doubled: distances agree within a tenth.

        Args:
            first: First slice.
            last: Last slice, included. If None, the last of the series.

        Returns:
            Whether the distances agree; False for less than two slices.
        """
        gaps = np.diff(self.position_mm[first : None if last is None else last + 1])
        return len(gaps) > 0 and bool((np.abs(gaps - np.median(gaps)) <= 0.1 * np.median(gaps)).all())

    def read(self, first: int = 0, last: int | None = None) -> Image:
        """Read slices as one volume of rescaled values (HU for CT).

        Args:
            first: First slice.
            last: Last slice, included. If None, the last of the series.

        Returns:
            The volume.

        Raises:
            NASError: If there is one slice only, a slice is missing or doubled, or a file is incomplete.
        """
        sitk = medical("SimpleITK")
        chosen = slice(first, None if last is None else last + 1)
        gaps = np.diff(self.position_mm[chosen])
        if len(gaps) == 0:
            raise NASError(f"one slice of series {self.uid} in {self.folder}", "a volume", "give the whole series")
        if not self.even(first, last):
            raise self._uneven(gaps, self.files[chosen])
        try:
            # ITK uses the type of the first slice for all: slices with rescales of their own need floats
            return sitk.ReadImage(self.files[chosen], sitk.sitkUnknown if self.one_rescale else sitk.sitkFloat32)
        except RuntimeError as error:
            raise NASError(
                f"a DICOM file in {self.folder} that cannot be read ({last_line(error)})",
                "complete DICOM files",
                "fetch the series again",
            ) from error

    def _uneven(self, gaps: np.ndarray, files: tuple[str, ...]) -> NASError:
        """Describe doubled slices first, because they change the median distance that missing ones are found by."""
        doubled = np.flatnonzero(gaps <= 0.1 * np.median(gaps))
        if len(doubled):
            pair = " and ".join(Path(file).name for file in files[doubled[0] : doubled[0] + 2])
            return NASError(
                f"{len(doubled)} slices that are there twice in {self.folder}, such as {pair}",
                "slices at even distances, each once",
                "remove the copies, or put each reconstruction into a folder of its own",
            )
        widest = int(gaps.argmax())
        pair = " and ".join(Path(file).name for file in files[widest : widest + 2])
        return NASError(
            f"{gaps[widest]:.2f} mm between {pair} in {self.folder}, whose slices are {np.median(gaps):.2f} mm apart",
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
        NASError: If there is no DICOM slice or no series `uid`, if there are several series and no `uid`, if slices
            differ in size, spacing or orientation, and if they are compressed in a way that cannot be decoded.
    """
    folder = Path(folder)
    headers = {str(path): header for path in sorted(folder.iterdir()) if (header := read_header(path)) is not None}
    by_uid: dict[str, list[str]] = defaultdict(list)
    for path, header in headers.items():
        by_uid[str(header.get("SeriesInstanceUID"))].append(path)
    if not by_uid:
        raise NASError(f"no DICOM file in {folder}", "a folder with one DICOM series", "correct the path")
    if uid is None and len(by_uid) > 1:
        raise NASError(
            f"{len(by_uid)} series in {folder} ({', '.join(f'{n} files of {u}' for u, n in _counts(by_uid))})",
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
    """
    folders: dict[str, Path] = {}
    for folder in sorted(path for path in [Path(root), *Path(root).rglob("*")] if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        header = next((header for path in files if (header := read_header(path)) is not None), None)
        if header is not None:
            folders.setdefault(str(header.get("SeriesInstanceUID")), folder)
    return folders


def read_header(path: Path) -> Any | None:
    """Read the header of a DICOM file.

    Args:
        path: Any path.

    Returns:
        The tags that are used here; None for a folder, a hidden file, a DICOMDIR and a file that is not DICOM.
    """
    pydicom = medical("pydicom")
    if not path.is_file() or path.name.startswith(".") or path.name == "DICOMDIR":
        return None
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (pydicom.errors.InvalidDicomError, EOFError):
        return None


def _ordered(folder: Path, uid: str, headers: dict[str, Any]) -> DicomSeries:
    grids = set()
    for path, header in headers.items():
        syntax = header.file_meta.get("TransferSyntaxUID", _IMPLICIT)
        if syntax not in _DECODED:
            raise NASError(
                f"pixels compressed as {getattr(syntax, 'name', syntax)} in {path}",
                "DICOM files that are uncompressed, or compressed as RLE, JPEG, JPEG-LS or JPEG 2000",
                "decompress them (gdcmconv --raw, dcmdjpeg), or convert the series to NIfTI (dcm2niix)",
            )
        if any(header.get(tag) is None for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
            raise NASError(
                f"no position, orientation or pixel spacing in {path}",
                "slices of a CT or MR series, one per file",
                "convert the series to NIfTI (dcm2niix)",
            )
        orientation = tuple(round(float(v), 3) for v in header.ImageOrientationPatient)
        spacing = tuple(round(float(v), 4) for v in header.PixelSpacing)
        grids.add((int(header.Rows), int(header.Columns), spacing, orientation))
    if len(grids) > 1:
        raise NASError(
            f"slices of {len(grids)} different grids in series {uid} of {folder}",
            "one size, spacing and orientation",
            "remove scouts and reformatted slices from the folder",
        )
    first = next(iter(headers.values()))
    row, column = np.reshape([float(v) for v in first.ImageOrientationPatient], (2, 3))
    normal = np.cross(row, column)
    along = {path: float(normal @ [float(v) for v in h.ImagePositionPatient]) for path, h in headers.items()}
    files = sorted(along, key=lambda path: along[path])
    rescales = {(float(h.get("RescaleSlope", 1)), float(h.get("RescaleIntercept", 0))) for h in headers.values()}
    return DicomSeries(
        folder=folder,
        uid=uid,
        modality=str(first.get("Modality", "")),
        patient=str(first.get("PatientID", "")),
        files=tuple(files),
        position_mm=np.array([along[path] for path in files]),
        z_mm=np.array([float(headers[path].ImagePositionPatient[2]) for path in files]),
        one_rescale=len(rescales) == 1,
    )


def _counts(by_uid: dict[str, list[str]]) -> list[tuple[str, int]]:
    return [(uid, len(paths)) for uid, paths in by_uid.items()]
