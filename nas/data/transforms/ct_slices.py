"""A CT slice as a detector sees it: windows of HU as channels, one size, 8 bits; and its boxes on that grid.

Preparation and prediction both go through here, so that a network is never shown what it was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from nas.errors import NASError

WINDOWS_HU = {"lung": (-1350.0, 150.0), "mediastinum": (-160.0, 240.0)}  # centre -600, width 1500; centre 40, width 400


def check_windows(windows: Sequence[str]) -> tuple[str, ...]:
    """Raises NASError for a window without a name here, none, or one twice."""
    if not 0 < len(windows) == len(set(windows)) or not set(windows) <= set(WINDOWS_HU):
        raise NASError(
            f"windows {list(windows)}", f"some of {', '.join(WINDOWS_HU)}, each once", "windows=[lung,mediastinum]"
        )
    return tuple(windows)


def windowed(hu_HW: np.ndarray, windows: Sequence[str]) -> np.ndarray:
    """(C, H, W) float32 in [0, 1]: 0 at and below the lower end of each window, 1 at and above its upper end."""
    ends = [WINDOWS_HU[name] for name in windows]
    hu_HW = hu_HW.astype(np.float32)
    return np.stack([np.clip((hu_HW - low) / (high - low), 0, 1) for low, high in ends])


def fitted(grey_CHW: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Grey values in [0, 1] -> (C, size, size) uint8, black beyond the image, and the factor of `resized`."""
    image_CHW, factor = resized(grey_CHW, size)
    return np.rint(image_CHW * 255).astype(np.uint8), factor


def resized(image_CHW: np.ndarray, size: int, fill: float = 0.0) -> tuple[np.ndarray, float]:
    """(C, size, size) float32, and the factor that coordinates were multiplied by.

    The longer side becomes `size`, by the mean over areas where it shrinks, linearly where it grows; the rest, at the
    right or at the bottom, is `fill`.
    """
    height, width = image_CHW.shape[1:]
    factor = size / max(height, width)
    sides = (max(1, round(height * factor)), max(1, round(width * factor)))
    image = torch.from_numpy(np.ascontiguousarray(image_CHW, dtype=np.float32))[None]
    if factor < 1:
        image = F.interpolate(image, size=sides, mode="area")
    elif factor > 1:
        image = F.interpolate(image, size=sides, mode="bilinear", align_corners=False)
    out = np.full((len(image_CHW), size, size), fill, dtype=np.float32)
    out[:, : sides[0], : sides[1]] = image[0].numpy()
    return out, factor
