"""Convolutional block attention in 3D: the form of the NAS-Lung code, and the original one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.layers.fused_cbam import fused_cbam
from search_spaces.layers.rows import on_cpu_rows


class PublishedCBAM3D(nn.Module):
    """Attention of the public NAS-Lung code.

    The channel gate is a softmax over channels of a linear bottleneck (no ReLU between the two maps) and never
    multiplies the output: it only weighs the input of the spatial map. The output is x + Ms * x, a gain in (1, 2).
    It has 2 * C * (C // 4) + 54 parameters. Source: Jiang et al., Pattern Recognition 113:107825, 2021
    (arXiv 2101.07429), as its code computes it.

    Args:
        channels: Channels C of the input, >= 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4, bias=False)
        self.excite = nn.Linear(channels // 4, channels, bias=False)
        self.spatial = nn.Conv3d(2, 1, 3, padding=1, bias=False)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Weigh the voxels of a map.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            Map of the same shape.
        """
        if on_cpu_rows(x_BCDHW):
            return fused_cbam(x_BCDHW, self.squeeze.weight, self.excite.weight, self.spatial.weight)
        return self.plain(x_BCDHW)

    def plain(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Weigh the voxels of a map as the code of NAS-Lung does.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            Map of the same shape.
        """
        return x_BCDHW + self.spatial_gate(x_BCDHW) * x_BCDHW

    def spatial_gate(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the weights of the voxels, Ms.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            (B, 1, D, H, W) in [0, 1].
        """
        pooled_BC = self.excite(self.squeeze(x_BCDHW.mean((2, 3, 4)))) + self.excite(
            self.squeeze(x_BCDHW.amax((2, 3, 4)))
        )
        q_BCDHW = pooled_BC.softmax(dim=1)[:, :, None, None, None].to(x_BCDHW.dtype) * x_BCDHW
        pair_B2DHW = torch.cat([q_BCDHW.amax(1, keepdim=True), q_BCDHW.mean(1, keepdim=True)], dim=1)
        return self.spatial(pair_B2DHW).sigmoid()


class WooCBAM3D(nn.Module):
    """CBAM as its authors define it, in 3D.

    F' = sigmoid(MLP(avg F) + MLP(max F)) * F;  F'' = sigmoid(conv7([avg_C F'; max_C F'])) * F'.
    Source: Woo et al., CBAM, ECCV 2018 (arXiv 1807.06521), equations 1 to 3.

    Args:
        channels: Channels C of the input.
        reduction: Ratio of C to the hidden width of the MLP; 16 in the paper.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)
        self.spatial = nn.Conv3d(2, 1, 7, padding=3, bias=False)

    def _mlp(self, pooled_BC: torch.Tensor) -> torch.Tensor:
        return self.excite(F.relu(self.squeeze(pooled_BC)))

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Weigh the channels of a map, then its voxels.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            Map of the same shape.
        """
        x_BCDHW = self._gated_channels(x_BCDHW)
        return self._voxels(x_BCDHW) * x_BCDHW

    def spatial_gate(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the weights of the voxels, equation 3.

        Args:
            x_BCDHW: Map (B, C, D, H, W), the input of the layer.

        Returns:
            (B, 1, D, H, W) in [0, 1].
        """
        return self._voxels(self._gated_channels(x_BCDHW))

    def _gated_channels(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        gate_BC = (self._mlp(x_BCDHW.mean((2, 3, 4))) + self._mlp(x_BCDHW.amax((2, 3, 4)))).sigmoid()
        return gate_BC[:, :, None, None, None] * x_BCDHW

    def _voxels(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        pair_B2DHW = torch.cat([x_BCDHW.mean(1, keepdim=True), x_BCDHW.amax(1, keepdim=True)], dim=1)
        return self.spatial(pair_B2DHW).sigmoid()
