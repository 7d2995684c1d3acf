"""Geometry of a stack of slices by their positions; a tilted stack is interpolated to an upright grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.dicom_header import Slice
from nas.data.io.geometry import Geometry, geometry_of
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

MOST_DEGREES = 45.0  # gantries tilt by up to 30 degrees
LEAST_SHIFT = 0.5  # pixels over the whole stack: less is the rounding of positions
BESIDE_LINE = 0.5  # pixels


def upright(image: Image, slices: Sequence[Slice], name: str, keep_pixels: bool) -> Image:
    """Give a stack of slices its geometry; a tilted one is sheared to an upright grid.

    Positions are fitted by a line. If it runs along the normal of the slices, within `LEAST_SHIFT` pixels, the stack is
    upright. Else each slice is moved within its plane to its place by linear interpolation, on a grid that is larger by
    the whole shift; voxels without a value get the lowest value of the stack.

    Args:
        image: The stack as ITK read it.
        slices: Its slices, in order.
        name: The folder, for messages.
        keep_pixels: Whether to leave the pixels of a tilted stack where they are.

    Returns:
        The stack on perpendicular axes.

    Raises:
        NASError: If the slices lie askew by more than `MOST_DEGREES`, or not on one line.
    """
    first, count = slices[0], len(slices)
    points_N3 = np.array([slice_.position_mm for slice_ in slices])
    numbers = np.arange(count) - (count - 1) / 2
    middle = points_N3.mean(axis=0)
    step = numbers @ (points_N3 - middle) / (numbers @ numbers)
    row, column = np.array(first.row), np.array(first.column)
    row_mm, column_mm = first.spacing_mm
    flat = np.column_stack([row * column_mm, column * row_mm, np.cross(row, column)])
    axes_33 = geometry_of(flat, first.position_mm, (first.sides[1], first.sides[0], 1), name).direction_33
    sideways_mm = axes_33.T @ step  # along row, column and normal
    between_mm = float(sideways_mm[2])
    beside = np.abs((points_N3 - middle - numbers[:, None] * step) @ axes_33[:, :2]).max()
    if beside > BESIDE_LINE * min(row_mm, column_mm):
        raise NASError(
            f"slices that lie up to {beside:.2f} mm beside one line in {name} (ImagePositionPatient)",
            f"positions on a line, within {BESIDE_LINE} pixels",
            "convert the series to NIfTI (dcm2niix)",
        )
    spacing = (float(column_mm), float(row_mm), between_mm)
    shift_mm = sideways_mm[:2] * (count - 1)
    straight = keep_pixels or bool((np.abs(shift_mm) <= LEAST_SHIFT * np.array(spacing[:2])).all())
    along = axes_33[:, 2] * between_mm if straight else step
    geometry = Geometry(image.GetSize(), spacing, axes_33, _triple(middle - along * (count - 1) / 2))
    geometry.put_on(image)
    if straight:
        return image
    degrees = math.degrees(math.atan2(float(np.hypot(*sideways_mm[:2])), between_mm))
    if degrees > MOST_DEGREES:
        raise NASError(
            f"slices that are displaced by {degrees:.1f} degrees from their normal in {name}",
            f"at most {MOST_DEGREES:g} degrees",
            "resample the series to an upright grid, for example by dcm2niix",
        )
    return _sheared(image, geometry, sideways_mm)


def _sheared(image: Image, geometry: Geometry, sideways_mm: np.ndarray) -> Image:
    """Interpolate within the slices, whose first is at its place."""
    sitk = medical("SimpleITK")
    axes_33, spacing = geometry.direction_33, np.array(geometry.spacing_xyz)
    size, count = np.array(image.GetSize()), image.GetSize()[2]
    shift_mm = np.append(sideways_mm[:2] * (count - 1), 0.0)
    more = np.ceil(np.abs(shift_mm) / spacing - 1e-6).astype(int)
    back = np.where(shift_mm < 0, more, 0)  # voxels before the first slice
    corner = np.array(geometry.origin_mm) - axes_33 @ (back * spacing)
    # a point of the upright world, at the height n, is in the stack's own (tilted) frame moved back by n * shear
    shear = axes_33[:, :2] @ sideways_mm[:2] / spacing[2]
    move = sitk.AffineTransform(3)
    move.SetMatrix((np.eye(3) - np.outer(shear, axes_33[:, 2])).ravel().tolist())
    move.SetCenter(geometry.origin_mm)
    lowest = float(sitk.GetArrayViewFromImage(image).min())
    return sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32),  # ITK would cut off the fractions of whole numbers
        (size + more).tolist(),
        move,
        sitk.sitkLinear,
        corner.tolist(),
        spacing.tolist(),
        axes_33.ravel().tolist(),
        lowest,
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z
