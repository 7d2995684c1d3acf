"""Patches of volumes: all classes equally often in the middle of a patch, or a share of them around the foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nas.errors import NASError
from nas.utils.identity import described

LOCATED = 512  # voxels of each class whose positions a store holds for a volume


@dataclass(frozen=True)
class Patches:
    """Size and number of the patches of a training.

    Attributes:
        size_DHW: Voxels per side.
        per_volume: Patches drawn from each volume per epoch.
        foreground: Share of the patches around a voxel of a random class other than the background; the others lie
            anywhere in their volume. If None, all classes, with the background, are equally often in the middle.

    Raises:
        NASError: If a value is out of range.
    """

    size_DHW: tuple[int, int, int]
    per_volume: int = 1
    foreground: float | None = field(default=None, repr=False)  # earlier versions had none

    def __post_init__(self) -> None:
        if len(self.size_DHW) != 3 or min(self.size_DHW) < 1:
            raise NASError(
                f"patches of {list(self.size_DHW)}", "three sides (D, H, W) of at least 1 voxel", "set data.patch"
            )
        if self.per_volume < 1:
            raise NASError(f"data.patches_per_volume={self.per_volume}", "at least 1", "set data.patches_per_volume")

    def __str__(self) -> str:
        own = "" if self.foreground is None else f", foreground={self.foreground}"
        return f"{repr(self)[:-1]}{own})"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings that decide the patches, without those that earlier versions lacked and that are not used."""
        own = described(self)
        return {name: value for name, value in own.items() if (name, value) != ("foreground", None)}

    @classmethod
    def of(cls, patch: int | Sequence[int], per_volume: int, foreground: float | None = None) -> Patches:
        """Make patches from the settings of a source.

        Args:
            patch: One side for all axes, or three (D, H, W), in voxels.
            per_volume: Patches of each volume per epoch.
            foreground: Share of the patches around the foreground, in [0, 1], or None.

        Returns:
            The patches.

        Raises:
            NASError: If a value is out of range.
        """
        depth, height, width = (patch,) * 3 if isinstance(patch, int) else patch
        return cls((depth, height, width), per_volume, foreground)


def require_patch(patch: object, foreground: float | None) -> None:
    """Check that a share of patches around the foreground is stated for patches only.

    Args:
        patch: The setting `data.patch`.
        foreground: The setting `data.foreground`.

    Raises:
        NASError: If there are no patches.
    """
    if patch is None and foreground is not None:
        raise NASError(f"data.foreground={foreground} without data.patch", "a patch", "set data.foreground to null")


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
        classes_P: Class of the voxel that each was drawn around; -1 if it was drawn anywhere.
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
    """Draw the patches of one epoch: each volume `per_volume` times, shuffled.

    By default classes alternate, and the background is one of them. If a volume lacks the next class, its patch is
    around a voxel of another class. With `Patches.foreground` that share of every batch, up to one patch, is around a
    voxel of a class other than the background, each class of the volume being equally probable, as nnU-Net draws a
    third of its patches (Isensee et al., Nature Methods 18 (2021) 203); the others lie anywhere. Patches do not reach
    into the padding unless they are larger than the unpadded volume, so that near a border the voxel is not in the
    middle of its patch.

    Args:
        patches: Their size and number.
        shape_DHW: Sides of the padded volumes.
        extents_N3: Sides before padding.
        located_NKM: Voxels of each class, as `locate` chooses them.
        generator: On the CPU; decides everything.

    Returns:
        N times `per_volume` patches.
    """
    N, _, M = located_NKM.shape
    P = N * patches.per_volume
    rows_P = torch.randperm(P, generator=generator).numpy() % N
    present_PK = located_NKM[rows_P, :, 0] >= 0
    if patches.foreground is None:
        classes_P = _alternating(present_PK, generator)
    else:
        classes_P = _foreground(present_PK, patches.foreground, generator)
    picks_P = torch.randint(M, (P,), generator=generator).numpy()
    voxels_P = np.maximum(located_NKM[rows_P, classes_P, picks_P], 0)
    centres_P3 = np.stack(np.unravel_index(voxels_P, tuple(shape_DHW)), axis=1)
    size_3 = np.array(patches.size_DHW)
    low_N3, high_N3 = bounds(shape_DHW, extents_N3)
    ends_2P3 = np.sort(
        [low_N3[rows_P], high_N3[rows_P] - size_3], axis=0
    )  # a patch larger than its volume holds all of it
    corners_P3 = np.clip(centres_P3 - size_3 // 2, *ends_2P3)
    if patches.foreground is not None:
        draws_P3 = torch.rand((P, 3), generator=generator, dtype=torch.float64).numpy()
        anywhere_P3 = ends_2P3[0] + (draws_P3 * (ends_2P3[1] - ends_2P3[0] + 1)).astype(np.int64)
        corners_P3 = np.where(classes_P[:, None] < 0, anywhere_P3, corners_P3)
    return Drawn(rows_P, classes_P, corners_P3.clip(0, np.asarray(shape_DHW) - size_3))


def _alternating(present_PK: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Choose the classes of patches in turn; for a volume that lacks the next one, another at random."""
    P, K = present_PK.shape
    first = int(torch.randint(K, (1,), generator=generator))
    next_PK = (np.arange(P)[:, None] + first) % K == np.arange(K)
    # the next class in the cycle has the highest rank, then the others at random
    rank_PK = torch.rand((P, K), generator=generator).numpy() + next_PK
    return np.where(present_PK, rank_PK, -1.0).argmax(axis=1)


def _foreground(present_PK: np.ndarray, share: float, generator: torch.Generator) -> np.ndarray:
    """Choose a class other than the background for a share of the patches, evenly spread; -1 for the others."""
    P, K = present_PK.shape
    offset = float(torch.rand((), generator=generator))
    steps = np.floor(np.arange(P + 1) * share + offset)
    rank_PK = torch.rand((P, K), generator=generator).numpy()
    present_PK = present_PK & (np.arange(K) > 0)
    classes_P = np.where(present_PK, rank_PK, -1.0).argmax(axis=1)
    return np.where((np.diff(steps) > 0) & present_PK.any(axis=1), classes_P, -1)
