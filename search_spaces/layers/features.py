"""A network as the backbone of another: its feature maps instead of its output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Features(nn.Module):
    """Backbone that returns the feature maps of a network.

    Args:
        network: Network with a method `features`. Its `head` is replaced by the identity.
        channels: Channels of each feature map, finest first.
    """

    def __init__(self, network: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        network.head = nn.Identity()
        self.network, self.channels = network, tuple(channels)

    def forward(self, x_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        """Compute the feature maps of an image.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W).

        Returns:
            Feature maps, finest first.
        """
        return self.network.features(x_BCDHW)  # type: ignore[operator]
