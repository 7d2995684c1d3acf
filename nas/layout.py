"""Memory layouts of batches."""

from __future__ import annotations

import torch

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by dimensions


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """With the channels of a voxel side by side; other tensors than batches of volumes or slices as they are."""
    return tensor.contiguous(memory_format=CHANNELS_LAST[tensor.ndim]) if tensor.ndim in CHANNELS_LAST else tensor


def is_channels_last(x_BCDHW: torch.Tensor) -> bool:
    """Whether the channels of a voxel lie side by side, and the voxels of a channel do not."""
    return not x_BCDHW.is_contiguous() and x_BCDHW.is_contiguous(memory_format=CHANNELS_LAST[x_BCDHW.ndim])
