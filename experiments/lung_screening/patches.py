"""Stage 2: the probability of a nodule at overlapping patches inside the lungs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.scan import Scan
from experiments.lung_screening.slices import moved, to_pixel
from experiments.lung_screening.training_data import NodulePatches, stored_hu
from nas.data.io.images import AIR_HU
from nas.errors import NASError

BATCH = 512  # patches
STRIDE_MM = 4.2  # between the middles of neighbouring patches of a slice
Progress = Callable[[int], object]


@dataclass(frozen=True)
class NoduleMap:
    """Probabilities of a nodule at the patches of a scan.

    Attributes:
        index_N3: (N, 3) middles of the patches as voxel indices (d, h, w), fractions too.
        prob_N: (N,) probability of a nodule in the middle of each patch.
        grid_N3: (N, 3) positions of the patches on the raster of patches (slice, row, column).
        raster: Sides of this raster.
    """

    index_N3: np.ndarray
    prob_N: np.ndarray
    grid_N3: np.ndarray
    raster: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.prob_N)

    def smoothed(self, sigma: tuple[float, float, float]) -> np.ndarray:
        """Average the probabilities over neighbouring patches with Gaussian weights.

        Patches outside of the lungs have no weight.

        Args:
            sigma: Standard deviations (D, H, W) in steps of the raster.

        Returns:
            (N,) averages.
        """
        sums, weights = np.zeros(self.raster), np.zeros(self.raster)
        at = tuple(self.grid_N3.T)
        sums[at], weights[at] = self.prob_N, 1.0
        sums, weights = (ndimage.gaussian_filter(values, sigma, mode="constant") for values in (sums, weights))
        return sums[at] / weights[at]


def nodule_map(
    scan: Scan,
    lungs_DHW: np.ndarray,
    network: StageNetworks,
    stride_mm: float = STRIDE_MM,
    batch: int = BATCH,
    on_slices: Progress | None = None,
) -> NoduleMap:
    """Classify the patches of every slice whose middle lies in the lungs, each once.

    Args:
        scan: The CT.
        lungs_DHW: (D, H, W) bool, the lungs.
        network: Networks that were trained on `NodulePatches`.
        stride_mm: Distance of neighbouring patches of a slice.
        batch: Patches per batch.
        on_slices: Called with the number of slices that are done.

    Returns:
        The probabilities.

    Raises:
        NASError: If the networks were trained on other data.
    """
    if network.data != NodulePatches.name:
        raise NASError(f"stage2 trained on {network.data}", "a training on luna16_patches", "data=luna16_patches")
    how = network.preparation("size", "spacing_mm", "window")
    size, spacing_mm = int(how["size"]), float(how["spacing_mm"])
    stride = max(1, round(stride_mm / spacing_mm))
    half, sides = size // 2, scan.hu_DHW.shape[1:]
    index, prob, grid = [], [], []
    rows = columns = 0
    for level, (hu_HW, lungs_HW) in enumerate(zip(scan.hu_DHW, lungs_DHW, strict=True)):
        if lungs_HW.any():
            fine_HW = to_pixel(hu_HW, scan.spacing_mm[1:], spacing_mm)
            stored_HW = torch.from_numpy(stored_hu(np.pad(fine_HW, half, constant_values=AIR_HU), how["window"]))
            windows = stored_HW.unfold(0, size, stride).unfold(1, size, stride)
            rows, columns = windows.shape[:2]
            places_P2 = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
            middles_P2 = moved(places_P2 * stride + (size - 1) / 2 - half, fine_HW.shape, sides)
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
