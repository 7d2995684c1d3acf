"""Networks to export: with lively statistics, and an input that they take, whatever their space."""

from __future__ import annotations

import torch
from torch import nn

from nas.errors import NASError

SIDES = (8, 16, 32, 64, 128)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics of normalisation as after a training: at their first values a fault in them would not be seen."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            layer.running_mean.uniform_(-0.2, 0.2, generator=generator)
            layer.running_var.uniform_(0.2, 0.6, generator=generator)
    return network.eval()


def smallest_input(network: nn.Module) -> tuple[int, ...]:
    """(C, D, H, W), in 2D (C, H, W), of the smallest cube that the network takes in inference."""
    first = next(layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS))
    dims = first.weight.ndim - 2
    for side in SIDES:
        shape = (first.in_channels, *[side] * dims)
        try:
            with torch.inference_mode():
                network(torch.zeros(1, *shape))
        except (NASError, RuntimeError, ValueError):
            continue
        return shape
    raise AssertionError(f"{type(network).__name__} takes no cube of {SIDES}")
