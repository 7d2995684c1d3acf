"""Checks of the files of an image before a reader opens them: kind, place and size in memory."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path

from nas.data.io.files import HEADER_BYTES, files_of
from nas.data.io.formats import GZIP, NIFTI, NPY, Format, format_of
from nas.data.io.itk_files import itk_reader
from nas.data.io.itk_headers import voxel_bytes
from nas.data.io.nifti import nifti_header
from nas.errors import NASError, last_line
from nas.utils.foreign import require_regular, require_size

FREE_BYTES = 2**29  # in memory that any volume may have: 512 x 512 x 512 voxels in float32
MOST_FILES = 100_000  # of one volume
DEFLATED = b"1.2.840.10008.1.2.1.99"  # transfer syntax of DICOM that zlib inflates
PATTERN = re.compile(rb"(?:ElementDataFile\s*=|data ?file:).*?%0?\d*d.*?\s(\d+)\s+(\d+)\s+(\d+)", re.IGNORECASE)
BLOCK = 1 << 22


def require_bounded(path: Path) -> None:
    """Check the files of a volume.

    Args:
        path: An image file, or the folder of a DICOM series.

    Raises:
        NASError: If a file is a pipe or a device, lies outside the folder of the header that names it, or would take
            much more memory than it has bytes.
    """
    try:
        if path.is_dir():
            for file in files_of(path):
                _require_dicom(file)
            return
        stored = require_regular(path)
        _require_few_files(path)
        for file in files_of(path)[1:]:
            inside = file.is_relative_to(path.parent) and ".." not in file.relative_to(path.parent).parts
            if not inside:
                raise ValueError(f"its data in {file}, outside its folder")
            stored += require_regular(file) if file.exists() else 0
        try:
            found = format_of(path)
        except NASError:  # the reader reports it
            return
        if found is NIFTI:
            _require_nifti(path, stored)
        elif found is not NPY:
            _require_itk(path, found, stored)
    except ValueError as error:
        raise NASError(
            f"{path}, {last_line(error)}", "a plain image file with its own voxels", "leave it out"
        ) from error


def _require_few_files(path: Path) -> None:
    with path.open("rb") as file:
        match = PATTERN.search(file.read(HEADER_BYTES))
    if match is not None and len(range(int(match[1]), int(match[2]) + 1, max(1, int(match[3])))) > MOST_FILES:
        raise ValueError(f"a header with more than {MOST_FILES} data files")


def _require_dicom(path: Path) -> None:
    with path.open("rb") as file:
        if DEFLATED in file.read(4096):
            raise ValueError(f"a series with the deflated file {path.name}")


def _require_nifti(path: Path, stored: int) -> None:
    try:
        header, shape, _ = nifti_header(path)
        size = math.prod(shape) * header.get_data_dtype().itemsize
    except Exception:  # the reader reports the reason
        return
    require_size(size, stored, FREE_BYTES)
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    if packed and not header["magic"].item().startswith(b"ni"):
        _require_inflated(path, size + int(header.get_data_offset()))


def _require_inflated(path: Path, declared: int) -> None:
    """Check that a gzip file holds no more than its header declares; the trailer states the size of an honest file."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        if struct.unpack("<I", file.read(4))[0] == declared % 2**32:
            return
    left = declared + BLOCK
    try:
        with gzip.open(path) as inflated:
            while left > 0 and (block := inflated.read(min(BLOCK, left))):
                left -= len(block)
    except (OSError, EOFError, zlib.error):  # cut or damaged, which the reader reports
        return
    if left <= 0:
        raise ValueError(f"gzip data that inflate beyond the {declared} bytes of their header")


def _require_itk(path: Path, found: Format, stored: int) -> None:
    try:
        reader = itk_reader(path, found)
    except NASError:  # the reader reports the reason
        return
    require_size(voxel_bytes(reader), stored, FREE_BYTES)
