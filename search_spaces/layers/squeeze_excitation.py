"""Squeeze-and-excitation: a factor for each channel, from the means of all channels.

Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018 (arXiv 1709.01507).
"""

from __future__ import annotations

import torch
from torch import nn


class SqueezeExcitation(nn.Module):
    """Multiply each channel of a map by sigmoid(W2 relu(W1 means)).

    Args:
        channels: Channels C of the map.
        reduction: Ratio of C to the width between the two layers.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Scale the channels of a map.

        Args:
            x_BCDHW: Map (B, C, D, H, W), in 2D (B, C, H, W).

        Returns:
            Map of the same shape.
        """
        axes = (1,) * (x_BCDHW.dim() - 2)
        return x_BCDHW * self.gate(x_BCDHW.flatten(2).mean(dim=2)).unflatten(1, (-1, *axes))
