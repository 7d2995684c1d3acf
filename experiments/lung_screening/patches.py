"""Stage 2: overlapping patches inside the lungs -> the probability of a nodule, as a map over the scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from experiments.lung_screening.scan import Scan
from experiments.lung_screening.slices import moved, to_pixel
from experiments.lung_screening.training_data import NodulePatches
from experiments.trained import Trained
from nas.data.io.images import AIR_HU
from nas.errors import NASError

BATCH = 512  # patches
STRIDE_MM = 4.2  # between the middles of neighbouring patches of a slice
Progress = Callable[[int], object]


@dataclass(frozen=True)
class NoduleMap:
    """index_N3: middles of the patches as voxel indices (d, h, w); prob_N: of a nodule in the middle.

    grid_N3: the patches' places on the raster of patches (slice, row, column), whose sides are `raster`.
    """

    index_N3: np.ndarray
    prob_N: np.ndarray
    grid_N3: np.ndarray
    raster: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.prob_N)

    def smoothed(self, sigma: tuple[float, float, float]) -> np.ndarray:
        """(N,) probabilities averaged over neighbouring patches with Gaussian weights, outside of the lungs none.

        sigma: in steps of the raster.
        """
        sums, weights = np.zeros(self.raster), np.zeros(self.raster)
        at = tuple(self.grid_N3.T)
        sums[at], weights[at] = self.prob_N, 1.0
        sums, weights = (ndimage.gaussian_filter(values, sigma, mode="constant") for values in (sums, weights))
        return sums[at] / weights[at]


def nodule_map(
    scan: Scan,
    lungs_DHW: np.ndarray,
    network: Trained,
    stride_mm: float = STRIDE_MM,
    batch: int = BATCH,
    on_slices: Progress | None = None,
) -> NoduleMap:
    """Patches of every slice, `stride_mm` apart, whose middle lies in the lungs, each seen once by the network.

    on_slices: called with the number of slices done. Raises NASError for a network that was not trained on patches.
    """
    source = network.source
    if not isinstance(source, NodulePatches):
        raise NASError(f"stage2 trained on {source.name}", "a training on luna16_patches", "data=luna16_patches")
    stride = max(1, round(stride_mm / source.spacing_mm))
    half, sides = source.size // 2, scan.hu_DHW.shape[1:]
    index, prob, grid = [], [], []
    rows = columns = 0
    for level, (hu_HW, lungs_HW) in enumerate(zip(scan.hu_DHW, lungs_DHW, strict=True)):
        if lungs_HW.any():
            fine_HW = to_pixel(hu_HW, scan.spacing_mm[1:], source.spacing_mm)
            stored_HW = torch.from_numpy(source.stored(np.pad(fine_HW, half, constant_values=AIR_HU)))
            windows = stored_HW.unfold(0, source.size, stride).unfold(1, source.size, stride)
            rows, columns = windows.shape[:2]
            places_P2 = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
            middles_P2 = moved(places_P2 * stride + (source.size - 1) / 2 - half, fine_HW.shape, sides)
            nearest_P2 = np.rint(middles_P2).astype(int).clip(0, np.array(sides) - 1)
            chosen = np.flatnonzero(lungs_HW[tuple(nearest_P2.T)])
            if len(chosen):
                levels_P1 = np.full((len(chosen), 1), level)
                index.append(np.hstack([levels_P1, middles_P2[chosen]]))
                grid.append(np.hstack([levels_P1, places_P2[chosen]]))
                for part in np.array_split(places_P2[chosen], -(-len(chosen) // batch)):
                    prob.append(network.prob(windows[tuple(part.T)][:, None])[:, 1].numpy())
        if on_slices is not None:
            on_slices(1)
    return NoduleMap(np.concatenate(index), np.concatenate(prob), np.concatenate(grid), (len(lungs_DHW), rows, columns))
