"""One DICOM series in a folder: its slices in order along the normal, checked before any pixel is read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.images import medical
from nas.errors import NASError

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
# What ITK decodes: uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000.
_IMPLICIT = "1.2.840.10008.1.2"
_DECODED = {_IMPLICIT} | {
    f"{_IMPLICIT}.{end}"
    for end in ("1", "1.99", "2", "5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
}


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """Slices in order along their normal, at the distances position_mm (N,); z_mm (N,) is z of ImagePositionPatient.

    modality: "CT", "MR", "PT" …, "" where the files do not say.
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
        """Whether no slice is missing or doubled among `first` to `last`: distances agree within a tenth."""
        gaps = np.diff(self.position_mm[first : None if last is None else last + 1])
        return len(gaps) > 0 and bool((np.abs(gaps - np.median(gaps)) <= 0.1 * np.median(gaps)).all())

    def read(self, first: int = 0, last: int | None = None) -> Image:
        """The slices `first` to `last` (included) as one volume of rescaled values (HU for CT).

        Raises NASError for uneven distances (a missing or doubled slice) among them, and for a file cut short.
        """
        sitk = medical("SimpleITK")
        part = slice(first, None if last is None else last + 1)
        gaps = np.diff(self.position_mm[part])
        if len(gaps) == 0:
            raise NASError(f"one slice of series {self.uid} in {self.folder}", "a volume", "give the whole series")
        if not self.even(first, last):
            raise self._uneven(gaps, self.files[part])
        try:
            # ITK takes the type of the first slice for all: slices with rescales of their own need floats.
            return sitk.ReadImage(self.files[part], sitk.sitkUnknown if self.one_rescale else sitk.sitkFloat32)
        except RuntimeError as error:
            told = [line for line in str(error).splitlines() if line.strip()][-1]
            raise NASError(
                f"a DICOM file in {self.folder} that cannot be read ({told.strip()})",
                "complete DICOM files",
                "fetch the series again",
            ) from error

    def _uneven(self, gaps: np.ndarray, files: tuple[str, ...]) -> NASError:
        """Doubled slices are told before missing ones: they make the usual distance look uneven."""
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
            f"{gaps[widest]:.2f} mm between {pair} in {self.folder}, where slices are {np.median(gaps):.2f} mm apart",
            "slices at even distances",
            "fetch the missing slices",
        )


def open_series(folder: str | Path, uid: str | None = None) -> DicomSeries:
    """The series of a folder; other files (XML, notes) may lie beside the slices.

    uid: SeriesInstanceUID where the folder may hold several; without it, a second series is a NASError, as are a
    folder without DICOM slices, slices that differ in size, spacing or orientation, and a compression that cannot be
    decoded.
    """
    folder = Path(folder)
    headers = {str(path): header for path in sorted(folder.iterdir()) if (header := read_header(path)) is not None}
    by_uid: dict[str, list[str]] = defaultdict(list)
    for path, header in headers.items():
        by_uid[str(header.get("SeriesInstanceUID"))].append(path)
    if not by_uid:
        raise NASError(f"no DICOM file in {folder}", "a folder with one DICOM series", "mend the path")
    if uid is None and len(by_uid) > 1:
        raise NASError(
            f"{len(by_uid)} series in {folder} ({', '.join(f'{n} files of {u}' for u, n in _counts(by_uid))})",
            "one DICOM series a folder",
            "put each series into a folder of its own",
        )
    uid = next(iter(by_uid)) if uid is None else uid
    if uid not in by_uid:
        raise NASError(f"no series {uid} in {folder}", "its slices", "mend the path")
    return _ordered(folder, uid, {path: headers[path] for path in by_uid[uid]})


def find_series(root: str | Path) -> dict[str, Path]:
    """SeriesInstanceUID -> folder, for every folder below root; one header is read of each folder with DICOM files."""
    found: dict[str, Path] = {}
    for folder in sorted(path for path in [Path(root), *Path(root).rglob("*")] if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        header = next((header for path in files if (header := read_header(path)) is not None), None)
        if header is not None:
            found.setdefault(str(header.get("SeriesInstanceUID")), folder)
    return found


def read_header(path: Path) -> Any | None:
    """The tags used here; None for a folder, a hidden file and what is not DICOM."""
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
                "slices of a CT or MR series, one a file",
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
