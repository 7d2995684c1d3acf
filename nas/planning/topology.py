"""Target spacing, patch, pooling and kernels of a segmentation network, by the rules of nnU-Net.

Source: Isensee et al., Nature Methods 18:203, 2021 (arXiv 1904.08128), methods "Rule-based parameters" and
supplementary note 3. Axes are D, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.planning.fingerprint import ANISOTROPY

LEAST_SIDE = 4  # voxels of a map at the lowest resolution
NEAR = 2.0  # ratio to the finest spacing below which an axis is halved, and has kernels of three voxels
LOW_PERCENTILE = 10.0  # of the spacings of an anisotropic axis
START_VOXELS = 256**3  # of the largest patch
MOST_HALVINGS = 8


@dataclass(frozen=True)
class Topology:
    """How a network halves a patch.

    Args:
        patch: Sides (D, H, W) of the patch, multiples of the product of the strides.
        strides: For each halving, finest first, the factor of each axis, 1 or 2.
        flat_axes: For each level, finest first, the axes along which its kernels have one voxel.
    """

    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    flat_axes: tuple[tuple[int, ...], ...]

    @property
    def depth(self) -> int:
        """Number of halvings."""
        return len(self.strides)

    @property
    def divisors(self) -> tuple[int, ...]:
        """Factor by which each axis is divided in all."""
        return tuple(math.prod(stride[axis] for stride in self.strides) for axis in range(len(self.patch)))

    @property
    def is_isotropic(self) -> bool:
        """Whether every halving halves all axes, and all kernels are cubes."""
        return all(min(stride) == 2 for stride in self.strides) and not any(self.flat_axes)


def target_spacing(spacings_N3: np.ndarray, shapes_N3: np.ndarray) -> tuple[tuple[float, ...], bool]:
    """Choose the voxel size to which a data set is resampled.

    It is the median along each axis. If voxels are anisotropic and the coarsest axis has few of them, both by a factor
    of three, that axis gets the tenth percentile, but no finer voxels than the coarser of the other two.

    Args:
        spacings_N3: Voxel sizes in mm.
        shapes_N3: Sides of the volumes in voxels.

    Returns:
        Spacing (D, H, W) in mm, and whether the coarsest axis was refined.
    """
    spacing_3, size_3 = np.median(spacings_N3, axis=0), np.median(shapes_N3, axis=0)
    worst = int(spacing_3.argmax())
    others = [axis for axis in range(3) if axis != worst]
    coarse = spacing_3[worst] > ANISOTROPY * spacing_3[others].max()
    few = size_3[worst] * ANISOTROPY < size_3[others].min()
    if coarse and few:
        finer = float(np.percentile(spacings_N3[:, worst], LOW_PERCENTILE))
        spacing_3[worst] = max(finer, float(spacing_3[others].max()))
    return tuple(float(f"{mm:.6g}") for mm in spacing_3), bool(coarse and few)


def resampled_shapes(shapes_N3: np.ndarray, spacings_N3: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Compute the sides of volumes after resampling.

    Args:
        shapes_N3: Sides in voxels.
        spacings_N3: Voxel sizes in mm.
        spacing_mm: New voxel size.

    Returns:
        (N, 3) whole numbers of at least 1.
    """
    return np.maximum(np.rint(shapes_N3 * spacings_N3 / np.asarray(spacing_mm)), 1).astype(int)


def first_patch(spacing_mm: Sequence[float], median_shape: Sequence[float]) -> tuple[int, ...]:
    """Choose the patch from which the planning starts: a cube in mm of 256^3 voxels, cut to the median volume.

    Args:
        spacing_mm: Voxel size in mm.
        median_shape: Median sides of the resampled volumes.

    Returns:
        Sides (D, H, W), not yet multiples of a divisor.
    """
    inverse_3 = 1 / np.asarray(spacing_mm, dtype=float)
    cube_3 = np.rint(inverse_3 * (START_VOXELS / inverse_3.prod()) ** (1 / 3))
    return tuple(int(side) for side in np.maximum(np.minimum(cube_3, np.floor(median_shape)), 1))


def halved(patch: Sequence[int], spacing_mm: Sequence[float], room: Sequence[int] | None = None) -> Topology:
    """Choose the halvings and kernels of a network for a patch, and round the patch to their multiples.

    An axis is halved as long as its map keeps four voxels and its spacing is within a factor of two of the finest axis
    that can be halved. A last axis alone is halved only from 12 voxels on. Kernels have one voxel along an axis until
    its spacing is within a factor of two of the finest. Patches too small for that are enlarged to four voxels and
    halved once.

    Args:
        patch: Sides in voxels.
        spacing_mm: Voxel size in mm.
        room: Largest sides that the patch may have; sides that rounding up would enlarge beyond are rounded down. None
            for any.

    Returns:
        The topology.
    """
    mm, side = np.array(spacing_mm, dtype=float), np.array(patch)
    strides: list[tuple[int, ...]] = []
    flat_axes: list[tuple[int, ...]] = []
    thick = np.zeros(len(side), dtype=bool)
    while len(strides) < MOST_HALVINGS:
        large = side >= 2 * LEAST_SIDE
        chosen = large & (mm < NEAR * mm[large].min()) if large.any() else large
        if not chosen.any() or (chosen.sum() == 1 and side[chosen][0] < 3 * LEAST_SIDE):
            break
        thick |= mm < NEAR * mm.min()
        flat_axes.append(tuple(map(int, np.flatnonzero(~thick))))
        strides.append(tuple(np.where(chosen, 2, 1).tolist()))
        mm, side = np.where(chosen, 2 * mm, mm), np.where(chosen, -(-side // 2), side)
    if not strides:  # U-Nets halve at least once
        strides, flat_axes = [(2,) * len(mm)], [()]
        patch = [max(length, LEAST_SIDE) for length in patch]
    flat_axes.append(())  # at the bottom kernels are cubes
    found = Topology(tuple(map(int, patch)), tuple(strides), tuple(flat_axes))
    sides = []
    for number, (length, divisor) in enumerate(zip(patch, found.divisors, strict=True)):
        up = -(-length // divisor) * divisor
        fits = room is None or up <= room[number]
        sides.append(up if fits else max(room[number] // divisor, 1) * divisor)  # type: ignore[index]
    return Topology(tuple(sides), found.strides, found.flat_axes)


def smaller(topology: Topology, median_shape: Sequence[float], spacing_mm: Sequence[float]) -> Topology | None:
    """Shorten the side of a patch that is largest in proportion to the median volume.

    Args:
        topology: The patch and its halvings.
        median_shape: Median sides of the resampled volumes.
        spacing_mm: Voxel size in mm.

    Returns:
        The next smaller patch with its halvings; None if no side can be shortened.
    """
    order = np.argsort([-side / whole for side, whole in zip(topology.patch, median_shape, strict=True)], kind="stable")
    for axis in map(int, order):
        sides = list(topology.patch)
        sides[axis] -= topology.divisors[axis]
        if sides[axis] < LEAST_SIDE:
            continue
        # a shorter patch may have fewer halvings, and then a smaller step
        sides[axis] = topology.patch[axis] - halved(sides, spacing_mm).divisors[axis]
        found = halved(sides, spacing_mm)
        if math.prod(found.patch) < math.prod(topology.patch):
            return found
    return None
