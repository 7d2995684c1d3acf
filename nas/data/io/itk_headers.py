"""Facts in NRRD and MetaImage headers that ITK passes over: units, colours, scales, damage of compressed voxels."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import Any

from nas.data.io.files import HEADER_BYTES, files_of
from nas.data.io.formats import META_IMAGE, Format, unreadable
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.optional import medical

CHUNK = 1 << 22
ZLIB_OR_GZIP = 47  # window bits of zlib
OTHER_UNITS = re.compile(r"(?:[kcdnuµμ]?m|in|inch(?:es)?|microns?|(?:kilo|centi|deci|micro|nano)?met(?:er|re)s?)", re.I)

LIMITS = (
    Limit(
        "Image files", "NRRD with another unit of length than mm (space units, units)", "refused", "convert it to mm"
    ),
    Limit("Image files", "MetaImage with ElementToIntensityFunctionSlope or Offset", "refused", "apply it and drop it"),
)


def require_plain(path: Path, found: Format, read: Any) -> None:
    """Check that ITK reads a file as its header states it.

    Args:
        path: A NRRD or MetaImage file.
        found: Its format.
        read: A reader that has read the header, or the image.

    Raises:
        NASError: If lengths are not in mm, voxels are colours or have to be scaled, or compressed voxels are damaged.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if found is META_IMAGE:
        _require_meta_image(path, head, read)
    else:
        _require_nrrd(path, re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("utf-8", "replace"))


def voxel_bytes(read: Any) -> int:
    """Compute the memory that the voxels of an image take.

    Args:
        read: A reader that has read the header, or an image.

    Returns:
        Bytes.
    """
    name = medical("SimpleITK").GetPixelIDValueAsString(read.GetPixelIDValue())
    digits = re.search(r"\d+", name)
    item = int(digits[0]) // 8 if digits else 8 if "double" in name else 4
    components = getattr(read, "GetNumberOfComponents", getattr(read, "GetNumberOfComponentsPerPixel", None))
    return math.prod(read.GetSize()) * (1 if components is None else int(components())) * item


def _require_nrrd(path: Path, header: str) -> None:
    for key, value in re.findall(r"(?im)^(space units|units):\s*(.*)$", header):
        other = next(
            (unit for unit in re.findall(r'"([^"]*)"', value) if unit != "mm" and OTHER_UNITS.fullmatch(unit)), ""
        )
        if other:
            raise NASError(f'{key} "{other}" in {path}', "lengths in mm", "convert the header to mm")
    if re.search(r"(?im)^kinds:.*color", header):
        raise NASError(f"colours in {path} (kinds)", "one 3D volume of real numbers", "give grey values")


def _require_meta_image(path: Path, head: bytes, read: Any) -> None:
    end = re.search(rb"(?m)^\s*ElementDataFile\s*=[ \t]*(.*?)\r?(?:\n|\Z)", head)
    if end is None:
        return  # ITK reports it
    lines = head[: end.start()].decode("latin-1").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    for key, plain in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in fields and fields[key] not in (f"{plain:g}", f"{plain:.1f}"):
            raise NASError(f"{key}={fields[key]} in {path}", "voxels that need no scaling", "apply it to the voxels")
    if fields.get("CompressedData", "")[:1].lower() not in ("t", "1"):
        return
    files, size = files_of(path), fields.get("CompressedDataSize", "")
    if len(files) == 1 and not size.isdecimal():
        raise unreadable(path, "compressed voxels without CompressedDataSize")
    start = end.end() + max(0, int(fields.get("HeaderSize", "0"))) if len(files) == 1 else 0
    for file in files[1:] or files:
        _require_inflates(path, file, start, int(size) if size.isdecimal() and len(files) <= 2 else None, read)


def _require_inflates(path: Path, file: Path, start: int, size: int | None, read: Any) -> None:
    inflater, left, found = zlib.decompressobj(ZLIB_OR_GZIP), size, 0
    try:
        with file.open("rb") as data:
            data.seek(start)
            while not inflater.eof and (block := data.read(CHUNK if left is None else min(CHUNK, left))):
                left = None if left is None else left - len(block)
                while block and not inflater.eof:
                    found += len(inflater.decompress(block, CHUNK))
                    block = inflater.unconsumed_tail
    except (OSError, zlib.error) as error:
        raise unreadable(path, f"compressed voxels in {file.name}: {error}") from error
    if not inflater.eof or found < voxel_bytes(read):
        raise unreadable(path, f"the compressed voxels in {file.name} are incomplete")
