"""The NAS-Lung network: stem, three stages of residual blocks with pooling convolutions and attention, a head.

Source: Jiang et al., Pattern Recognition 113:107825, 2021 (arXiv 2101.07429), as its public code computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from nas.errors import NASError
from search_spaces.layers.cbam import PublishedCBAM3D, WooCBAM3D
from search_spaces.layers.norm_relu import norm_relu
from search_spaces.layers.sphereface import AngularHead, LinearHead, RelativeAngularHead

ATTENTION = {"none": None, "published": PublishedCBAM3D, "woo2018": WooCBAM3D}
HEADS = {"softmax": LinearHead, "a_softmax": AngularHead}
STAGES = 3
REDUCTION = 2**STAGES  # every stage halves the volume: sides are multiples of 8


class ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, ReLU; padding keeps the size at stride 1 and halves it at stride 2.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd.
        stride: 1 or 2.
        bias: Whether the convolution has a bias.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the three layers.

        Args:
            x_BCDHW: Map (B, inputs, D, H, W).

        Returns:
            Map (B, outputs, D', H', W').
        """
        convolution, norm, relu = self
        return norm_relu(convolution(x_BCDHW), norm, relu)


class ResidualBlock(nn.Module):
    """Residual block ReLU BN W2 ReLU BN W1 x + ReLU BN P x, always with the projection P.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(inputs, outputs), ConvUnit(outputs, outputs))
        self.projection = ConvUnit(inputs, outputs, kernel=1)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the block.

        Args:
            x_BCDHW: Map (B, inputs, D, H, W).

        Returns:
            Map (B, outputs, D, H, W).
        """
        return self.body(x_BCDHW) + self.projection(x_BCDHW)


def attention(kind: str, channels: int) -> nn.Module:
    """Make an attention layer.

    Args:
        kind: "none", "published" or "woo2018".
        channels: Channels of the map.

    Returns:
        Layer that keeps the shape of a map; the identity for "none".
    """
    layer = ATTENTION[kind]
    return nn.Identity() if layer is None else layer(channels)


def stem_block(in_channels: int, stem: Sequence[int], cbam: str) -> nn.Sequential:
    """Make the two convolutions of the stem and its attention.

    Args:
        in_channels: Channels of a volume.
        stem: Channels of the two convolutions.
        cbam: Kind of attention.

    Returns:
        Layers (B, in_channels, D, H, W) -> (B, stem[1], D, H, W).
    """
    return nn.Sequential(ConvUnit(in_channels, stem[0]), ConvUnit(stem[0], stem[1]), attention(cbam, stem[1]))


def pooling_block(channels: int) -> ConvUnit:
    """Make the convolution that halves the sides at the start of a stage.

    Args:
        channels: Channels of the map.

    Returns:
        Layer (B, C, 2D, 2H, 2W) -> (B, C, D, H, W).
    """
    return ConvUnit(channels, channels, stride=2, bias=False)


class PooledHead(nn.Module):
    """Mean over space, then a classification head.

    Args:
        kind: "softmax" or "a_softmax".
        features: Channels C of the map.
        outputs: Number K of classes.
        schedule: Annealing of the margin of "a_softmax": "steps" or "relative".
    """

    def __init__(self, kind: str, features: int, outputs: int, schedule: str = "steps") -> None:
        super().__init__()
        relative = kind == "a_softmax" and schedule == "relative"
        self.classifier = (RelativeAngularHead if relative else HEADS[kind])(features, outputs)

    def forward(self, x_BCDHW: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        """Compute logits.

        Args:
            x_BCDHW: Map (B, C, D, H, W).
            y_B: Classes (B,) in training with a margin, or None.

        Returns:
            Logits (B, K).
        """
        return self.classifier(F.adaptive_avg_pool3d(x_BCDHW, 1).flatten(1), y_B)


class NASLungNet(nn.Module):
    """The NAS-Lung network.

    With the head "a_softmax" (`needs_target`) the training loop also passes the target, so that the margin can be
    applied.

    Args:
        in_channels: Channels of a volume.
        stem: Channels of the two convolutions of the stem.
        stages: Block widths of each of the three stages, such as [[4, 4], [4, 8], [8, 8]].
        cbam: Attention: "none", "published" or "woo2018".
        head: "softmax" or "a_softmax".
        outputs: Classes.
        schedule: Annealing of the margin of "a_softmax": "steps" or "relative".
    """

    def __init__(
        self,
        in_channels: int,
        stem: Sequence[int],
        stages: Sequence[Sequence[int]],
        cbam: str,
        head: str,
        outputs: int,
        schedule: str = "steps",
    ) -> None:
        super().__init__()
        self.needs_target = head == "a_softmax"
        self.stem = stem_block(in_channels, stem, cbam)
        width = stem[1]
        self.stages = nn.ModuleList()
        for widths in stages:
            layers: list[nn.Module] = [pooling_block(width)]
            for outputs_of_block in widths:
                layers.append(ResidualBlock(width, outputs_of_block))
                width = outputs_of_block
            self.stages.append(nn.Sequential(*layers, attention(cbam, width)))
        self.head = PooledHead(head, width, outputs, schedule)

    def forward(self, x_BCDHW: torch.Tensor, y_B: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the logits of volumes.

        Args:
            x_BCDHW: Volumes (B, in_channels, D, H, W), sides multiples of 8.
            y_B: Classes (B,) in training with a margin, or None.

        Returns:
            Logits (B, outputs).

        Raises:
            NASError: If a side is not a multiple of 8.
        """
        return self.head(self.features(x_BCDHW)[-1], y_B)

    def features(self, x_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        """Compute the outputs of the stem and of each stage.

        Args:
            x_BCDHW: Volumes (B, in_channels, D, H, W), sides multiples of 8.

        Returns:
            Four maps, finest first.

        Raises:
            NASError: If a side is not a multiple of 8.
        """
        if any(side % REDUCTION for side in x_BCDHW.shape[2:]):
            raise NASError(
                f"a volume of {'x'.join(map(str, x_BCDHW.shape[2:]))} voxels",
                f"sides that are multiples of {REDUCTION}",
                "crop or pad the data (`data.size`)",
            )
        maps = [self.stem(x_BCDHW)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps
