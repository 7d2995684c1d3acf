"""Preparation of CT slices for a detector: windows of HU as channels, one size, 8 bits.

Training data and predictions are prepared by the same functions, so that a network sees the same kind of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from nas.errors import NASError

WINDOWS_HU = {"lung": (-1350.0, 150.0), "mediastinum": (-160.0, 240.0)}  # centre -600, width 1500; centre 40, width 400


def check_windows(windows: Sequence[str]) -> tuple[str, ...]:
    """Check names of windows.

    Args:
        windows: Names out of `WINDOWS_HU`.

    Returns:
        The names.

    Raises:
        NASError: If there is none, one is unknown, or one is there twice.
    """
    if not 0 < len(windows) == len(set(windows)) or not set(windows) <= set(WINDOWS_HU):
        raise NASError(
            f"windows {list(windows)}", f"some of {', '.join(WINDOWS_HU)}, each once", "windows=[lung,mediastinum]"
        )
    return tuple(windows)


def windowed(hu_HW: np.ndarray, windows: Sequence[str]) -> np.ndarray:
    """Map HU linearly to [0, 1] in each window.

    Args:
        hu_HW: A slice (H, W), or a volume (D, H, W), in HU.
        windows: Names out of `WINDOWS_HU`.

    Returns:
        (C, H, W) float32, one channel per window, or (C, D, H, W).
    """
    ends = [WINDOWS_HU[name] for name in windows]
    hu_HW = hu_HW.astype(np.float32)
    return np.stack([np.clip((hu_HW - low) / (high - low), 0, 1) for low, high in ends])


def fitted(grey_CHW: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Resize grey values and store them in 8 bits.

    Args:
        grey_CHW: Grey values in [0, 1].
        size: Pixels per side.

    Returns:
        (C, size, size) uint8, 0 beyond the image, and the factor of `resized`.
    """
    image_CHW, factor = resized(grey_CHW, size)
    return np.rint(image_CHW * 255).astype(np.uint8), factor


def resized(image_CHW: np.ndarray, size: int, fill: float = 0.0) -> tuple[np.ndarray, float]:
    """Resize an image to a square without changing its proportions.

    The longer side becomes `size`, by the mean over areas if it shrinks, by linear interpolation if it grows.

    Args:
        image_CHW: The image.
        size: Pixels per side.
        fill: Value beyond the image, at the right or at the bottom.

    Returns:
        (C, size, size) float32, and the factor that coordinates were multiplied by.
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
