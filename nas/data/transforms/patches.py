"""Patches of volumes, drawn so that all classes are equally often in the middle of a patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nas.errors import NASError

LOCATED = 512  # voxels of each class whose positions a store holds for a volume


@dataclass(frozen=True)
class Patches:
    """Size and number of the patches of a training.

    Attributes:
        size_DHW: Voxels per side.
        per_volume: Patches drawn from each volume per epoch.

    Raises:
        NASError: If a value is out of range.
    """

    size_DHW: tuple[int, int, int]
    per_volume: int = 1

    def __post_init__(self) -> None:
        if len(self.size_DHW) != 3 or min(self.size_DHW) < 1:
            raise NASError(
                f"patches of {list(self.size_DHW)}", "three sides (D, H, W) of at least 1 voxel", "set data.patch"
            )
        if self.per_volume < 1:
            raise NASError(f"data.patches_per_volume={self.per_volume}", "at least 1", "set data.patches_per_volume")

    @classmethod
    def of(cls, patch: int | Sequence[int], per_volume: int) -> Patches:
        """Make patches from the settings of a source.

        Args:
            patch: One side for all axes, or three (D, H, W), in voxels.
            per_volume: Patches of each volume per epoch.

        Returns:
            The patches.

        Raises:
            NASError: If a value is out of range.
        """
        depth, height, width = (patch,) * 3 if isinstance(patch, int) else patch
        return cls((depth, height, width), per_volume)


def bounds(shape_DHW: Sequence[int], extents_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the boxes of volumes that were padded equally on both sides.

    Args:
        shape_DHW: Sides after padding.
        extents_N3: Sides before padding.

    Returns:
        First voxels and ends, both (N, 3).
    """
    low_N3 = (np.asarray(shape_DHW) - extents_N3) // 2
    return low_N3, low_N3 + extents_N3


def locate(mask_DHW: np.ndarray, extent_DHW: Sequence[int], classes: int) -> np.ndarray:
    """Choose random voxels of each class, the same for the same mask.

    Args:
        mask_DHW: The mask of a padded volume.
        extent_DHW: Sides before padding.
        classes: Number of classes.

    Returns:
        (K, LOCATED) int32 flat positions outside of the padding, distinct if there are enough voxels and else repeated;
        -1 for a class that the volume lacks.
    """
    (low,), (high,) = bounds(mask_DHW.shape, np.array([extent_DHW]))
    real = np.full(mask_DHW.shape, -1, dtype=np.int16)
    inside = tuple(slice(first, end) for first, end in zip(low, high, strict=True))
    real[inside] = mask_DHW[inside]
    located_KM = np.full((classes, LOCATED), -1, dtype=np.int32)
    rng = np.random.default_rng(0)
    for number in range(classes):
        voxels = np.flatnonzero(real == number)
        if len(voxels):
            located_KM[number] = rng.permuted(voxels)[:LOCATED] if len(voxels) > LOCATED else np.resize(voxels, LOCATED)
    return located_KM


@dataclass(frozen=True, slots=True)
class Drawn:
    """The patches of one epoch in order.

    Attributes:
        rows_P: Positions of their volumes.
        classes_P: Class of the voxel in the middle of each.
        corners_P3: Their first voxels.
    """

    rows_P: np.ndarray
    classes_P: np.ndarray
    corners_P3: np.ndarray


def draw(
    patches: Patches,
    shape_DHW: Sequence[int],
    extents_N3: np.ndarray,
    located_NKM: np.ndarray,
    generator: torch.Generator,
) -> Drawn:
    """Draw the patches of one epoch: each volume `per_volume` times, shuffled, with alternating classes.

    The background is one of the classes. If a volume lacks the next class, its patch is around a voxel of another
    class. Patches do not reach into the padding unless they are larger than the unpadded volume, so that near a border
    the voxel is not in the middle of its patch.

    Args:
        patches: Their size and number.
        shape_DHW: Sides of the padded volumes.
        extents_N3: Sides before padding.
        located_NKM: Voxels of each class, as `locate` chooses them.
        generator: On the CPU; decides everything.

    Returns:
        N times `per_volume` patches.
    """
    N, K, M = located_NKM.shape
    P = N * patches.per_volume
    rows_P = torch.randperm(P, generator=generator).numpy() % N
    first = int(torch.randint(K, (1,), generator=generator))
    next_PK = (np.arange(P)[:, None] + first) % K == np.arange(K)
    # the next class in the cycle has the highest rank, then the others at random
    rank_PK = torch.rand((P, K), generator=generator).numpy() + next_PK
    present_PK = located_NKM[rows_P, :, 0] >= 0
    classes_P = np.where(present_PK, rank_PK, -1.0).argmax(axis=1)
    picks_P = torch.randint(M, (P,), generator=generator).numpy()
    centres_P3 = np.stack(np.unravel_index(located_NKM[rows_P, classes_P, picks_P], tuple(shape_DHW)), axis=1)
    size_3 = np.array(patches.size_DHW)
    low_N3, high_N3 = bounds(shape_DHW, extents_N3)
    ends_2P3 = np.sort(
        [low_N3[rows_P], high_N3[rows_P] - size_3], axis=0
    )  # a patch larger than its volume holds all of it
    corners_P3 = np.clip(centres_P3 - size_3 // 2, *ends_2P3).clip(0, np.asarray(shape_DHW) - size_3)
    return Drawn(rows_P, classes_P, corners_P3)
