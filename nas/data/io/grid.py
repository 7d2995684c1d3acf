"""Whole volumes on one orientation and spacing: intensities by linear interpolation, labels by the nearest voxel.

The orientation is that of nas/data/io/images.py: arrays (D, H, W) with D towards the head, H towards the back and W
towards the patient's left (LPS). A scan that lies askew keeps its own axes, brought nearest to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.formats import NIFTI, NPY, format_of
from nas.data.io.geometry import affine_of, corners_mm
from nas.data.io.images import existing
from nas.data.io.itk_files import itk_geometry, itk_reader
from nas.data.io.limits import Limit
from nas.data.io.nifti import nifti_geometry
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

Triple = tuple[float, float, float]
DIRECTIONS = 1e-3  # cosines of axes that are the same
SAME_VOXELS = 0.05  # voxels: grids whose corners differ by less are one grid

LIMITS = (
    Limit(
        "Labels and channels",
        "a label map or channel whose header differs a little from its image, whose axes have another order, or that "
        "has other voxels over the same extent",
        "corrected",
        "brought onto the grid of the image by world coordinates, labels by the nearest voxel",
    ),
    Limit(
        "Labels and channels",
        "another extent, direction, or an origin more than half a voxel away",
        "refused",
        "resample it onto the image",
    ),
)


def planned_size(path: Path, spacing_DHW_mm: Triple | None) -> tuple[int, int, int]:
    """Compute the size that `on_grid` gives for a file from its header.

    Args:
        path: The file.
        spacing_DHW_mm: As for `on_grid`.

    Returns:
        (D, H, W).

    Raises:
        NASError: If the header cannot be read or is not that of a volume.
    """
    path = existing(path)
    if path.is_dir() or (found := format_of(path)) is NPY:
        raise NASError(f"{path}, an array or a folder", "a NIfTI, NRRD or MetaImage file", "convert it to NIfTI")
    if found is NIFTI:
        geometry = nifti_geometry(path)[1]
    else:
        reader = itk_reader(path, found)
        if reader.GetDimension() < 3:
            raise NASError(f"an image of {reader.GetDimension()} dimensions in {path}", "a volume", "leave it out")
        geometry = itk_geometry(reader, str(path))
    size, mm = np.empty(3, dtype=int), np.empty(3)
    world = _world(geometry.direction_33)
    size[world], mm[world] = geometry.size_xyz, geometry.spacing_xyz
    depth, height, width = _sides(size[::-1], mm[::-1], spacing_DHW_mm)
    return depth, height, width


def on_grid(image: Image, spacing_DHW_mm: Triple | None, labels: bool = False) -> tuple[np.ndarray, Triple]:
    """Resample a volume as `image_on_grid` does.

    Args:
        image: A volume of one channel.
        spacing_DHW_mm: Voxel size in mm. If None, that of the volume.
        labels: Whether the voxels are labels.

    Returns:
        Array (D, H, W) and its spacing (D, H, W) in mm.
    """
    image = image_on_grid(image, spacing_DHW_mm, labels)
    return medical("SimpleITK").GetArrayFromImage(image), _triple(image.GetSpacing()[::-1])


def image_on_grid(image: Image, spacing_DHW_mm: Triple | None, labels: bool = False) -> Image:
    """Turn a volume to LPS and resample it to a voxel size.

    The grid lies in the middle of the volume. Intensities are smoothed first along axes that get coarser (sigma =
    (factor - 1) / 2 voxels) and interpolated linearly; labels are taken from the nearest voxel.

    Args:
        image: A volume of one channel.
        spacing_DHW_mm: Voxel size in mm. If None, that of the volume.
        labels: Whether the voxels are labels.

    Returns:
        float32 intensities, or labels of their own type.
    """
    image = oriented(image, labels)
    old_xyz = np.array(image.GetSpacing())
    if spacing_DHW_mm is None or np.allclose(spacing_DHW_mm[::-1], old_xyz, rtol=1e-4):
        return image
    size_DHW = _sides(image.GetSize()[::-1], old_xyz[::-1], spacing_DHW_mm)
    return _resampled(image, size_DHW, spacing_DHW_mm, labels)


def of_size(image: Image, size_DHW: tuple[int, int, int], labels: bool = False) -> Image:
    """Resample a volume to a number of voxels over the same extent, on its own axes.

    Args:
        image: A volume of one channel.
        size_DHW: Voxels per axis.
        labels: Whether the voxels are labels; intensities are smoothed as `image_on_grid` does.

    Returns:
        The resampled volume.
    """
    extent_xyz = np.array(image.GetSize()) * image.GetSpacing()
    return _resampled(image, size_DHW, _triple(extent_xyz[::-1] / np.array(size_DHW)), labels)


def oriented(image: Image, labels: bool = False) -> Image:
    """Turn a volume to the axes nearest to LPS.

    Args:
        image: A volume of one channel.
        labels: Whether the voxels are labels.

    Returns:
        float32 intensities, or labels of their own type.
    """
    sitk = medical("SimpleITK")
    image = sitk.DICOMOrient(image, "LPS")
    return image if labels else sitk.Cast(image, sitk.sitkFloat32)


def onto(volume_DHW: np.ndarray, grid: Image, image: Image) -> np.ndarray:
    """Interpolate values linearly from one grid onto the voxels of an image.

    Args:
        volume_DHW: Values on the voxels of `grid`.
        grid: Geometry of the values.
        image: Geometry of the result.

    Returns:
        (D, H, W) in the order of the axes of `image`, 0 outside of `grid`.
    """
    sitk = medical("SimpleITK")
    values = sitk.GetImageFromArray(volume_DHW)
    values.CopyInformation(grid)
    return sitk.GetArrayFromImage(sitk.Resample(values, image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear))


def _resampled(image: Image, size_DHW: Sequence[float], spacing_DHW_mm: Triple, labels: bool) -> Image:
    """Resample to a grid of this size and spacing in the middle of the volume."""
    sitk = medical("SimpleITK")
    old_xyz, new_xyz = np.array(image.GetSpacing()), np.array(spacing_DHW_mm[::-1], dtype=float)
    size_xyz = [int(side) for side in size_DHW[::-1]]
    axes = np.reshape(image.GetDirection(), (3, 3))
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint(((np.array(image.GetSize()) - 1) / 2).tolist()))
    corner = middle - axes @ ((np.array(size_xyz) - 1) / 2 * new_xyz)
    sigma_mm = np.maximum(0, (new_xyz - old_xyz) / 2)
    if not labels and sigma_mm.any():
        image = sitk.DiscreteGaussian(image, (sigma_mm**2).tolist())
    interpolation = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(
        image, size_xyz, identity, interpolation, corner.tolist(), new_xyz.tolist(), image.GetDirection()
    )


def onto_image(
    other: Image, image: Image, path: Path, names: tuple[str, str] = ("an image", "its label"), labels: bool = True
) -> Image:
    """Bring a label map or a channel onto the voxels of its image, by world coordinates.

    Axes in another order or direction are turned first. Grids that are the same within `SAME_VOXELS` keep their
    voxels; others that fill the same extent, such as a label map of twice the resolution, are resampled.

    Args:
        other: The label map or channel.
        image: The image.
        path: File of the label map or channel, for messages.
        names: Names of image and the other, for messages.
        labels: Whether to take the nearest voxel instead of interpolating linearly.

    Returns:
        An image with exactly the geometry of `image`.

    Raises:
        NASError: As `require_same_grid` does, if they do not fill the same extent.
    """
    sitk = medical("SimpleITK")
    if not np.allclose(image.GetDirection(), other.GetDirection(), atol=DIRECTIONS):
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
        turned = sitk.DICOMOrient(other, code)
        other = turned if np.allclose(image.GetDirection(), turned.GetDirection(), atol=DIRECTIONS) else other
    if not have_same_extent(image, other):
        require_same_grid(image, other, path, names)
    if image.GetSize() != other.GetSize() or not have_same_voxels(image, other):
        kind = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
        border = (0.0, sitk.sitkUnknown, not labels)  # a channel repeats its last voxels beyond its border
        return sitk.Resample(other, image, sitk.Transform(3, sitk.sitkIdentity), kind, *border)
    other = sitk.Image(other)  # the voxels are shared, the geometry is not
    other.CopyInformation(image)
    return other


def have_same_extent(image: Image, other: Image) -> bool:
    """Check whether two images fill the same box in the world.

    Args:
        image: The first image.
        other: The second image, with any number of voxels.

    Returns:
        True if no outer corner is more than half a voxel of the finer image away from that of the other.
    """
    own_mm, others_mm = (_outer_corners_mm(one) for one in (image, other))
    finest = min(*image.GetSpacing(), *other.GetSpacing())
    return bool(np.linalg.norm(own_mm - others_mm, axis=1).max() <= finest / 2)


def _outer_corners_mm(image: Image) -> np.ndarray:
    """Return the outer corners of the first and the last voxels, (8, 3) mm."""
    affine_44 = affine_of(image)
    shifted_44 = affine_44.copy()
    shifted_44[:3, 3] -= affine_44[:3, :3] @ np.full(3, 0.5)
    return corners_mm(shifted_44, [size + 1 for size in image.GetSize()])


def have_same_voxels(image: Image, other: Image) -> bool:
    """Check whether the voxels of two images of one size are at the same places.

    Args:
        image: The first image.
        other: The second image.

    Returns:
        True if no corner is more than `SAME_VOXELS` away from that of the other.
    """
    own_mm, others_mm = (corners_mm(affine_of(one), image.GetSize()) for one in (image, other))
    return bool(np.linalg.norm(own_mm - others_mm, axis=1).max() <= SAME_VOXELS * min(image.GetSpacing()))


def require_same_grid(
    image: Image, label: Image, path: Path, names: tuple[str, str] = ("an image", "its label")
) -> None:
    """Check that two images agree in size, spacing, direction and origin (within half a voxel).

    Args:
        image: The first image.
        label: The second image.
        path: File of the second, for the message.
        names: Names of the two, for the message.

    Raises:
        NASError: If they differ.
    """
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    facts = {
        "shapes": (image.GetSize() == label.GetSize(), image.GetSize(), label.GetSize()),
        "spacings": (np.allclose(spacing, label.GetSpacing(), rtol=1e-3), image.GetSpacing(), label.GetSpacing()),
        "directions": (
            np.allclose(image.GetDirection(), label.GetDirection(), atol=DIRECTIONS),
            image.GetDirection(),
            label.GetDirection(),
        ),
        "origins": (
            np.linalg.norm(np.subtract(image.GetOrigin(), label.GetOrigin())) <= spacing.min() / 2 + 1e-6 * size.max(),
            image.GetOrigin(),
            label.GetOrigin(),
        ),
    }
    for name, (equal, first, second) in facts.items():
        if not equal:
            shown = (" x ".join(f"{value:.4g}" for value in values) for values in (first, second))
            raise NASError(
                f"different {name} of {' and '.join(names)}, {' and '.join(shown)} (x, y, z), for {path}",
                "both on one grid",
                f"resample {names[1]} onto {names[0]}, labels by nearest neighbour",
            )


def _world(axes: np.ndarray) -> np.ndarray:
    """Return for each axis of the array the nearest axis of the world, each once."""
    taken: list[int] = []
    for column in np.abs(axes).T:
        taken.append(max((axis for axis in range(3) if axis not in taken), key=lambda axis: column[axis]))
    return np.array(taken)


def _sides(size: Sequence[int] | np.ndarray, old_mm: np.ndarray, new_mm: Triple | None) -> tuple[int, ...]:
    if new_mm is None or np.allclose(new_mm, old_mm, rtol=1e-4):
        return tuple(int(n) for n in size)
    return tuple(max(1, round(float(n * old / new))) for n, old, new in zip(size, old_mm, new_mm, strict=True))


def _triple(values: Sequence[float] | np.ndarray) -> Triple:
    depth, height, width = map(float, values)
    return depth, height, width
