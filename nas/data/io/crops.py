"""Crops of volumes on a chosen grid, and windows of intensities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.formats import META_IMAGE, NRRD, format_of, unreadable
from nas.data.io.images import AIR_HU, FULL, checked, existing, not_a_volume, read_image
from nas.data.io.itk_files import itk_reader, perpendicular
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image


def read_region(path: str | Path, centre_mm: Sequence[float], reach_mm: float) -> Image:
    """Read the region around a world point; of an uncompressed MetaImage or NRRD file no more is read.

    Args:
        path: An image file.
        centre_mm: World point (x, y, z) in mm (LPS).
        reach_mm: Distance from the point along each axis in mm.

    Returns:
        The region with its own origin.

    Raises:
        NASError: As `read_image` does, and if the point lies outside of the volume.
    """
    path = existing(path)
    if path.is_dir() or (found := format_of(path)) not in (META_IMAGE, NRRD):
        return read_image(path)
    reader = itk_reader(path, found)
    if reader.GetDimension() != 3 or not perpendicular(reader):
        return read_image(path)
    low, size = _box(reader, centre_mm, reach_mm, path.name)
    reader.SetExtractIndex(low)
    reader.SetExtractSize(size)
    try:
        return checked(reader.Execute(), path)
    except RuntimeError as error:
        raise unreadable(path, error) from error


def middle(image: Image) -> tuple[float, float, float]:
    """Return the world point in the middle of a volume.

    Args:
        image: The volume.

    Returns:
        (x, y, z) in mm (LPS).
    """
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    return x, y, z


def reach(size_DHW: Sequence[int], spacing_DHW_mm: Sequence[float]) -> float:
    """Compute the distance from its centre that a crop needs, with the margin of its low-pass filter.

    Args:
        size_DHW: Voxels of the crop.
        spacing_DHW_mm: Their size in mm.

    Returns:
        The largest distance along an axis in mm.
    """
    return max((n / 2 + 2) * mm for n, mm in zip(size_DHW, spacing_DHW_mm, strict=True))


def crop(
    image: Image,
    centre_mm: Sequence[float],
    size_DHW: Sequence[int],
    spacing_DHW_mm: Sequence[float],
    fill: float | Sequence[float] | np.ndarray,
    name: str = "the volume",
) -> np.ndarray:
    """Resample a volume to a grid whose middle lies exactly on a world point.

    The grid follows the volume's own axes, turned to those nearest to LPS (for an axial CT: LPS itself). Interpolation
    is linear. Axes that get coarser are smoothed first (sigma = (factor - 1) / 2 voxels), so that noise does not fold
    into the crop.

    Args:
        image: The volume.
        centre_mm: World point (x, y, z) in mm (LPS).
        size_DHW: Voxels of the grid.
        spacing_DHW_mm: Their size in mm.
        fill: Value outside of the volume, one for all or one per channel.
        name: Name of the volume for messages.

    Returns:
        (C, D, H, W) float32.

    Raises:
        NASError: If the point lies outside of the volume.
    """
    sitk = medical("SimpleITK")
    # only the neighbourhood is turned, smoothed and resampled, so that the cost does not depend on the scan's size
    low, extent = _box(image, centre_mm, reach(size_DHW, spacing_DHW_mm), name)
    region = sitk.DICOMOrient(sitk.RegionOfInterest(image, extent, low), "LPS")
    spacing_xyz = [float(mm) for mm in reversed(spacing_DHW_mm)]
    size_xyz = [int(n) for n in reversed(size_DHW)]
    sigma_mm = [max(0.0, (new - old) / 2) for new, old in zip(spacing_xyz, region.GetSpacing(), strict=True)]
    corner = _corner(region, centre_mm, size_xyz, spacing_xyz)

    channels = region.GetNumberOfComponentsPerPixel()
    fills = np.broadcast_to(np.asarray(fill, dtype=float), (channels,))
    volume_CDHW = np.empty((channels, *reversed(size_xyz)), dtype=np.float32)
    for c in range(channels):
        channel = sitk.VectorIndexSelectionCast(region, c) if channels > 1 else region
        channel = sitk.Cast(channel, sitk.sitkFloat32)
        if any(sigma_mm):
            channel = sitk.DiscreteGaussian(channel, [sigma**2 for sigma in sigma_mm])
        identity = sitk.Transform(3, sitk.sitkIdentity)
        grid = (size_xyz, identity, sitk.sitkLinear, corner, spacing_xyz, region.GetDirection())
        volume_CDHW[c] = sitk.GetArrayFromImage(sitk.Resample(channel, *grid, float(fills[c])))
    return volume_CDHW


def crop_grid(
    image: Image,
    centre_mm: Sequence[float],
    size_DHW: Sequence[int],
    spacing_DHW_mm: Sequence[float],
    name: str = "the volume",
) -> Image:
    """Return the grid to which `crop` resamples a volume.

    Args:
        image: The volume.
        centre_mm: World point (x, y, z) in mm (LPS).
        size_DHW: Voxels of the grid.
        spacing_DHW_mm: Their size in mm.
        name: Name of the volume for messages.

    Returns:
        An image of zeros with the geometry of the grid.

    Raises:
        NASError: If the point lies outside of the volume.
    """
    sitk = medical("SimpleITK")
    low, _ = _box(image, centre_mm, 0.0, name)
    voxel = sitk.DICOMOrient(sitk.RegionOfInterest(image, [1, 1, 1], low), "LPS")
    size_xyz, spacing_xyz = [int(n) for n in reversed(size_DHW)], [float(mm) for mm in reversed(spacing_DHW_mm)]
    grid = sitk.Image(size_xyz, sitk.sitkUInt8)
    grid.SetSpacing(spacing_xyz)
    grid.SetDirection(voxel.GetDirection())
    grid.SetOrigin(_corner(voxel, centre_mm, size_xyz, spacing_xyz))
    return grid


def _corner(
    image: Image, centre_mm: Sequence[float], size_xyz: Sequence[int], spacing_xyz: Sequence[float]
) -> list[float]:
    """Return the world point of the first voxel of a grid with the axes of an image and its middle on a point."""
    axes = np.reshape(image.GetDirection(), (3, 3))
    half = (np.array(size_xyz) - 1) / 2 * np.array(spacing_xyz)
    return list(map(float, np.asarray(centre_mm, dtype=float) - axes @ half))


def crop_hu(
    image: Image,
    centre_mm: Sequence[float],
    size: int,
    spacing_mm: float,
    window_hu: tuple[float, float],
    name: str = "the scan",
) -> np.ndarray:
    """Crop a CT on an isotropic grid around a world point.

    Args:
        image: The CT in HU.
        centre_mm: World point (x, y, z) in mm (LPS).
        size: Voxels per side.
        spacing_mm: Voxel size in mm.
        window_hu: (low, high); values are clipped to it.
        name: Name of the scan for messages.

    Returns:
        (1, size, size, size) int16 HU, air beyond the scan.

    Raises:
        NASError: If the image has several channels, or the point lies outside of it.
    """
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise not_a_volume("several channels", Path(name))
    volume_CDHW = crop(image, centre_mm, (size,) * 3, (spacing_mm,) * 3, AIR_HU, name)
    return np.rint(np.clip(volume_CDHW, *window_hu)).astype(np.int16)


def hu_window(window_hu: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a window of HU as floats.

    Args:
        window_hu: [low, high], as `nas.utils.annotations.HuWindow` declares it.

    Returns:
        (low, high).
    """
    low, high = window_hu
    return float(low), float(high)


def to_window(volume_CDHW: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Map intensities linearly from a window to [0, 32767].

    Args:
        volume_CDHW: Intensities.
        low: Value that becomes 0, as all below it; one for all or one per channel.
        high: Value that becomes 32767, as all above it; one for all or one per channel.

    Returns:
        (C, D, H, W) int16.
    """
    low, high = (np.reshape(np.asarray(end, dtype=np.float64), (-1, 1, 1, 1)) for end in (low, high))
    return np.rint(np.clip((volume_CDHW - low) / (high - low), 0, 1) * FULL).astype(np.int16)


def _box(geometry: Any, centre_mm: Sequence[float], reach_mm: float, name: str) -> tuple[list[int], list[int]]:
    """Return first index and size (x, y, z) of the voxels within reach of a point of an image or of its reader."""
    size, spacing = np.array(geometry.GetSize()), np.array(geometry.GetSpacing())
    axes = np.reshape(geometry.GetDirection(), (3, 3))
    index = np.linalg.solve(axes, np.asarray(centre_mm, dtype=float) - geometry.GetOrigin()) / spacing
    if not ((index > -0.5 - 1e-6) & (index < size - 0.5 + 1e-6)).all():
        raise NASError(
            f"the point {tuple(round(float(mm), 2) for mm in centre_mm)} mm, which lies outside of {name}",
            "a world point (x, y, z) in LPS mm as in DICOM (to the left, to the back, to the head)",
            "change the signs of x and y if the coordinates are RAS (NIfTI); give mm, not voxels",
        )
    low = np.clip(np.floor(index - reach_mm / spacing) - 1, 0, size - 1).astype(int)
    high = np.clip(np.ceil(index + reach_mm / spacing) + 1, 0, size - 1).astype(int)
    return low.tolist(), (high - low + 1).tolist()
