"""Reading of image volumes of any format: one reader decides geometry and values for all data sets and commands.

A volume is a 3D `SimpleITK.Image`: voxels with spacing, origin and direction in the world of DICOM and ITK,
millimetres with x to the patient's left, y to the back and z to the head (LPS). NIfTI's RAS is turned by the reader.
Arrays are (C, D, H, W) with D towards the head, H towards the back, W towards the left. The axes of a volume are
perpendicular (nas/data/io/geometry.py). docs/reference/limits.md lists what is read and what is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.arrays import read_npy
from nas.data.io.bounded import require_bounded
from nas.data.io.formats import NIFTI, NPY, format_of
from nas.data.io.geometry import affine_of
from nas.data.io.itk_files import read_itk
from nas.data.io.nifti import read_nifti
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

AIR_HU = -1000.0
FULL = 32767  # the stored value of the upper end of an intensity window


@dataclass(frozen=True)
class Volume:
    """A volume as its file states it.

    Attributes:
        image: Voxels with spacing, direction and origin.
        unit: "HU" for CT series, the tag Units for PET, "" if the file states no unit.
        path: The file, or the folder of a series.
    """

    image: Image
    unit: str
    path: Path

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): voxel index (x, y, z, 1) -> world mm, LPS."""
        return affine_of(self.image)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (D, H, W)."""
        x, y, z = self.image.GetSpacing()
        return z, y, x


def read_volume(
    path: str | Path,
    npy_spacing_mm: float | Sequence[float] = 1.0,
    npy_axes: str | None = None,
    values_in_hu: bool = False,
) -> Volume:
    """Read a whole volume.

    Args:
        path: A NIfTI, NRRD, MetaImage (.mhd, .mha) or .npy file, or a folder with one DICOM series.
        npy_spacing_mm: Voxel size (D, H, W) in mm of .npy files.
        npy_axes: Axes of .npy files, see `nas.data.io.arrays.read_npy`.
        values_in_hu: Whether stored values of CT and PET slices without RescaleSlope and RescaleIntercept are already
            in HU (PET: in units of activity). If False, such series are refused.

    Returns:
        The volume.

    Raises:
        NASError: If the file is missing, incomplete, not a volume (2D, a time series) or not finite, its format or
            kind is not one that is read, or its geometry or unit is not certain.
    """
    path, unit = existing(path), ""
    if path.is_dir():
        from nas.data.io.dicom import open_series

        series = open_series(path)
        image, unit = series.read(values_in_hu=values_in_hu), series.unit
    elif (found := format_of(path)) is NPY:
        image = read_npy(path, triple(npy_spacing_mm), npy_axes)
    else:
        image = read_nifti(path) if found is NIFTI else read_itk(path, found)
    return Volume(checked(image, path), unit, path)


def read_image(
    path: str | Path,
    npy_spacing_mm: float | Sequence[float] = 1.0,
    npy_axes: str | None = None,
    values_in_hu: bool = False,
) -> Image:
    """Read the image of `read_volume`.

    Args:
        path: As for `read_volume`.
        npy_spacing_mm: As for `read_volume`.
        npy_axes: As for `read_volume`.
        values_in_hu: As for `read_volume`.

    Returns:
        The volume.

    Raises:
        NASError: As `read_volume` does.
    """
    return read_volume(path, npy_spacing_mm, npy_axes, values_in_hu).image


def read_channels(path: str | Path) -> list[Image]:
    """Read the channels of a file, which are on its fourth axis or the components of its voxels.

    Args:
        path: A NIfTI, NRRD or MetaImage file.

    Returns:
        One volume per channel.

    Raises:
        NASError: As `read_image` does.
    """
    path, sitk = existing(path), medical("SimpleITK")
    if path.is_dir() or (found := format_of(path)) is NPY:
        raise NASError(f"{path}, an array or a folder", "a NIfTI, NRRD or MetaImage file", "convert it to NIfTI")
    image = read_nifti(path) if found is NIFTI else read_itk(path, found)
    if image.GetDimension() == 4:
        return [checked(image[:, :, :, c], path) for c in range(image.GetSize()[3])]
    image = checked(image, path)
    count = image.GetNumberOfComponentsPerPixel()
    return [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, c) for c in range(count)]


def to_array(image: Image) -> np.ndarray:
    """Return the voxels of an image.

    Args:
        image: The image.

    Returns:
        (C, D, H, W) on the axes of the image.
    """
    array = medical("SimpleITK").GetArrayFromImage(image)
    return np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]


def existing(path: str | Path) -> Path:
    """Check that a file or folder is there.

    Args:
        path: The path.

    Returns:
        The path.

    Raises:
        NASError: If there is none, or it is a device, a socket or a pipe.
    """
    path = Path(path)
    if not os.path.exists(path):  # of any text: `Path.exists` raises for a name that is too long
        raise NASError(f"no file {path}", "an image volume", "correct the path")
    if not path.is_file() and not path.is_dir():
        raise NASError(f"{path}, which is no regular file", "an image volume", "copy it to a file")
    require_bounded(path)
    return path


def triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    """Expand one number to all axes.

    Args:
        value: One positive number, or three.

    Returns:
        (D, H, W).

    Raises:
        NASError: If it is neither.
    """
    numbers = [float(v) for v in ([value] * 3 if isinstance(value, (int, float)) else value)]
    if len(numbers) != 3 or not all(0 < n < float("inf") for n in numbers):
        raise NASError(f"{value!r}", "one positive number, or three for (D, H, W)", "correct the size or the spacing")
    return numbers[0], numbers[1], numbers[2]


def checked(image: Image, path: Path) -> Image:
    """Check that an image is one volume of finite numbers.

    Args:
        image: Any image; a fourth axis of length 1 is removed.
        path: Its file, for messages.

    Returns:
        The volume.

    Raises:
        NASError: If it has another number of dimensions, a single slice, or complex or not finite voxels.
    """
    size = image.GetSize()
    if len(size) == 4 and size[3] == 1:
        return checked(image[:, :, :, 0], path)
    if len(size) != 3:
        raise not_a_volume(f"an image of {len(size)} dimensions (size {'x'.join(map(str, size))})", path)
    if min(size) < 2:
        raise not_a_volume(f"a single slice (size {'x'.join(map(str, size))})", path)
    kind = image.GetPixelIDTypeAsString()
    if "complex" in kind:
        raise not_a_volume(f"{kind} voxels", path)
    if "float" in kind and not np.isfinite(medical("SimpleITK").GetArrayViewFromImage(image)).all():
        raise NASError(f"NaN or infinite values in {path}", "finite voxels", "repair or leave out the volume")
    return image


def not_a_volume(got: str, path: Path) -> NASError:
    """Describe a file that holds something other than a volume.

    Args:
        got: Content of the file.
        path: The file.

    Returns:
        The error to raise.
    """
    return NASError(f"{got} in {path}", "one 3D volume, with or without channels", "give one volume per file")
