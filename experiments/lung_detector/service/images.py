"""Reading of an uploaded PNG or DICOM slice within limits.

Headers are read first; nothing is decompressed and no memory is reserved for pixels before their number is known to be
within the limits. Compressed and deflated DICOM is refused, so that no decoder runs on unknown bytes and few bytes
cannot become gigabytes. Only the pixels of a file are kept; a message names its kind and nothing else.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from experiments.lung_detector.service.refusal import Refusal
from nas.data.io.limits import Limit

if TYPE_CHECKING:
    from experiments.lung_detector.predictor import Units

PNG_START = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
MOST_CHUNKS = 10_000  # an image of 16 MiB has 2,048 of libpng's 8 KiB
DICOM_MARK = slice(128, 132)
SHOWN_HU = (-1000.0, 400.0)  # air to bone: lung and soft tissue in one picture, for people
LEAST_WHITE = 2**15  # a PNG of 16 bits with lower values only holds fewer bits, such as 12, and would be black
LEAST_AXIAL = 0.7  # cosine between the normal of a slice and the patient's axis; gantries tilt by up to 30 degrees
UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
TAGS = (
    *("Modality", "ImageType", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns"),
    *(
        "ImageOrientationPatient",
        "ModalityLUTSequence",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
        "PixelData",
    ),
)
LIMITS = (
    Limit("Uploads to the service", "PNG of 8 or 16 bits", "read", "as grey values; colours are turned to grey"),
    Limit(
        "Uploads to the service",
        f"PNG of 16 bits without a value of {LEAST_WHITE} or more",
        "refused",
        "fewer bits are in use, and the image would be nearly black; scale the values, or send DICOM",
    ),
    Limit(
        "Uploads to the service",
        "one axial CT slice in uncompressed DICOM, MONOCHROME2, with rescale slope and intercept",
        "read",
        "in HU",
    ),
    Limit(
        "Uploads to the service",
        "other modalities, localizers, sagittal and coronal slices, several frames, colours, MONOCHROME1, compressed "
        "DICOM, other formats",
        "refused",
        "send one axial CT slice",
    ),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an upload.

    Attributes:
        most_bytes: Maximum size of the file.
        most_pixels: Maximum of height times width.
        least_side: Minimum length of the shorter side in pixels.
    """

    most_bytes: int = 16 * 2**20
    most_pixels: int = 2048 * 2048
    least_side: int = 32


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A slice of an upload.

    Attributes:
        pixels_HW: (H, W) float32.
        units: "hu" for Hounsfield units, "grey" for grey values in [0, 1].
    """

    pixels_HW: np.ndarray
    units: Units

    def shown(self) -> np.ndarray:
        """Return the slice for display; Hounsfield units are shown in the window SHOWN_HU.

        Returns:
            (H, W) uint8.
        """
        low, high = SHOWN_HU if self.units == "hu" else (0.0, 1.0)
        return np.rint(np.clip((self.pixels_HW - low) / (high - low), 0, 1) * 255).astype(np.uint8)


class _FewReads(io.BytesIO):
    """A file with a limit of reads: millions of empty DICOM elements would keep a reader busy for minutes."""

    left = 20_000

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _no_slice("DICOM of too many elements", "a few hundred")
        return super().read(size)


def read_slice(content: bytes, limits: Limits) -> Slice:
    """Read a PNG or DICOM file; its first bytes decide which of both it is.

    Args:
        content: The file.
        limits: Limits of its size.

    Returns:
        The slice.

    Raises:
        Refusal: 400 for a truncated or broken file, 413 beyond the limits, 415 for other formats and compressed DICOM,
            422 for a file that is not a single CT slice.
    """
    if content.startswith(PNG_START):
        return _read_png(content, limits)
    if content[DICOM_MARK] == b"DICM":
        return _read_dicom(content, limits)
    raise Refusal(415, "a file that is neither PNG nor DICOM", "a PNG or one DICOM slice", "send the .png or .dcm file")


def _read_png(content: bytes, limits: Limits) -> Slice:
    if content[12:16] != b"IHDR" or len(content) < 24:
        raise _broken("PNG")
    width, height = struct.unpack(">II", content[16:24])
    _check_size(height, width, limits)
    try:
        with Image.open(io.BytesIO(_pixels_only(content, limits)), formats=["PNG"]) as image:
            _check_size(image.height, image.width, limits)
            deep = image.mode in ("I;16", "I")  # one channel of 16 bits
            grey_HW = np.asarray(image if deep else image.convert("L"), dtype=np.float32)
    except Refusal:
        raise
    except Exception as error:  # Pillow raises many types for broken files, SyntaxError among them
        raise _broken("PNG") from error
    if deep and grey_HW.max() < LEAST_WHITE:
        raise Refusal(
            422,
            f"PNG of 16 bits with values up to {grey_HW.max():.0f}",
            "values up to 65535 (white)",
            "scale the values to 16 bits, or send the DICOM slice",
        )
    return Slice(grey_HW / (65535 if deep else 255), "grey")


def _pixels_only(content: bytes, limits: Limits) -> bytes:
    """Return a PNG with the chunks of its pixels only: others may inflate, and millions of empty ones take seconds."""
    kept, place = [PNG_START], len(PNG_START)
    for _ in range(MOST_CHUNKS):
        length, name = struct.unpack(">I4s", content[place : place + 8])
        end = place + 12 + length
        if end > len(content):
            raise _broken("PNG")
        if name == b"IHDR" and place > len(PNG_START):  # a second header, which Pillow would use
            width, height = struct.unpack(">II", content[place + 8 : place + 16])
            _check_size(height, width, limits)
            raise _broken("PNG")
        if name in PIXEL_CHUNKS:
            kept.append(content[place:end])
        if name == b"IEND":
            return b"".join(kept)
        place = end
    raise Refusal(413, f"PNG of more than {MOST_CHUNKS} chunks", "a few hundred", "save the image again")


def _read_dicom(content: bytes, limits: Limits) -> Slice:
    try:
        _check_syntax(content)
        header = pydicom.dcmread(_FewReads(content), specific_tags=list(TAGS))
        slope, intercept = _check_slice(header, limits)
        with np.errstate(all="ignore"):  # overflow is refused below
            pixels_HW = header.pixel_array.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    except Refusal:
        raise
    except Exception as error:  # pydicom raises many types for broken files, RecursionError among them
        raise _broken("DICOM") from error
    if not np.isfinite(pixels_HW).all():
        raise _no_slice("values that are not finite", "finite Hounsfield units")
    return Slice(pixels_HW, "hu")


def _check_syntax(content: bytes) -> None:
    """Refuse all transfer syntaxes but uncompressed pixels; `dcmread` would inflate a deflated file."""
    start = _FewReads(content)
    start.seek(DICOM_MARK.stop)
    meta = read_dataset(start, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.TransferSyntaxUID not in UNCOMPRESSED:
        raise Refusal(
            415,
            "DICOM in a compressed or unknown transfer syntax",
            "uncompressed DICOM",
            "decompress it first (gdcmconv --raw, dcmdjpeg)",
        )


def _check_slice(header: Any, limits: Limits) -> tuple[float, float]:
    """Return rescale slope and intercept; refuse a header that is not of one CT slice within the limits."""
    modality = header.get("Modality")
    if modality != "CT":
        known = modality if str(modality).isalpha() and len(str(modality)) == 2 else "unknown"
        raise _no_slice(f"DICOM of modality {known}", "CT")
    if "LOCALIZER" in (header.get("ImageType") or ()):
        raise _no_slice("a localizer", "an axial slice")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise _no_slice("DICOM of several frames", "one slice per file")
    if header.get("SamplesPerPixel") != 1 or header.get("PhotometricInterpretation") != "MONOCHROME2":
        raise _no_slice("DICOM in colours, or inverted", "MONOCHROME2")
    if not _is_axial(header.get("ImageOrientationPatient")):
        raise _no_slice("a slice of another orientation", "an axial slice")
    if "ModalityLUTSequence" in header:
        raise _no_slice("values by a modality LUT", "rescale slope and intercept")
    if "PixelData" not in header:
        raise _no_slice("DICOM without pixels", "a slice with its pixels")
    slope, intercept = (_rescale(header, tag) for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise _no_slice("DICOM with RescaleSlope=0", "Hounsfield units")
    _check_size(int(header.Rows), int(header.Columns), limits)
    return slope, intercept


def _rescale(header: Any, tag: str) -> float:
    """Return a number of the scale of values; its text is no part of a message."""
    try:
        value = header.get(tag)
        number = None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise _no_slice(f"DICOM with a malformed {tag}", "Hounsfield units") from error
    if number is None:
        raise _no_slice(f"CT without {tag} (no rescale slope and intercept)", "Hounsfield units")
    return number


def _is_axial(orientation: Any) -> bool:
    """Check the orientation of a slice; one that states none is taken for axial."""
    if orientation is None:
        return True
    cosines = np.array([float(value) for value in orientation])
    return cosines.shape == (6,) and abs(np.cross(cosines[:3], cosines[3:])[2]) >= LEAST_AXIAL


def _check_size(height: int, width: int, limits: Limits) -> None:
    if height * width > limits.most_pixels:
        raise Refusal(
            413, f"{width} x {height} pixels", f"at most {limits.most_pixels} pixels", "crop or scale the image down"
        )
    if min(height, width) < limits.least_side:
        least = f"{limits.least_side} x {limits.least_side}"
        raise Refusal(422, f"{width} x {height} pixels", f"at least {least}", "send the whole slice")


def _broken(kind: str) -> Refusal:
    return Refusal(400, f"a broken {kind} file", f"a complete {kind} file", "export or send it again")


def _no_slice(got: str, expected: str) -> Refusal:
    return Refusal(422, got, expected, "send one axial CT slice")
