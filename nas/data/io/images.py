"""Image volumes of any format in one form, and crops of them on a chosen grid.

The one form is a 3D `SimpleITK.Image`: voxels with spacing, origin and direction in the world of DICOM and ITK,
millimetres with x to the patient's left, y to the back and z to the head (LPS). NIfTI's RAS is turned by the reader.
Arrays come out as (C, D, H, W) with D towards the head, H towards the back, W towards the left.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.errors import NASError

if TYPE_CHECKING:
    from SimpleITK import Image

AIR_HU = -1000.0
FULL = 32767  # the stored value of the upper end of an intensity window


def medical(module: str) -> Any:
    """Imports a package of the extra `medical`, which `import nas` does without."""
    try:
        return __import__(module)
    except ImportError as error:
        raise NASError(
            f"no package {module}", "the readers of medical formats", "pip install 'voxnas[medical]'"
        ) from error


def read_image(path: str | Path, npy_spacing_mm: float | Sequence[float] = 1.0) -> Image:
    """A whole volume: NIfTI, NRRD, MetaImage (.mhd, .mha), a folder with one DICOM series, or .npy.

    npy_spacing_mm: voxel size (D, H, W) of .npy files, whose axes are (D, H, W) or (C, D, H, W) as above.
    Raises NASError for a file that is missing, cut short, not a volume (2D, a time series) or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no file {path}", "an image volume", "mend the path")
    if path.is_dir():
        from nas.data.io.dicom import open_series

        image = open_series(path).read()
    elif path.suffix == ".npy":
        image = _read_npy(path, npy_spacing_mm)
    else:
        image = _read_file(path)
    return _check(image, path)


def read_channels(path: str | Path) -> list[Image]:
    """The channels of a file: one of a volume, several where its fourth axis or its voxels hold them.

    Raises NASError as `read_image` does.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no file {path}", "an image volume", "mend the path")
    image, sitk = _read_file(path), medical("SimpleITK")
    if image.GetDimension() == 4:
        return [_check(image[:, :, :, c], path) for c in range(image.GetSize()[3])]
    image = _check(image, path)
    count = image.GetNumberOfComponentsPerPixel()
    return [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, c) for c in range(count)]


def read_region(path: str | Path, centre_mm: Sequence[float], reach_mm: float) -> Image:
    """The part of a MetaImage or NRRD file within `reach_mm` of a world point; of a raw file no more is read.

    Raises NASError as `read_image` does, and where the point lies outside of the volume.
    """
    path = Path(path)
    if not path.exists():
        raise NASError(f"no file {path}", "an image volume", "mend the path")
    reader = medical("SimpleITK").ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if reader.GetDimension() == 3:
            low, size = _box(reader, centre_mm, reach_mm, path.name)
            reader.SetExtractIndex(low)
            reader.SetExtractSize(size)
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    return _check(image, path)


def middle(image: Image) -> tuple[float, float, float]:
    """The world point in the middle of a volume."""
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    return x, y, z


def reach(size_DHW: Sequence[int], spacing_DHW_mm: Sequence[float]) -> float:
    """How far from its centre (mm, along any axis) a crop looks, the margin of its low-pass filter included."""
    return max((n / 2 + 2) * mm for n, mm in zip(size_DHW, spacing_DHW_mm, strict=True))


def crop(
    image: Image,
    centre_mm: Sequence[float],
    size_DHW: Sequence[int],
    spacing_DHW_mm: Sequence[float],
    fill: float | Sequence[float] | np.ndarray,
    name: str = "the volume",
) -> np.ndarray:
    """(C, D, H, W) float32 on a grid of the wanted size and spacing whose middle lies exactly on a world point.

    The grid follows the volume's own axes, brought nearest to LPS (for an axial CT: LPS itself). Linear
    interpolation; an axis that gets coarser is first smoothed (sigma = (factor - 1) / 2 voxels), so that noise does
    not fold into the crop. Outside of the volume stands `fill`, one value or one a channel.
    Raises NASError where the point lies outside of the volume.
    """
    sitk = medical("SimpleITK")
    # Only the neighbourhood is turned, smoothed and resampled: the cost does not depend on the size of the scan.
    low, extent = _box(image, centre_mm, reach(size_DHW, spacing_DHW_mm), name)
    part = sitk.DICOMOrient(sitk.RegionOfInterest(image, extent, low), "LPS")
    spacing_xyz = [float(mm) for mm in reversed(spacing_DHW_mm)]
    size_xyz = [int(n) for n in reversed(size_DHW)]
    sigma_mm = [max(0.0, (new - old) / 2) for new, old in zip(spacing_xyz, part.GetSpacing(), strict=True)]
    axes = np.reshape(part.GetDirection(), (3, 3))
    corner = np.asarray(centre_mm, dtype=float) - axes @ ((np.array(size_xyz) - 1) / 2 * spacing_xyz)

    channels = part.GetNumberOfComponentsPerPixel()
    fills = np.broadcast_to(np.asarray(fill, dtype=float), (channels,))
    volume_CDHW = np.empty((channels, *reversed(size_xyz)), dtype=np.float32)
    for c in range(channels):
        one = sitk.VectorIndexSelectionCast(part, c) if channels > 1 else part
        one = sitk.Cast(one, sitk.sitkFloat32)
        if any(sigma_mm):
            one = sitk.DiscreteGaussian(one, [sigma**2 for sigma in sigma_mm])
        identity = sitk.Transform(3, sitk.sitkIdentity)
        grid = (size_xyz, identity, sitk.sitkLinear, corner.tolist(), spacing_xyz, part.GetDirection())
        volume_CDHW[c] = sitk.GetArrayFromImage(sitk.Resample(one, *grid, float(fills[c])))
    return volume_CDHW


def crop_hu(
    image: Image,
    centre_mm: Sequence[float],
    size: int,
    spacing_mm: float,
    window_hu: tuple[float, float],
    name: str = "the scan",
) -> np.ndarray:
    """(1, size, size, size) int16: HU of a CT clipped to a window, on an isotropic grid; beyond the scan stands air."""
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise _not_a_volume("several channels", Path(name))
    volume_CDHW = crop(image, centre_mm, (size,) * 3, (spacing_mm,) * 3, AIR_HU, name)
    return np.rint(np.clip(volume_CDHW, *window_hu)).astype(np.int16)


def hu_window(window_hu: Sequence[float]) -> tuple[float, float]:
    """A window of whole HU that int16 holds; stored values keep HU as they are."""
    ends = tuple(float(end) for end in window_hu)
    if len(ends) != 2 or not -32768 <= ends[0] < ends[1] <= 32767 or any(end % 1 for end in ends):
        raise NASError(f"window {list(window_hu)}", "[low, high] in whole HU, low < high", "window=[-1200,600]")
    return ends[0], ends[1]


def to_array(image: Image) -> np.ndarray:
    """(C, D, H, W) voxels, on the axes that the image has."""
    array = medical("SimpleITK").GetArrayFromImage(image)
    return np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]


def to_window(volume_CDHW: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """int16 from 0 (at or below `low`) to 32767 (at or above `high`), linear between; one window or one a channel."""
    low, high = (np.reshape(np.asarray(end, dtype=np.float64), (-1, 1, 1, 1)) for end in (low, high))
    return np.rint(np.clip((volume_CDHW - low) / (high - low), 0, 1) * FULL).astype(np.int16)


def _box(geometry: Any, centre_mm: Sequence[float], reach_mm: float, name: str) -> tuple[list[int], list[int]]:
    """First index and size (x, y, z) of the voxels within reach of a point; `geometry` is an image or its reader."""
    size, spacing = np.array(geometry.GetSize()), np.array(geometry.GetSpacing())
    axes = np.reshape(geometry.GetDirection(), (3, 3))
    index = np.linalg.solve(axes, np.asarray(centre_mm, dtype=float) - geometry.GetOrigin()) / spacing
    if not ((index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6)).all():
        raise NASError(
            f"the point {tuple(round(float(mm), 2) for mm in centre_mm)} mm, which lies outside of {name}",
            "a world point (x, y, z) in LPS mm as in DICOM (to the left, to the back, to the head)",
            "change the signs of x and y where the coordinates are RAS (NIfTI); give mm, not voxels",
        )
    low = np.clip(np.floor(index - reach_mm / spacing) - 1, 0, size - 1).astype(int)
    high = np.clip(np.ceil(index + reach_mm / spacing) + 1, 0, size - 1).astype(int)
    return low.tolist(), (high - low + 1).tolist()


def _read_file(path: Path) -> Image:
    sitk = medical("SimpleITK")
    try:
        _refuse_cut_nifti(path)
        _refuse_nan_nifti(path)
        return sitk.ReadImage(str(path))
    except (RuntimeError, EOFError, zlib.error, OSError) as error:
        raise unreadable(path, error) from error


def _refuse_cut_nifti(path: Path) -> None:
    """ITK reads the lost end of a NIfTI file as zeros, without an error."""
    if path.name.endswith(".nii.gz"):
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    elif path.suffix == ".nii":
        reader = medical("SimpleITK").ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = list(reader.GetSize())
        reader.SetExtractIndex([0] * (len(size) - 1) + [size[-1] - 1])
        reader.SetExtractSize([*size[:-1], 1])
        reader.Execute()


def _refuse_nan_nifti(path: Path) -> None:
    """ITK reads values that are not finite as zeros, without a word."""
    if not path.name.endswith((".nii", ".nii.gz")):
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
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(path, error) from error
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise _not_a_volume(f"an array of shape {array.shape} and type {array.dtype}", path)
    # SimpleITK takes neither bool, half floats nor a foreign byte order.
    kept = {"b": np.uint8, "f": np.float32 if array.dtype.itemsize < 8 else np.float64}
    array = array.astype(kept.get(array.dtype.kind, array.dtype.newbyteorder("=")), copy=False)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if array.ndim == 4 else array, isVector=array.ndim == 4)
    image.SetSpacing(triple(spacing_mm)[::-1])
    return image


def triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    """(D, H, W) from one number or three."""
    numbers = [float(v) for v in ([value] * 3 if isinstance(value, (int, float)) else value)]
    if len(numbers) != 3 or not all(0 < n < float("inf") for n in numbers):
        raise NASError(f"{value!r}", "one positive number, or three for (D, H, W)", "mend the size or the spacing")
    return numbers[0], numbers[1], numbers[2]


def _check(image: Image, path: Path) -> Image:
    size = image.GetSize()
    if len(size) == 4 and size[3] == 1:
        return _check(image[:, :, :, 0], path)
    if len(size) != 3:
        raise _not_a_volume(f"an image of {len(size)} dimensions (size {'x'.join(map(str, size))})", path)
    if min(size) < 2:
        raise _not_a_volume(f"a single slice (size {'x'.join(map(str, size))})", path)
    kind = image.GetPixelIDTypeAsString()
    if "complex" in kind:
        raise _not_a_volume(f"{kind} voxels", path)
    if "float" in kind and not np.isfinite(medical("SimpleITK").GetArrayViewFromImage(image)).all():
        raise _not_finite(path)
    return image


def _not_finite(path: Path) -> NASError:
    return NASError(f"NaN or infinite values in {path}", "finite voxels", "mend or leave out the volume")


def _not_a_volume(got: str, path: Path) -> NASError:
    return NASError(f"{got} in {path}", "one 3D volume, with or without channels", "give one volume a file")


def unreadable(path: Path, error: Exception) -> NASError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "No such file" not in line), type(error).__name__)
    return NASError(
        f"{path}, which cannot be read ({told})",
        "a complete NIfTI, NRRD, MetaImage or .npy file, or a folder with a DICOM series",
        "copy the file again, or convert it",
    )
