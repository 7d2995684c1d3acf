"""Stage 1 with a network: lungs slice by slice, then cleaned up by connected components."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from experiments.lung_screening.lungs import largest_two, require_lungs
from experiments.lung_screening.networks import StageNetworks
from experiments.lung_screening.scan import Scan
from experiments.lung_screening.slices import to_side
from experiments.lung_screening.training_data import LungSlices, stored_hu
from nas.errors import NASError

BATCH = 8  # slices
Progress = Callable[[int], object]


def network_lung_mask(
    scan: Scan, network: StageNetworks, batch: int = BATCH, on_slices: Progress | None = None
) -> np.ndarray:
    """Segment the lungs of a scan.

    Args:
        scan: The CT.
        network: Networks that were trained on `LungSlices`.
        batch: Slices per batch.
        on_slices: Called after each batch with its number of slices.

    Returns:
        (D, H, W) bool.

    Raises:
        NASError: If the networks were trained on other data, or no lungs are found.
    """
    if network.data != LungSlices.name:
        raise NASError(f"stage1 trained on {network.data}", "a training on luna16_lungs", "data=luna16_lungs")
    how = network.preparation("size", "window")
    mask_DHW = np.empty(scan.hu_DHW.shape, dtype=bool)
    for first in range(0, len(mask_DHW), batch):
        part_NHW = scan.hu_DHW[first : first + batch]
        x_BCHW = torch.from_numpy(stored_hu(to_side(part_NHW, how["size"]), how["window"]))[:, None]
        lung_B1HW = network.prob(x_BCHW)[:, 1:2]
        lung_B1HW = F.interpolate(lung_B1HW, part_NHW.shape[1:], mode="bilinear", align_corners=False)
        mask_DHW[first : first + batch] = lung_B1HW[:, 0].numpy() >= 0.5
        if on_slices is not None:
            on_slices(len(part_NHW))
    mask_DHW = largest_two(mask_DHW, scan.hu_DHW)
    mask_DHW = np.stack([ndimage.binary_fill_holes(mask_HW) for mask_HW in mask_DHW])
    require_lungs(mask_DHW, scan.spacing_mm, scan.name)
    return mask_DHW
