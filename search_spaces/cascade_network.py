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
# The logit of the background at first. Soft Dice of the other classes says nothing of it: from equal logits a small
# class becomes the one that holds the background, and its Dice, then near 0 everywhere, has no gradient to leave it.
BACKGROUND = 3.0


class Cascade(nn.Module):
    """Image (B, modalities, D, H, W) -> logits (B, outputs, D, H, W); with deep supervision, in training the logits of
    every scale, (B, outputs, D / 2^s, ...) for s = 0, 1, ... in a tuple.

    The network of a scale sees the image averaged over 2^s voxels a side, and the probabilities that all coarser
    networks gave, each at its own resolution. Arguments are the values of the genes, see CascadeSpace.
    Raises NASError for sides that cannot be halved as often as needed.
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
        if any(side % self.divisor or side < 2 * self.divisor for side in x_BCDHW.shape[2:]):
            raise NASError(
                f"a volume of {'x'.join(map(str, x_BCDHW.shape[2:]))} voxels for a cascade of {len(self.networks)}",
                f"sides that are multiples of {self.divisor}, at least {2 * self.divisor}",
                "smaller space.depths or space.levels, or another data.size or data.patch",
            )
        found: list[torch.Tensor] = []  # logits, finest first
        guides: list[torch.Tensor] = []  # probabilities of the coarser scales, the next coarser one first
        for step in reversed(range(len(self.networks))):
            seen_BCDHW = F.avg_pool3d(x_BCDHW, 2**step) if step else x_BCDHW
            found = [self.networks[step](seen_BCDHW, guides), *found]
            guides = [found[0].softmax(dim=1), *guides]
        return tuple(found) if self.training and self.deep_supervision and len(found) > 1 else found[0]


class ModalityUNet(nn.Module):
    """Image (B, modalities, D, H, W) and `guides` maps (B, outputs, D / 2^j, ...), j = 1, 2, ... -> logits of the
    image's sides. width: channels of each encoder at full resolution. guides <= depth - 1."""

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
        """Maps of all encoders, those of one encoder next to each other -> one map."""
        if self.encoders == 1:
            return x_BCDHW
        x_BECDHW = x_BCDHW.unflatten(1, (self.encoders, -1))
        return x_BECDHW.amax(dim=1) if self.fusion == "max" else x_BECDHW.mean(dim=1)


class Residual(nn.Module):
    """(B, C, D, H, W) -> the same shape: x + two convolutions, each after normalisation and ReLU."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [InstanceNorm3d(channels, eps=EPSILON, affine=True), nn.ReLU()]
            layers += [Conv3d(channels, channels, 3, padding=1, groups=groups)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return x_BCDHW + self.layers(x_BCDHW)


def _residuals(channels: int, groups: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels, groups) for _ in range(count)))
