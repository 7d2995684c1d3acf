"""Volumes in .npy files, which state neither the meaning of their axes nor a voxel size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.formats import unreadable
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.foreign import require_npy
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

AXES = ("DHW", "CDHW", "DHWC")  # values of `npy_axes`
COLOURS = (3, 4)  # length of a last axis that is more probably colour than space

LIMITS = (
    Limit("NumPy arrays", "four axes, the first shorter than the others", "read", "as (C, D, H, W)"),
    Limit(
        "NumPy arrays",
        "four axes, the first not the shortest; three axes with 3 or 4 in the last beside sides of 16 or more",
        "refused",
        f"ambiguous: state the axes with `npy_axes` ({', '.join(AXES)})",
    ),
    Limit("NumPy arrays", "objects, text, complex numbers", "refused", "save numbers"),
)


def load_npy(path: Path) -> np.ndarray:
    """Load an array of numbers.

    Args:
        path: The file.

    Returns:
        An array of booleans, integers or floats, in native byte order.

    Raises:
        NASError: If the file is damaged or holds something else.
    """
    try:
        require_npy(path)
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(path, error) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise NASError(
            f"an array of type {getattr(array, 'dtype', type(array).__name__)} in {path}",
            "one array of numbers",
            "save the numbers by numpy.save",
        )
    return array


def read_npy(path: Path, spacing_mm: tuple[float, float, float], axes: str | None = None) -> Image:
    """Read a volume.

    Args:
        path: The file.
        spacing_mm: Voxel size (D, H, W) in mm.
        axes: One of `AXES`. If None, DHW for three axes and CDHW for four, if that is not ambiguous.

    Returns:
        The volume, with one component per channel.

    Raises:
        NASError: If the file is damaged, its axes are ambiguous or do not fit `axes`.
    """
    sitk, array = medical("SimpleITK"), load_npy(path)
    if array.ndim not in (3, 4):
        raise NASError(
            f"an array of shape {array.shape} and type {array.dtype} in {path}",
            "one 3D volume, with or without channels",
            "give one volume per file",
        )
    if axes is None:
        _require_clear(array.shape, path)
    elif len(axes) != array.ndim:
        raise NASError(
            f"npy_axes={axes} for an array of shape {array.shape} in {path}",
            f"{len(axes)} axes",
            "change npy_axes or the array",
        )
    if axes == "DHWC":
        array = np.moveaxis(array, -1, 0)
    # SimpleITK reads neither bool, half floats nor a foreign byte order
    supported = {"b": np.uint8, "f": np.float32 if array.dtype.itemsize < 8 else np.float64}
    array = array.astype(supported.get(array.dtype.kind, array.dtype.newbyteorder("=")), copy=False)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if array.ndim == 4 else array, isVector=array.ndim == 4)
    image.SetSpacing(spacing_mm[::-1])
    return image


def _require_clear(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) == 4 and shape[0] > 1 and not shape[0] < min(shape[1:]):
        raise NASError(
            f"an array of shape {shape} in {path}, whose channels may be its first or its last axis",
            "(C, D, H, W) with fewer channels than voxels per side, or stated axes",
            "set npy_axes to CDHW or DHWC (data.npy_axes, --npy-axes)",
        )
    if len(shape) == 3 and shape[-1] in COLOURS and min(shape[:2]) >= 16:
        raise NASError(
            f"an array of shape {shape} in {path}, which may be one slice in colours",
            "(D, H, W), or stated axes",
            "set npy_axes to DHW (data.npy_axes, --npy-axes)",
        )
