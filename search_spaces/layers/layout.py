"""Memory layouts of maps."""

from __future__ import annotations

import torch

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of axes of a batch of maps


def is_channels_last(x_BCDHW: torch.Tensor) -> bool:
    """Return whether a map is stored channels-last and not also contiguous.

    Args:
        x_BCDHW: Map (B, C, D, H, W) or (B, C, H, W).

    Returns:
        True if the channels of a voxel are adjacent in memory and the voxels of a channel are not.
    """
    return not x_BCDHW.is_contiguous() and x_BCDHW.is_contiguous(memory_format=CHANNELS_LAST[x_BCDHW.ndim])
