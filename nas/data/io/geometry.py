"""Geometry of a volume: spacing, perpendicular directions and origin out of any affine matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.limits import Limit
from nas.errors import NASError

if TYPE_CHECKING:
    from SimpleITK import Image

ALIKE = 1e-6  # deviation of cosines that is rounding of 32-bit numbers
MOST_SHIFT = 0.5  # smallest voxel sides that a corner may move when axes are made perpendicular

LIMITS = (
    Limit(
        "Geometry",
        "axes that are not perpendicular (skew)",
        "corrected",
        f"if no voxel moves by more than {MOST_SHIFT} times the smallest voxel side; else refused with the angle",
    ),
    Limit("Geometry", "an axis of length 0, NaN in the affine", "refused", "correct the header"),
)


@dataclass(frozen=True)
class Geometry:
    """Geometry of a volume in the world of DICOM and ITK (LPS).

    Attributes:
        size_xyz: Voxels per axis.
        spacing_xyz: Voxel size in mm.
        direction_33: Unit vectors of the axes as columns, perpendicular to each other.
        origin_mm: World point (x, y, z) of the first voxel.
    """

    size_xyz: tuple[int, int, int]
    spacing_xyz: tuple[float, float, float]
    direction_33: np.ndarray
    origin_mm: tuple[float, float, float]

    def put_on(self, image: Image) -> Image:
        """Give an image this geometry.

        Args:
            image: An image of this size, changed in place.

        Returns:
            The image.
        """
        image.SetSpacing(self.spacing_xyz)
        image.SetDirection(self.direction_33.ravel().tolist())
        image.SetOrigin(self.origin_mm)
        return image


def geometry_of(axes_33: np.ndarray, origin_mm: Sequence[float], size_xyz: Sequence[int], name: str) -> Geometry:
    """Make the axes of an affine perpendicular if they nearly are.

    The middle of the volume stays where it is; the new axes are the nearest perpendicular ones (polar decomposition).

    Args:
        axes_33: Steps of the voxels along the axes in mm, LPS, as columns.
        origin_mm: World point of the first voxel.
        size_xyz: Voxels per axis.
        name: Name of the file for messages.

    Returns:
        The geometry.

    Raises:
        NASError: If an axis has no length, or a corner moves by more than `MOST_SHIFT` of the smallest voxel side.
    """
    axes_33, origin = np.asarray(axes_33, dtype=float), np.asarray(origin_mm, dtype=float)
    spacing = np.linalg.norm(axes_33, axis=0)
    if not (np.isfinite(axes_33).all() and np.isfinite(origin).all() and (spacing > 0).all()):
        raise NASError(
            f"an affine with voxels of {_numbers(spacing)} mm in {name}",
            "finite numbers above 0",
            "correct the affine in the header (sform, qform, pixdim, spacing)",
        )
    direction_33 = axes_33 / spacing
    cosines = direction_33.T @ direction_33
    if np.abs(cosines - np.eye(3)).max() > ALIKE:
        left, _, right = np.linalg.svd(direction_33)
        perpendicular_33 = left @ right
        middle = (np.array(size_xyz) - 1) / 2
        moved = max(
            float(np.linalg.norm((axes_33 - perpendicular_33 * spacing) @ (np.array(signs) * middle)))
            for signs in product((-1, 1), repeat=3)
        )
        if moved > MOST_SHIFT * spacing.min():
            first, second = max(((0, 1), (0, 2), (1, 2)), key=lambda pair: abs(cosines[pair]))
            angle = np.degrees(np.arccos(np.clip(cosines[first, second], -1, 1)))
            raise NASError(
                f"axes {'xyz'[first]} and {'xyz'[second]} at {angle:.2f} degrees in {name}",
                f"perpendicular axes, within {MOST_SHIFT} voxels at the corners (they move by {moved:.2f} mm)",
                "resample the volume onto perpendicular axes",
            )
        origin = origin + (axes_33 - perpendicular_33 * spacing) @ middle
        direction_33 = perpendicular_33
    x, y, z = map(float, spacing)
    i, j, k = map(int, size_xyz)
    a, b, c = map(float, origin)
    return Geometry((i, j, k), (x, y, z), direction_33, (a, b, c))


def affine_of(image: Image) -> np.ndarray:
    """Return the affine matrix of an image.

    Args:
        image: A volume.

    Returns:
        (4, 4): voxel index (x, y, z, 1) -> world mm, LPS.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def corners_mm(affine_44: np.ndarray, size_xyz: Sequence[int]) -> np.ndarray:
    """Return the world points of the outermost voxels.

    Args:
        affine_44: The affine matrix.
        size_xyz: Voxels per axis.

    Returns:
        (8, 3) mm.
    """
    index_83 = np.array(list(product((0, 1), repeat=3))) * (np.array(size_xyz) - 1)
    return index_83 @ affine_44[:3, :3].T + affine_44[:3, 3]


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
