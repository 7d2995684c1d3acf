"""Whole volumes on one orientation and spacing: intensities by linear interpolation, labels by the nearest voxel.

The orientation is that of nas/data/io/images.py: arrays (D, H, W) with D towards the head, H towards the back and W
towards the patient's left (LPS). A scan that lies askew keeps its own axes, brought nearest to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.images import medical, unreadable
from nas.errors import NASError

if TYPE_CHECKING:
    from SimpleITK import Image

Triple = tuple[float, float, float]


def planned_size(path: Path, spacing_DHW_mm: Triple | None) -> tuple[int, int, int]:
    """(D, H, W) that `on_grid` will give for a file, from its header alone."""
    reader = medical("SimpleITK").ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    dims = reader.GetDimension()
    if dims < 3:
        raise NASError(f"an image of {dims} dimensions in {path}", "a volume", "leave it out")
    axes = np.reshape(reader.GetDirection(), (dims, dims))[:3, :3]
    size, mm = np.empty(3, dtype=int), np.empty(3)
    size[_world(axes)], mm[_world(axes)] = reader.GetSize()[:3], reader.GetSpacing()[:3]
    depth, height, width = _sides(size[::-1], mm[::-1], spacing_DHW_mm)
    return depth, height, width


def on_grid(image: Image, spacing_DHW_mm: Triple | None, labels: bool = False) -> tuple[np.ndarray, Triple]:
    """((D, H, W) array, its spacing in mm) of `image_on_grid`."""
    image = image_on_grid(image, spacing_DHW_mm, labels)
    return medical("SimpleITK").GetArrayFromImage(image), _triple(image.GetSpacing()[::-1])


def image_on_grid(image: Image, spacing_DHW_mm: Triple | None, labels: bool = False) -> Image:
    """A volume of one channel, turned to LPS, with voxels of this size; None: with those that it has.

    The grid lies in the middle of the volume. An axis of intensities that gets coarser is smoothed first (sigma =
    (factor - 1) / 2 voxels). Intensities are float32, labels keep their type.
    """
    image = oriented(image, labels)
    old_xyz = np.array(image.GetSpacing())
    if spacing_DHW_mm is None or np.allclose(spacing_DHW_mm[::-1], old_xyz, rtol=1e-4):
        return image
    size_DHW = _sides(image.GetSize()[::-1], old_xyz[::-1], spacing_DHW_mm)
    return _resampled(image, size_DHW, spacing_DHW_mm, labels)


def of_size(image: Image, size_DHW: tuple[int, int, int], labels: bool = False) -> Image:
    """A volume of one channel, on its own axes, as `size_DHW` voxels that cover what it covers; smoothed as `on_grid`
    does."""
    extent_xyz = np.array(image.GetSize()) * image.GetSpacing()
    return _resampled(image, size_DHW, _triple(extent_xyz[::-1] / np.array(size_DHW)), labels)


def oriented(image: Image, labels: bool = False) -> Image:
    """On axes nearest to LPS. Intensities become float32, labels keep their type."""
    sitk = medical("SimpleITK")
    image = sitk.DICOMOrient(image, "LPS")
    return image if labels else sitk.Cast(image, sitk.sitkFloat32)


def onto(volume_DHW: np.ndarray, grid: Image, image: Image) -> np.ndarray:
    """Values on the voxels of `grid` -> (D, H, W) on those of `image`, in the order of its own axes: linear
    interpolation, 0 outside of what `grid` covers."""
    sitk = medical("SimpleITK")
    values = sitk.GetImageFromArray(volume_DHW)
    values.CopyInformation(grid)
    return sitk.GetArrayFromImage(sitk.Resample(values, image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear))


def _resampled(image: Image, size_DHW: Sequence[float], spacing_DHW_mm: Triple, labels: bool) -> Image:
    """On a grid of this size and spacing in the middle of the volume."""
    sitk = medical("SimpleITK")
    old_xyz, new_xyz = np.array(image.GetSpacing()), np.array(spacing_DHW_mm[::-1], dtype=float)
    size_xyz = [int(side) for side in size_DHW[::-1]]
    axes = np.reshape(image.GetDirection(), (3, 3))
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint(((np.array(image.GetSize()) - 1) / 2).tolist()))
    corner = middle - axes @ ((np.array(size_xyz) - 1) / 2 * new_xyz)
    sigma_mm = np.maximum(0, (new_xyz - old_xyz) / 2)
    if not labels and sigma_mm.any():
        image = sitk.DiscreteGaussian(image, (sigma_mm**2).tolist())
    way = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(image, size_xyz, identity, way, corner.tolist(), new_xyz.tolist(), image.GetDirection())


def require_same_grid(
    image: Image, label: Image, path: Path, names: tuple[str, str] = ("an image", "its label")
) -> None:
    """Raises NASError where an image and its label, or two images of other `names`, differ in size, spacing, direction
    or place (by half a voxel)."""
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    facts = {
        "shapes": (image.GetSize() == label.GetSize(), image.GetSize(), label.GetSize()),
        "spacings": (np.allclose(spacing, label.GetSpacing(), rtol=1e-3), image.GetSpacing(), label.GetSpacing()),
        "directions": (
            np.allclose(image.GetDirection(), label.GetDirection(), atol=1e-3),
            image.GetDirection(),
            label.GetDirection(),
        ),
        "origins": (
            np.linalg.norm(np.subtract(image.GetOrigin(), label.GetOrigin())) <= spacing.min() / 2 + 1e-6 * size.max(),
            image.GetOrigin(),
            label.GetOrigin(),
        ),
    }
    for name, (holds, its, other) in facts.items():
        if not holds:
            shown = (" x ".join(f"{value:.4g}" for value in values) for values in (its, other))
            raise NASError(
                f"different {name} of {' and '.join(names)}, {' and '.join(shown)} (x, y, z), for {path}",
                "both on one grid",
                f"resample {names[1]} onto {names[0]}, labels by nearest neighbour",
            )


def _world(axes: np.ndarray) -> np.ndarray:
    """For each axis of the array the axis of the world that it is nearest to, each once."""
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
