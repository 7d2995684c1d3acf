"""Memory layouts of maps."""

from __future__ import annotations

import torch

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by dimensions of a batch of maps


def is_channels_last(x_BCDHW: torch.Tensor) -> bool:
    """Whether the channels of a voxel lie side by side, and the voxels of a channel do not."""
    return not x_BCDHW.is_contiguous() and x_BCDHW.is_contiguous(memory_format=CHANNELS_LAST[x_BCDHW.ndim])
