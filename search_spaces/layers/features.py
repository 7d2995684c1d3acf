"""A network as the backbone of another: its feature maps instead of its answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Features(nn.Module):
    """(B, C, D, H, W) -> what `network.features` gives, finest first; its `head` is dropped.

    channels: of each feature map.
    """

    def __init__(self, network: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        network.head = nn.Identity()
        self.network, self.channels = network, tuple(channels)

    def forward(self, x_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        return self.network.features(x_BCDHW)  # type: ignore[operator]
