"""Patches of volumes, drawn so that every class is as often in the middle of a patch as any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nas.errors import NASError

LOCATED = 512  # voxels of each class that a store remembers of a volume


@dataclass(frozen=True)
class Patches:
    """How a store's volumes are drawn in training. size_DHW: voxels. per_volume: patches of each volume an epoch.

    Raises NASError for a value out of range.
    """

    size_DHW: tuple[int, int, int]
    per_volume: int = 1

    def __post_init__(self) -> None:
        if len(self.size_DHW) != 3 or min(self.size_DHW) < 1:
            raise NASError(
                f"patches of {list(self.size_DHW)}", "three sides (D, H, W) of at least 1 voxel", "data.patch"
            )
        if self.per_volume < 1:
            raise NASError(f"{self.per_volume} patches a volume", "at least 1", "mend data.patches_per_volume")

    @classmethod
    def of(cls, patch: int | Sequence[int], per_volume: int) -> Patches:
        """From the settings of a source. Raises NASError for what is neither one side nor three."""
        sides = (patch,) * 3 if isinstance(patch, int) else tuple(patch)
        if len(sides) != 3 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise NASError(
                f"patch={list(sides)}", "one side, or three (D, H, W), of at least 1 voxel", "mend data.patch"
            )
        return cls((sides[0], sides[1], sides[2]), per_volume)


def bounds(shape_DHW: Sequence[int], extents_N3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First voxels and ends (N, 3) of the real part of volumes that were padded on both sides alike."""
    low_N3 = (np.asarray(shape_DHW) - extents_N3) // 2
    return low_N3, low_N3 + extents_N3


def locate(mask_DHW: np.ndarray, extent_DHW: Sequence[int], classes: int) -> np.ndarray:
    """(K, LOCATED) int32: flat positions of random voxels of each class in the real part, each once where there are
    enough, else repeated; -1 for a class that the volume lacks. The same for the same mask."""
    (low,), (high,) = bounds(mask_DHW.shape, np.array([extent_DHW]))
    real = np.full(mask_DHW.shape, -1, dtype=np.int16)
    inside = tuple(slice(first, end) for first, end in zip(low, high, strict=True))
    real[inside] = mask_DHW[inside]
    located_KM = np.full((classes, LOCATED), -1, dtype=np.int32)
    rng = np.random.default_rng(0)
    for number in range(classes):
        found = np.flatnonzero(real == number)
        if len(found):
            located_KM[number] = rng.permuted(found)[:LOCATED] if len(found) > LOCATED else np.resize(found, LOCATED)
    return located_KM


@dataclass(frozen=True, slots=True)
class Drawn:
    """The patches of one epoch, in the order in which they are seen. rows_P: positions of their volumes. classes_P: of
    the voxel in the middle. corners_P3: their first voxels."""

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
    """Each volume `per_volume` times, shuffled; the classes, the background among them, take turns from patch to patch.

    A volume without the class whose turn it is gives a patch around one of its own classes. A patch lies within the
    real part of its volume as far as that is large enough, so that near a border its voxel is not in its middle. All
    is decided by the generator (on the CPU).
    """
    N, K, M = located_NKM.shape
    P = N * patches.per_volume
    rows_P = torch.randperm(P, generator=generator).numpy() % N
    first = int(torch.randint(K, (1,), generator=generator))
    turn_PK = (np.arange(P)[:, None] + first) % K == np.arange(K)
    # the class whose turn it is comes first, then any other at random
    rank_PK = torch.rand((P, K), generator=generator).numpy() + turn_PK
    there_PK = located_NKM[rows_P, :, 0] >= 0
    classes_P = np.where(there_PK, rank_PK, -1.0).argmax(axis=1)
    picks_P = torch.randint(M, (P,), generator=generator).numpy()
    centres_P3 = np.stack(np.unravel_index(located_NKM[rows_P, classes_P, picks_P], tuple(shape_DHW)), axis=1)
    size_3 = np.array(patches.size_DHW)
    low_N3, high_N3 = bounds(shape_DHW, extents_N3)
    ends_2P3 = np.sort([low_N3[rows_P], high_N3[rows_P] - size_3], axis=0)  # of a small volume all is within the patch
    corners_P3 = np.clip(centres_P3 - size_3 // 2, *ends_2P3).clip(0, np.asarray(shape_DHW) - size_3)
    return Drawn(rows_P, classes_P, corners_P3)
