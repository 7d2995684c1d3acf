"""Reading of image volumes of any format.

A volume is a 3D `SimpleITK.Image`: voxels with spacing, origin and direction in the world of DICOM and ITK,
millimetres with x to the patient's left, y to the back and z to the head (LPS). NIfTI's RAS is turned by the reader.
Arrays are (C, D, H, W) with D towards the head, H towards the back, W towards the left.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.bounded import require_bounded
from nas.data.io.files import split_name
from nas.errors import NASError
from nas.utils.foreign import require_npy
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

AIR_HU = -1000.0
FULL = 32767  # the stored value of the upper end of an intensity window


def read_image(path: str | Path, npy_spacing_mm: float | Sequence[float] = 1.0) -> Image:
    """Read a whole volume.

    Args:
        path: A NIfTI, NRRD, MetaImage (.mhd, .mha) or .npy file, or a folder with one DICOM series.
        npy_spacing_mm: Voxel size (D, H, W) in mm of .npy files, whose axes are (D, H, W) or (C, D, H, W).

    Returns:
        The volume.

    Raises:
        NASError: If the file is missing, incomplete, not a volume (2D, a time series) or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no file {path}", "an image volume", "correct the path")
    require_bounded(path)
    if path.is_dir():
        from nas.data.io.dicom import open_series

        image = open_series(path).read()
    elif path.suffix == ".npy":
        image = _read_npy(path, npy_spacing_mm)
    else:
        image = _read_file(path)
    return checked(image, path)


def read_channels(path: str | Path) -> list[Image]:
    """Read the channels of a file, which are on its fourth axis or the components of its voxels.

    Args:
        path: A NIfTI, NRRD or MetaImage file.

    Returns:
        One volume per channel.

    Raises:
        NASError: As `read_image` does.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no file {path}", "an image volume", "correct the path")
    require_bounded(path)
    image, sitk = _read_file(path), medical("SimpleITK")
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


def _read_file(path: Path) -> Image:
    sitk = medical("SimpleITK")
    try:
        _refuse_cut_nifti(path)
        _refuse_nan_nifti(path)
        return sitk.ReadImage(str(path))
    except (RuntimeError, EOFError, zlib.error, OSError) as error:
        raise unreadable(path, error) from error


def _refuse_cut_nifti(path: Path) -> None:
    """Raise for an incomplete NIfTI file, whose missing end ITK reads as zeros without an error."""
    ending = split_name(path)[1]
    if ending == ".nii.gz":
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    elif ending == ".nii":
        reader = medical("SimpleITK").ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = list(reader.GetSize())
        reader.SetExtractIndex([0] * (len(size) - 1) + [size[-1] - 1])
        reader.SetExtractSize([*size[:-1], 1])
        reader.Execute()


def _refuse_nan_nifti(path: Path) -> None:
    """Raise for NIfTI values that are not finite, which ITK reads as zeros without an error."""
    if split_name(path)[1] not in (".nii", ".nii.gz"):
        return
    nibabel = medical("nibabel")
    try:
        stored = nibabel.load(path)
        kind = stored.get_data_dtype().kind
        finite = kind not in "fc" or np.isfinite(stored.dataobj.get_unscaled()).all()
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, ValueError) as error:
        raise unreadable(path, error) from error
    if not finite:
        raise _not_finite(path)


def _read_npy(path: Path, spacing_mm: float | Sequence[float]) -> Image:
    sitk = medical("SimpleITK")
    try:
        require_npy(path)
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(path, error) from error
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise not_a_volume(f"an array of shape {array.shape} and type {array.dtype}", path)
    # SimpleITK reads neither bool, half floats nor a foreign byte order
    supported = {"b": np.uint8, "f": np.float32 if array.dtype.itemsize < 8 else np.float64}
    array = array.astype(supported.get(array.dtype.kind, array.dtype.newbyteorder("=")), copy=False)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if array.ndim == 4 else array, isVector=array.ndim == 4)
    image.SetSpacing(triple(spacing_mm)[::-1])
    return image


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
        raise _not_finite(path)
    return image


def _not_finite(path: Path) -> NASError:
    return NASError(f"NaN or infinite values in {path}", "finite voxels", "repair or leave out the volume")


def not_a_volume(got: str, path: Path) -> NASError:
    """Describe a file that holds something other than a volume.

    Args:
        got: Content of the file.
        path: The file.

    Returns:
        The error to raise.
    """
    return NASError(f"{got} in {path}", "one 3D volume, with or without channels", "give one volume per file")


def unreadable(path: Path, error: Exception) -> NASError:
    """Describe a file that a reader cannot read.

    Args:
        path: The file.
        error: The error of the reader.

    Returns:
        The error to raise, with the last line of the reader's.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "No such file" not in line), type(error).__name__)
    return NASError(
        f"{path}, which cannot be read ({reason})",
        "a complete NIfTI, NRRD, MetaImage or .npy file, or a folder with a DICOM series",
        "copy the file again, or convert it",
    )
