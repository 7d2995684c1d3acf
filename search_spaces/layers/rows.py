"""Views of channels-last maps as rows of voxels, whose W x C values are adjacent in memory."""

from __future__ import annotations

import torch

from search_spaces.layers.layout import is_channels_last

LEAST = 2**18  # values of a map, below which calls of functions take longer than they save


def on_cpu_rows(x_BCDHW: torch.Tensor) -> bool:
    """Return whether functions on rows replace layers: in training, for large channels-last volumes on a CPU.

    Args:
        x_BCDHW: A map.

    Returns:
        True for an eager computation with gradients.
    """
    if x_BCDHW.device.type != "cpu" or x_BCDHW.numel() < LEAST or not torch.is_grad_enabled():
        return False
    eager = not torch.jit.is_tracing() and not torch.compiler.is_compiling()
    return eager and x_BCDHW.ndim == 5 and is_channels_last(x_BCDHW)


def as_rows(x_BCDHW: torch.Tensor) -> torch.Tensor:
    """View a map as one without a third axis.

    Args:
        x_BCDHW: Map (B, C, D, H, W), channels-last; any other one is copied.

    Returns:
        Channels-last map (B, W x C, D, H), the channels of a voxel being adjacent.
    """
    x_BCDHW = x_BCDHW.contiguous(memory_format=torch.channels_last_3d)
    return x_BCDHW.permute(0, 2, 3, 4, 1).flatten(3).permute(0, 3, 1, 2)


def channels_of_rows(x_BQDH: torch.Tensor, channels: int) -> torch.Tensor:
    """Undo `as_rows`.

    Args:
        x_BQDH: Channels-last map (B, W x C, D, H).
        channels: Number of channels C.

    Returns:
        Channels-last map (B, C, D, H, W).
    """
    return x_BQDH.permute(0, 2, 3, 1).unflatten(3, (-1, channels)).permute(0, 4, 1, 2, 3)


def each_voxel(value_C: torch.Tensor, side: int) -> torch.Tensor:
    """Repeat values of channels for each voxel of a row.

    Args:
        value_C: (C,) values.
        side: Voxels W of a row.

    Returns:
        (W x C,) values.
    """
    return value_C.repeat(side)
