"""The mean number of channels of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from nas.tasks.base import evaluation_mode
from nas.zero_cost.minibatch import Minibatch


def width(network: nn.Module, minibatch: Minibatch) -> float:
    """Compute the mean number of channels of the outputs of all convolutions, weighted with their voxels.

    Full resolution counts most, so that of U-Nets the channels at full resolution decide. The convolution that gives
    the output of the network itself is left out.

    Args:
        network: Any network.
        minibatch: Gives an image.

    Returns:
        Channels, at least 1; 0.0 for a network without convolutions.
    """
    maps: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        maps.append(output)

    convolutions = [module for module in network.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    hooks = [module.register_forward_hook(note) for module in convolutions]
    try:
        with torch.no_grad(), evaluation_mode(network):
            output = network(minibatch.x_BCDHW[:1])
    finally:
        for hook in hooks:
            hook.remove()
    sizes = [(found.shape[1], found[0, 0].numel()) for found in maps if found is not output]
    voxels = sum(size for _, size in sizes)
    return sum(channels * size for channels, size in sizes) / voxels if voxels else 0.0
