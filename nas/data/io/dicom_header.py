"""Headers of DICOM files: which kinds are read, and every tag that decides geometry or values, or its fault by name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.io.formats import HEAD, is_dicom
from nas.data.io.limits import Limit
from nas.errors import NASError, first_line
from nas.utils.optional import medical

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "PatientID")
_GEOMETRY = ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames")
_VALUES = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit")
_SIGN = ("PixelRepresentation", "Units")
_RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence")
_TAGS = [*_IDENTITY, *_GEOMETRY, *_VALUES, *_SIGN, *_RESCALE]
# Kinds of objects that are read: SOP class -> modality. All others are refused.
STORAGE = "1.2.840.10008.5.1.4.1.1"
SOP_CLASSES = {f"{STORAGE}.2": "CT", f"{STORAGE}.4": "MR", f"{STORAGE}.128": "PT"}
NEED_RESCALE = ("CT", "PT")  # modalities whose values have a unit
HU_TYPES = ("", "HU", "US")  # RescaleType of CT: not stated, HU, "unspecified"; others are maps of dual-energy CT
PHOTOMETRIC = ("MONOCHROME2",)
BITS = (8, 16, 32)
# Transfer syntaxes that are read: uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000; deflated files may inflate endlessly.
IMPLICIT = "1.2.840.10008.1.2"
UNCOMPRESSED = (IMPLICIT, f"{IMPLICIT}.1", f"{IMPLICIT}.2")
DECODED = {*UNCOMPRESSED} | {
    f"{IMPLICIT}.{end}" for end in ("5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
}
# Files that may lie beside slices. Every other file of a folder has to be a readable DICOM file.
BESIDE = {
    *(".xml", ".txt", ".json", ".csv", ".tsv", ".md", ".pdf", ".html", ".htm", ".log", ".yaml", ".yml"),
    *(".ini", ".doc", ".docx", ".xls", ".xlsx", ".rtf", ".xsl", ".css", ".png", ".jpg", ".jpeg", ".gif"),
    *(".bmp", ".svg", ".tif", ".tiff", ".zip", ".tar", ".tgz", ".7z", ".exe", ".inf", ".db", ".bval"),
    *(".bvec", ".md5", ".sha256", ".nii", ".gz", ".nrrd", ".nhdr", ".mhd", ".mha", ".raw", ".zraw", ".npy"),
    *(".npz", ".h5", ".py", ".sh", ".lnk", ".url", ".jar", ".dll", ".js", ".ico"),
}
NAMES_BESIDE = {"README", "LICENSE", "LICENCE", "COPYING", "CHANGES", "VERSION", "MD5SUMS", "SHA256SUMS", "DICOMDIR"}
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
COPY = "copy the file again, or remove it if it is no slice of the series"
CONVERT = "convert the series to NIfTI (dcm2niix)"

LIMITS = (
    Limit(
        "DICOM series", "single-frame CT, MR and PET images (SOP classes " + ", ".join(SOP_CLASSES) + ")", "read", ""
    ),
    Limit(
        "DICOM series",
        "all other SOP classes: enhanced multi-frame, RTDOSE, SEG, secondary capture, ultrasound ...",
        "refused",
        CONVERT,
    ),
    Limit("DICOM series", "MONOCHROME1, colour, palettes, several frames, a modality LUT", "refused", CONVERT),
    Limit(
        "DICOM series",
        "CT and PET without RescaleSlope and RescaleIntercept",
        "refused",
        "values have no unit; if they are HU (PET: activity) already, set `data.values_in_hu=true` or `--values-in-hu`",
    ),
    Limit(
        "DICOM series",
        "an empty or malformed tag of geometry or values (RescaleSlope, PixelSpacing, ImagePositionPatient, Rows ...)",
        "refused",
        "the message names tag and file",
    ),
    Limit("DICOM series", "CT with another RescaleType than HU, such as MGML or Z_EFF", "refused", "give the CT in HU"),
    Limit("DICOM series", "files without preamble and meta group", "read", ""),
    Limit(
        "DICOM series",
        "a file of the folder that is empty, incomplete or no DICOM",
        "refused",
        "the message names the file; hidden files, DICOMDIR, READMEs and files with endings of other kinds "
        f"({', '.join(sorted(BESIDE)[:12])} ...) may lie beside the slices",
    ),
    Limit(
        "DICOM series",
        "uncompressed, RLE, JPEG, JPEG-LS and JPEG 2000 (" + ", ".join(sorted(DECODED)) + ")",
        "read",
        "other transfer syntaxes are refused: decompress the files (gdcmconv --raw)",
    ),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """Facts that one file states about its slice.

    Attributes:
        path: The file.
        uid: SOPInstanceUID, "" if the file does not state it.
        modality: Modality, "CT", "MR" or "PT"; by the SOP class if the file does not state it.
        needs_rescale: Whether its values have a unit, by modality or SOP class.
        units: Tag Units of PET, else "".
        sides: Rows and columns.
        spacing_mm: Distances between rows and between columns.
        row: Direction of increasing columns (LPS).
        column: Direction of increasing rows.
        position_mm: World point of the first pixel.
        rescale: Slope and intercept; None if the file has neither.
        stored: BitsAllocated and PixelRepresentation.
    """

    path: Path
    uid: str
    modality: str
    needs_rescale: bool
    units: str
    sides: tuple[int, int]
    spacing_mm: tuple[float, float]
    row: tuple[float, ...]
    column: tuple[float, ...]
    position_mm: tuple[float, ...]
    rescale: tuple[float, float] | None
    stored: tuple[int, int]


def read_header(path: Path) -> Any | None:
    """Read the header of a DICOM file.

    Args:
        path: Any path.

    Returns:
        The tags that are used here, with the attribute `bytes_of_pixels`; None for a folder, a hidden file, and a file
        of another kind that may lie beside slices.

    Raises:
        NASError: If the file should be a slice and cannot be read.
    """
    pydicom = medical("pydicom")
    if not path.is_file() or path.name.startswith(".") or path.stem.upper() in NAMES_BESIDE:
        return None
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values are checked in `slice_of`
            if not is_dicom(head := file.read(HEAD)):
                if path.suffix.lower() in BESIDE and not any(end in path.name.lower() for end in DICOM_ENDINGS):
                    return None
                raise _damaged(path, "no DICOM content" if head else "empty")
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            header.bytes_of_pixels = path.stat().st_size - file.tell()
            if not str(header.get("SeriesInstanceUID") or ""):
                raise _damaged(path, "no SeriesInstanceUID; the header may be incomplete")
            if header.bytes_of_pixels == 0 and str(header.get("SOPClassUID")) in SOP_CLASSES:
                raise _damaged(path, "it ends before its last pixel")
    except NASError:
        raise
    except Exception as error:  # pydicom raises many types for broken files
        raise _damaged(path, first_line(error)) from error
    return header


def slice_of(path: Path, header: Any) -> Slice:
    """Check the header of a slice.

    Args:
        path: The file.
        header: As `read_header` returns it.

    Returns:
        Geometry and values of the slice.

    Raises:
        NASError: If the file is of a kind that is not read, or a tag is missing, empty or malformed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = _kind(path, header)
        modality = str(header.get("Modality") or kind)
        slope = _numbers(path, header, "RescaleSlope", 1, needed=False)
        intercept = _numbers(path, header, "RescaleIntercept", 1, needed=False)
        unit = str(header.get("RescaleType") or "")
        if kind == "CT" and unit not in HU_TYPES:
            raise NASError(f"RescaleType={unit} in {path}", "a CT in HU", "give the CT of the same study that is in HU")
        if slope == (0.0,):
            raise _malformed(path, "RescaleSlope", "0", "a number other than 0")
        spacing = _numbers(path, header, "PixelSpacing", 2)
        orientation = _numbers(path, header, "ImageOrientationPatient", 6)
        if min(spacing) <= 0:
            raise _malformed(path, "PixelSpacing", _shown(header, "PixelSpacing"), "two distances above 0")
        return Slice(
            path,
            str(header.get("SOPInstanceUID") or ""),
            modality,
            kind in NEED_RESCALE or modality in NEED_RESCALE,
            str(header.get("Units", "")),
            (_count(path, header, "Rows"), _count(path, header, "Columns")),
            (spacing[0], spacing[1]),
            orientation[:3],
            orientation[3:],
            _numbers(path, header, "ImagePositionPatient", 3),
            (slope[0], intercept[0]) if slope and intercept else None,
            (_count(path, header, "BitsAllocated"), int(header.get("PixelRepresentation") or 0)),
        )


def require_complete(slice_: Slice, header: Any) -> None:
    """Check that all pixels of an uncompressed file are there.

    Args:
        slice_: The slice.
        header: Its header.

    Raises:
        NASError: If the file ends before its last pixel.
    """
    rows, columns = slice_.sides
    needed = rows * columns * slice_.stored[0] // 8 if _syntax(header) in UNCOMPRESSED else 1
    tag = 8 if header.original_encoding[0] else 12
    if header.bytes_of_pixels < tag + needed:
        raise _damaged(slice_.path, "it ends before its last pixel")


def require_unit(slices: Mapping[str, Slice] | list[Slice], values_in_hu: bool) -> None:
    """Check that the unit of the values is known: the one gate of all readers of CT and PET.

    Args:
        slices: The slices of a series.
        values_in_hu: Whether values without rescale tags are HU (PET: activity) already.

    Raises:
        NASError: If a slice of CT or PET has no RescaleSlope and RescaleIntercept, and this is not stated.
    """
    if values_in_hu:
        return
    listed = slices.values() if isinstance(slices, Mapping) else slices
    bare = next((s for s in listed if s.needs_rescale and s.rescale is None), None)
    if bare is not None:
        raise NASError(
            f"no RescaleSlope or no RescaleIntercept in {bare.path}",
            f"values of a known unit ({'activity' if bare.modality == 'PT' else 'HU'})",
            "fetch the series again; if the stored values are in HU (PET: activity) already, set values_in_hu "
            "(data.values_in_hu=true, --values-in-hu)",
        )


def _kind(path: Path, header: Any) -> str:
    """Return the modality, or refuse what is no grey slice with one linear scale of values."""
    uid = str(header.get("SOPClassUID") or "")
    if uid not in SOP_CLASSES:
        name = getattr(header.get("SOPClassUID"), "name", "") or "no SOPClassUID"
        raise NASError(
            f"the kind {name} ({uid}) in {path}" if uid else f"no SOPClassUID in {path}",
            "single-frame images of CT, MR or PET",
            f"give the folder of the original images, or {CONVERT}",
        )
    syntax = _syntax(header)
    if syntax not in DECODED:
        raise NASError(
            f"pixels compressed as {getattr(syntax, 'name', syntax)} in {path}",
            "DICOM files that are uncompressed, or compressed as RLE, JPEG, JPEG-LS or JPEG 2000",
            f"decompress them (gdcmconv --raw, dcmdjpeg), or {CONVERT}",
        )
    frames = header.get("NumberOfFrames")
    if frames not in (None, "", 1):
        raise NASError(f"NumberOfFrames={frames} in {path}", "one slice per file", CONVERT)
    samples, photometric = (
        header.get("SamplesPerPixel", 1),
        str(header.get("PhotometricInterpretation", PHOTOMETRIC[0])),
    )
    if samples not in (None, 1) or photometric not in PHOTOMETRIC:
        raise NASError(
            f"PhotometricInterpretation={photometric}, SamplesPerPixel={samples} in {path}",
            f"{', '.join(PHOTOMETRIC)} with one sample (MONOCHROME1 is inverted by some programs)",
            CONVERT,
        )
    if "ModalityLUTSequence" in header:
        raise NASError(f"ModalityLUTSequence in {path}", "RescaleSlope and RescaleIntercept", CONVERT)
    if (bits := _count(path, header, "BitsAllocated")) not in BITS:
        raise _malformed(path, "BitsAllocated", str(bits), ", ".join(map(str, BITS)))
    stored = _optional(header, "BitsStored", bits)
    if not 1 <= stored <= bits:
        raise _malformed(path, "BitsStored", str(stored), f"1 to {bits}")
    if (high := _optional(header, "HighBit", stored - 1)) != stored - 1:
        raise _malformed(path, "HighBit", str(high), f"{stored - 1}, which is BitsStored - 1")
    if (sign := _optional(header, "PixelRepresentation", 0)) not in (0, 1):
        raise _malformed(path, "PixelRepresentation", str(sign), "0 (unsigned) or 1 (signed)")
    return SOP_CLASSES[uid]


def _syntax(header: Any) -> Any:
    meta = getattr(header, "file_meta", None)
    found = None if meta is None else meta.get("TransferSyntaxUID")
    if found is None:  # no meta group: pydicom has seen how the elements are written
        little = header.original_encoding[1] is not False
        return IMPLICIT if header.original_encoding[0] else f"{IMPLICIT}.{1 if little else 2}"
    return found


def _numbers(path: Path, header: Any, name: str, count: int, needed: bool = True) -> tuple[float, ...]:
    """Return the numbers of a tag; () if it is missing and not needed."""
    if name not in header:
        if needed:
            raise NASError(f"no {name} in {path}", "a slice with position, orientation and pixel spacing", CONVERT)
        return ()
    words = _shown(header, name).split("\\")
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise _malformed(path, name, _shown(header, name), "a number" if count == 1 else f"{count} numbers")
    return numbers


def _count(path: Path, header: Any, name: str) -> int:
    try:
        number = int(header[name].value)
    except KeyError:
        raise NASError(f"no {name} in {path}", "a slice with its pixels", COPY) from None
    except Exception:  # as the value is anything
        number = 0
    if number < 1:
        raise _malformed(path, name, _shown(header, name), "a whole number above 0")
    return number


def _optional(header: Any, name: str, default: int) -> int:
    """Return the whole number of a tag; -1 if it is malformed, the default if it is missing or empty."""
    try:
        value = header.get(name)
        return default if value in (None, "") else int(value)
    except Exception:  # as in `_count`
        return -1


def _shown(header: Any, name: str) -> str:
    """Return the text of a tag as it is stored; pydicom raises for text that is no number."""
    value = header.get_item(name).value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else "\\".join(map(str, value))


def _malformed(path: Path, name: str, value: str, expected: str) -> NASError:
    shown = repr(value) if value.isprintable() and len(value) < 80 else repr(value[:40])
    return NASError(f"{name}={shown if value else 'empty'} in {path}", expected, f"correct the tag, or {CONVERT}")


def _damaged(path: Path, reason: str) -> NASError:
    return NASError(f"{path}, which cannot be read ({reason})", "complete DICOM files", COPY)
