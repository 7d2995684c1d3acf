"""NIfTI files by nibabel's header: geometry as nibabel and FSL take it, complete data, scaled values."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.files import companions
from nas.data.io.formats import GZIP, header_of, nifti_version, unreadable
from nas.data.io.geometry import Geometry, corners_mm, geometry_of
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

CHUNK = 1 << 22
TO_MM = {"meter": 1e3, "micron": 1e-3}  # else mm, also if the header does not state the unit
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
DISAGREEMENT_MM = 1.0
log = logging.getLogger(__name__)

LIMITS = (
    Limit(
        "NIfTI",
        "sform and qform",
        "read",
        f"the sform if its code is above 0, else the qform, as nibabel does; a warning if they differ by more than "
        f"{DISAGREEMENT_MM:g} mm; label maps are written with one geometry in both",
    ),
    Limit("NIfTI", "metres or micrometres as unit (xyzt_units)", "corrected", "converted to mm"),
    Limit("NIfTI", "scl_slope and scl_inter", "read", "applied; a slope of 0 or NaN means no scaling"),
    Limit("NIfTI", "a fourth axis", "read", "as channels where a data set has several channels, else refused"),
)


@dataclass(frozen=True)
class _Header:
    header: Any  # of nibabel
    data: Path  # file of the voxels
    shape: tuple[int, ...]
    geometry: Geometry


def nifti_geometry(path: Path) -> tuple[tuple[int, ...], Geometry]:
    """Read shape and geometry of a NIfTI file; no voxels are read.

    Args:
        path: The file, or one file of a pair of header and data.

    Returns:
        The shape (x, y, z, ...), and the geometry of its first three axes.

    Raises:
        NASError: If the header is damaged or its affine is not that of a volume.
    """
    read = _header(path)
    return read.shape, read.geometry


def read_nifti(path: Path) -> Image:
    """Read a NIfTI file.

    Args:
        path: The file, or one file of a pair of header and data.

    Returns:
        A volume, an image of four axes, or, of a file with a fifth axis, a volume with components.

    Raises:
        NASError: If the file is damaged or incomplete, or holds complex numbers or colours.
    """
    read, sitk = _header(path), medical("SimpleITK")
    kind = read.header.get_data_dtype()
    if kind.kind not in "iuf":
        got = "complex" if kind.kind == "c" else f"{kind}, such as colours,"
        raise NASError(f"{got} voxels in {path}", "one 3D volume of real numbers", "split it into files")
    values = _scaled(_voxels(path, read, kind), read.header, path)
    shape = list(read.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    values = values.reshape(shape, order="F")
    if len(shape) == 5 and shape[3] == 1:
        return read.geometry.put_on(sitk.GetImageFromArray(values[:, :, :, 0].transpose(2, 1, 0, 3), isVector=True))
    if len(shape) > 4:
        raise NASError(f"an image of {len(shape)} dimensions in {path}", "a volume, or channels of one", "split it")
    if len(shape) == 4:
        channels = [read.geometry.put_on(sitk.GetImageFromArray(values[..., c].T)) for c in range(shape[3])]
        return sitk.JoinSeries(channels)
    return read.geometry.put_on(sitk.GetImageFromArray(values.T))


def nifti_header(path: Path) -> tuple[Any, tuple[int, ...], np.ndarray]:
    """Read the header of a NIfTI file.

    Args:
        path: The file, or one file of a pair of header and data.

    Returns:
        nibabel's header, the shape, and the affine as nibabel takes it (RAS, in the unit of the file).

    Raises:
        NASError: If the header is damaged.
    """
    nibabel = medical("nibabel")
    head = _first(header_of(path), 540)
    kind = nibabel.Nifti2Header if nifti_version(head) == 2 else nibabel.Nifti1Header
    noisy = logging.getLogger("nibabel.global")  # prints each fault; those that matter are raised
    level = noisy.level
    try:
        noisy.setLevel(logging.CRITICAL + 1)
        header = kind.from_fileobj(io.BytesIO(head[: kind.sizeof_hdr]))
        header.get_data_offset()  # raises if vox_offset is no number
        _require_pixdim(kind.from_fileobj(io.BytesIO(head[: kind.sizeof_hdr]), check=False))
        return header, tuple(int(side) for side in header.get_data_shape()), header.get_best_affine()
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError, ValueError, OverflowError) as e:
        raise unreadable(path, e) from e
    finally:
        noisy.setLevel(level)


def _require_pixdim(header: Any) -> None:
    """Refuse what nibabel sets to 1: without an sform, pixdim states the voxel size."""
    sides = header["pixdim"][1:4]
    if header["sform_code"] <= 0 and not (np.isfinite(sides).all() and sides.all()):
        raise ValueError(f"pixdim {' x '.join(f'{side:g}' for side in sides)} without an sform")


def _header(path: Path) -> _Header:
    file = header_of(path)
    header, shape, affine = nifti_header(path)
    if len(shape) < 3 or min(shape) < 1:
        sizes = "x".join(map(str, shape))
        raise NASError(f"an image of {len(shape)} dimensions (size {sizes}) in {path}", "one 3D volume", "give one")
    affine = TO_LPS @ affine
    affine[:3] *= _mm(header)
    _tell_disagreement(header, shape, path)
    data = file
    if header["magic"].item().startswith(b"ni"):
        found = companions(file)
        if not found:
            raise unreadable(path, f"the data file of {file.name} (.img of the same name) is missing")
        data = path if path != file else found[0]
    return _Header(header, data, shape, geometry_of(affine[:3, :3], affine[:3, 3], shape[:3], str(path)))


def _first(path: Path, count: int) -> bytes:
    try:
        with _open(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return gzip.open(path) if packed else path.open("rb")


def _voxels(path: Path, read: _Header, kind: np.dtype) -> np.ndarray:
    """Return the stored values in one dimension."""
    offset, count = int(read.header.get_data_offset()), int(np.prod(read.shape, dtype=object))
    needed = count * kind.itemsize
    try:
        with _open(read.data) as file:
            packed = isinstance(file, gzip.GzipFile)
            if not packed and read.data.stat().st_size < offset + needed:
                raise EOFError(f"{read.data.name} ends before its last voxel")
            file.seek(offset)
            content = file.read(needed)
            while packed and file.read(CHUNK):  # up to the checksum
                pass
        if len(content) < needed:
            raise EOFError(f"{read.data.name} ends before its last voxel")
    except (OSError, EOFError, zlib.error, OverflowError, MemoryError) as error:
        raise unreadable(path, error) from error
    values = np.frombuffer(content, dtype=kind, count=count)
    supported = {"f": np.float32 if kind.itemsize == 4 else np.float64}
    return values.astype(supported.get(kind.kind, kind.newbyteorder("=")), copy=False)


def _scaled(values: np.ndarray, header: Any, path: Path) -> np.ndarray:
    try:
        slope, inter = header.get_slope_inter()
    except medical("nibabel").spatialimages.HeaderDataError as error:
        raise unreadable(path, f"scl_slope and scl_inter: {error}") from error
    if slope is None or (slope == 1 and not inter):
        return values
    kind: np.dtype[np.floating] = np.dtype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    scaled: np.ndarray[Any, np.dtype[np.floating]] = values.astype(kind)
    scaled *= slope
    scaled += inter or 0.0
    return scaled


def _mm(header: Any) -> float:
    try:
        return TO_MM.get(header.get_xyzt_units()[0], 1.0)
    except KeyError:  # a code that NIfTI does not define
        return 1.0


def _tell_disagreement(header: Any, shape: tuple[int, ...], path: Path) -> None:
    sform, s_code = header.get_sform(coded=True)
    try:
        qform, q_code = header.get_qform(coded=True)
    except (ValueError, medical("nibabel").spatialimages.HeaderDataError):
        return  # of no use, and not needed beside an sform
    if s_code <= 0 or q_code <= 0 or sform is None or qform is None:
        return
    apart = corners_mm(sform, shape[:3]) - corners_mm(qform, shape[:3])
    most = float(np.linalg.norm(apart, axis=1).max()) * _mm(header)
    if most > DISAGREEMENT_MM:
        _tell(str(path), round(most, 1))


@cache  # once per file
def _tell(path: str, most_mm: float) -> None:
    log.warning("sform and qform of %s differ by %g mm; the sform is used", path, most_mm)
