"""The formats of image files that are read, recognised by their content. All others are refused."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from nas.data.io.files import companions, split_name
from nas.data.io.limits import Limit
from nas.errors import NASError

HEAD = 4096  # bytes that are enough to recognise a format
GZIP = b"\x1f\x8b"
NIFTI_MAGIC = {b"n+1\0": 1, b"ni1\0": 1, b"n+2\0": 2, b"ni2\0": 2}  # -> version; "i" for pairs of header and data
PREAMBLE = 128  # bytes before the mark of a DICOM file


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is read.

    Attributes:
        name: Its name.
        endings: Usual endings of its files, in lower case; the content decides.
        detail: The variants that are read.
    """

    name: str
    endings: tuple[str, ...]
    detail: str


NIFTI = Format(
    "NIfTI",
    (".nii", ".nii.gz", ".hdr", ".img", ".img.gz"),
    "NIfTI-1 and NIfTI-2, one file or header and data, either byte order, gzip",
)
NRRD = Format("NRRD", (".nrrd", ".nhdr"), "raw, text, hex and gzip; data in the file or beside it")
META_IMAGE = Format("MetaImage", (".mha", ".mhd"), "raw and zlib; data in the file or beside it")
NPY = Format("NumPy", (".npy",), "axes (D, H, W) or (C, D, H, W); voxel size from `npy_spacing_mm`")
FORMATS = (NIFTI, NRRD, META_IMAGE, NPY)

# Formats that are named in the message of their refusal: start of the content -> name.
OTHERS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"\x89HDF": "HDF5 or MINC 2",
    b"CDF\x01": "NetCDF or MINC 1",
    b"CDF\x02": "NetCDF or MINC 1",
    b"# vtk": "VTK",
    b"PK\x03\x04": "ZIP or .npz",
    b"\0\0\0\x01\0\0": "MGH",
    b"%PDF": "PDF",
}

LIMITS = (
    *(Limit("Image files", f"{form.name} ({', '.join(form.endings)})", "read", form.detail) for form in FORMATS),
    Limit(
        "Image files",
        "all other formats: "
        + ", ".join(sorted(dict.fromkeys(OTHERS.values())))
        + ", Analyze 7.5, a single DICOM file",
        "refused",
        "orientation or units are missing or ambiguous; convert to NIfTI (for DICOM give the folder of the series)",
    ),
    Limit("Image files", "an ending in upper case, or that of another format", "read", "the content decides"),
    Limit("Image files", "an incomplete file, of any format", "refused", "copy the file again"),
    Limit("Image files", "NaN or infinite voxels, of any format", "refused", "repair the volume"),
    Limit("Image files", "colour or complex voxels, a single slice", "refused", "give volumes of real numbers"),
)


def format_of(path: Path) -> Format:
    """Recognise the format of a file by its content.

    Args:
        path: A file.

    Returns:
        One of `FORMATS`.

    Raises:
        NASError: If it is another format, empty or damaged.
    """
    header = header_of(path)
    head = head_of(header)
    if head.startswith(b"NRRD000"):
        return NRRD
    if head.startswith(b"\x93NUMPY"):
        return NPY
    if nifti_version(head):
        return NIFTI
    if re.search(rb"(?m)^\s*NDims\s*=", head):
        return META_IMAGE
    raise unreadable(path, _reason(header, head))


def header_of(path: Path) -> Path:
    """Return the file with the header: of the data file of a pair (.img) its .hdr, else the file itself.

    Args:
        path: A file.

    Returns:
        The file with the header.

    Raises:
        NASError: If the header of a data file is missing.
    """
    if split_name(path)[1] not in (".img", ".img.gz"):
        return path
    found = companions(path)
    if not found:
        raise unreadable(path, "its header, the file .hdr of the same name, is missing")
    return found[0]


def head_of(path: Path) -> bytes:
    """Read the beginning of a file, decompressed if it is compressed by gzip.

    Args:
        path: A file.

    Returns:
        At most `HEAD` bytes.

    Raises:
        NASError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head.startswith(GZIP):
            with gzip.open(path) as file:
                return file.read(HEAD)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    return head


def nifti_version(head: bytes) -> int:
    """Return the version of NIfTI that a header states.

    Args:
        head: The beginning of the file.

    Returns:
        1 or 2; 0 if it is no NIfTI.
    """
    return NIFTI_MAGIC.get(head[344:348]) or NIFTI_MAGIC.get(head[4:8]) or 0


def is_dicom(head: bytes) -> bool:
    """Check whether a file is DICOM, with or without preamble and meta group.

    Args:
        head: The beginning of the file.

    Returns:
        Whether the mark is there, or the first element is one of group 2 or 8.
    """
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return True
    if len(head) < 8 or head[:4] == b"\0" * 4:
        return False
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[n : n + 2], order) for n in (0, 2))
        length = int.from_bytes(head[4:8], order)
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        if group in (2, 8) and element < 0x2000 and (explicit or (length < HEAD and length % 2 == 0)):
            return True
    return False


def unreadable(path: Path, error: Exception | str) -> NASError:
    """Describe a file that a reader cannot read.

    Args:
        path: The file.
        error: The reason, or the error of the reader, whose last line is taken.

    Returns:
        The error to raise.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "No such file" not in line), type(error).__name__)
    if reason == "Reason: Success":  # of ITK
        reason = "the data are incomplete"
    return NASError(
        f"{path}, which cannot be read ({reason})",
        "a complete NIfTI, NRRD, MetaImage or .npy file, or a folder with a DICOM series",
        "copy the file again, or convert it",
    )


def _reason(header: Path, head: bytes) -> str:
    if not head:
        return f"{header.name} is empty"
    if is_dicom(head):
        return "a single DICOM file; give the folder of its series"
    if int.from_bytes(head[:4], "little") == 348 or int.from_bytes(head[:4], "big") == 348:
        return "Analyze 7.5 or a damaged NIfTI header; Analyze states no orientation"
    name = next((name for start, name in OTHERS.items() if head.startswith(start)), "")
    return f"{name} is not a supported format" if name else "no supported format"
