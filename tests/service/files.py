"""PNG and DICOM files made for the tests, with a patient's name wherever there is room for one."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT = "Zyxwvut^Patient"


def slice_hu(size: int = 64) -> np.ndarray:
    """(size, size) int16: a lung of -800 HU with a bright square at rows 10 to 19, columns 20 to 39."""
    pixels = np.full((size, size), -800, dtype=np.int16)
    pixels[10:20, 20:40] = 400
    return pixels


def png(grey_HW: np.ndarray, mode: str | None = None) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", PATIENT)
    image, file = Image.fromarray(grey_HW), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def slice_png(size: int = 64) -> bytes:
    return png(np.clip((slice_hu(size) + 1000.0) / 1400 * 255, 0, 255).astype(np.uint8))


def png_bomb(width: int = 12_000, height: int = 12_000, small_first: bool = False) -> bytes:
    """A small file that holds 144 megapixels of black. small_first: a header of 64 x 64 pixels before the real one."""
    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(width + 1)) for _ in range(height)) + pack.flush()
    sizes = [(64, 64)] * small_first + [(width, height)]
    headers = [(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)) for size in sizes]
    parts = [*headers, (b"IDAT", rows), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def dicom(syntax: str = ExplicitVRLittleEndian, **changes: Any) -> bytes:
    """One CT slice, stored with the intercept -1024. changes: tags by keyword, None to leave one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    pixels = slice_hu() + 1024
    tags = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": PATIENT,
        "PatientID": PATIENT,
        "Modality": "CT",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": pixels.astype("<u2").tobytes(),
    }
    for keyword, value in {**tags, **changes}.items():
        if value is not None:
            setattr(file, keyword, value)
    if syntax != ExplicitVRLittleEndian and "PixelData" in file:
        file.compress(syntax, generate_instance_uid=False)
    written = io.BytesIO()
    file.save_as(written, enforce_file_format=True)
    return written.getvalue()


def deflated_dicom(megabytes: int = 100) -> bytes:
    """A file in deflated transfer syntax that grows by a thousand when it is inflated."""
    plain = dicom()
    body = plain.index(b"\x08\x00\x16\x00UI")  # the first tag behind the file's meta group
    meta = plain[:body].replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
    length = plain.index(b"\x02\x00\x00\x00UL") + 8
    (stated,) = struct.unpack("<I", meta[length : length + 4])
    meta = meta[:length] + struct.pack("<I", stated + 2) + meta[length + 4 :]
    syntax = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: syntax - 2] + struct.pack("<H", 22) + meta[syntax:]
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = b"".join(pack.compress(bytes(2**20)) for _ in range(megabytes))
    return meta + pack.compress(plain[body:]) + zeros + pack.flush()
