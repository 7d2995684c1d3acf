"""The networks of the cascade space: residual U-Nets with an encoder per modality, guided by coarser ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from nas.errors import NASError
from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.instance_norm import InstanceNorm3d

FUSIONS = ("max", "mean", "early")
EPSILON = 1e-3  # of the normalisation, as published
# Initial logit of the background. Soft Dice of the other classes does not depend on it: from equal logits a small
# class would take over the background, and its Dice, then near 0 everywhere, has no gradient to leave it.
BACKGROUND = 3.0


class Cascade(nn.Module):
    """Cascade of U-Nets from coarse to fine.

    The network of scale s sees the image averaged over cubes of 2^s voxels a side, and the probabilities of all
    coarser networks, each at its own resolution.

    Args:
        modalities: Channels of an image.
        outputs: Classes with the background.
        width: Channels of a modality in the finest network at full resolution.
        depth: Halvings in each network.
        levels: Networks, at most `depth`.
        blocks: Residual blocks per resolution and side.
        growth: Factor on the width from each network to the next coarser one.
        fusion: "max", "mean" or "early".
        dropout: Probability, in [0, 1).
        deep_supervision: If True, in training the logits of every scale are returned.
    """

    def __init__(
        self,
        modalities: int,
        outputs: int,
        width: int,
        depth: int,
        levels: int,
        blocks: int,
        growth: int,
        fusion: str,
        dropout: float = 0.1,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        self.divisor, self.deep_supervision = 2 ** (depth + levels - 1), deep_supervision
        self.networks = nn.ModuleList(  # finest first
            ModalityUNet(modalities, outputs, width * growth**step, depth, blocks, fusion, levels - 1 - step, dropout)
            for step in range(levels)
        )

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute the logits of an image.

        Args:
            x_BCDHW: Image (B, modalities, D, H, W).

        Returns:
            Logits (B, outputs, D, H, W); with deep supervision, in training, a tuple of the logits of every scale,
            (B, outputs, D / 2^s, ...) for s = 0, 1, ...

        Raises:
            NASError: If a side is not a multiple of 2^(depth + levels - 1), or shorter than twice that.
        """
        if any(side % self.divisor or side < 2 * self.divisor for side in x_BCDHW.shape[2:]):
            raise NASError(
                f"a volume of {'x'.join(map(str, x_BCDHW.shape[2:]))} voxels for a cascade of {len(self.networks)}",
                f"sides that are multiples of {self.divisor}, at least {2 * self.divisor}",
                "use smaller space.depths or space.levels, or another data.size or data.patch",
            )
        logits: list[torch.Tensor] = []  # finest first
        guides: list[torch.Tensor] = []  # probabilities of the coarser scales, the next coarser one first
        for step in reversed(range(len(self.networks))):
            pooled_BCDHW = F.avg_pool3d(x_BCDHW, 2**step) if step else x_BCDHW
            logits = [self.networks[step](pooled_BCDHW, guides), *logits]
            guides = [logits[0].softmax(dim=1), *guides]
        return tuple(logits) if self.training and self.deep_supervision and len(logits) > 1 else logits[0]


class ModalityUNet(nn.Module):
    """Residual U-Net with an encoder per modality, guided by the probabilities of coarser networks.

    Args:
        modalities: Channels of an image.
        outputs: Classes with the background.
        width: Channels of each encoder at full resolution.
        depth: Halvings of the resolution.
        blocks: Residual blocks per resolution and side.
        fusion: "max", "mean" or "early".
        guides: Number of coarser networks, at most depth - 1.
        dropout: Probability, in [0, 1).
    """

    def __init__(
        self,
        modalities: int,
        outputs: int,
        width: int,
        depth: int,
        blocks: int,
        fusion: str,
        guides: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fusion, self.encoders = fusion, 1 if fusion == "early" else modalities
        widths = [self.encoders * width * 2**level for level in range(depth + 1)]  # of all encoders side by side
        groups = self.encoders
        self.stem = Conv3d(modalities, widths[0], 3, padding=1, groups=groups)
        self.halve = nn.ModuleList(
            nn.Sequential(Conv3d(fine, coarse, 3, stride=2, padding=1, groups=groups), nn.Dropout(dropout))
            for fine, coarse in pairwise(widths)
        )
        self.encode = nn.ModuleList(_residuals(channels, groups, blocks) for channels in widths)
        self.up, self.merge, self.decode = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        below = width * 2**depth
        for level in reversed(range(depth)):
            channels = width * 2 ** (level + 1)
            entering = channels + width * 2**level + (outputs if 1 <= level <= guides else 0)
            self.up[str(level)] = nn.ConvTranspose3d(below, channels, 2, stride=2, bias=False)
            self.merge[str(level)] = Conv3d(entering, channels, 1)
            self.decode[str(level)] = _residuals(channels, 1, blocks)
            below = channels
        self.head = Conv3d(below, outputs, 1)
        with torch.no_grad():
            nn.init.constant_(self.head.bias[:1], BACKGROUND)  # type: ignore[index]

    def forward(self, x_BCDHW: torch.Tensor, guides: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the logits of an image.

        Args:
            x_BCDHW: Image (B, modalities, D, H, W).
            guides: Probabilities (B, outputs, D / 2^j, ...) of the coarser networks, j = 1, 2, ...

        Returns:
            Logits (B, outputs, D, H, W).
        """
        at_level: Mapping[int, torch.Tensor] = dict(enumerate(guides, start=1))
        x_BCDHW = self.encode[0](self.stem(x_BCDHW))
        fused = [self._fused(x_BCDHW)]
        for halve, encode in zip(self.halve, self.encode[1:], strict=True):
            x_BCDHW = encode(halve(x_BCDHW))
            fused.append(self._fused(x_BCDHW))
        y_BCDHW = fused.pop()
        for level in reversed(range(len(fused))):
            entering = [self.up[str(level)](y_BCDHW), fused[level], *([at_level[level]] if level in at_level else [])]
            y_BCDHW = self.decode[str(level)](self.merge[str(level)](torch.cat(entering, dim=1)))
        return self.head(y_BCDHW)

    def _fused(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Fuse the maps of all encoders, concatenated encoder by encoder, into one map."""
        if self.encoders == 1:
            return x_BCDHW
        x_BECDHW = x_BCDHW.unflatten(1, (self.encoders, -1))
        return x_BECDHW.amax(dim=1) if self.fusion == "max" else x_BECDHW.mean(dim=1)


class Residual(nn.Module):
    """Residual block: x + two convolutions, each after normalisation and ReLU.

    Args:
        channels: Channels C of the map.
        groups: Groups of the convolutions, a divisor of C.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [InstanceNorm3d(channels, eps=EPSILON, affine=True), nn.ReLU()]
            layers += [Conv3d(channels, channels, 3, padding=1, groups=groups)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the block.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            Map of the same shape.
        """
        return x_BCDHW + self.layers(x_BCDHW)


def _residuals(channels: int, groups: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels, groups) for _ in range(count)))
