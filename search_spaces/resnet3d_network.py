"""Residual classifiers in 2D and 3D: a stem, stages of residual blocks, the mean over space, and a linear layer.

Source: He et al., CVPR 2016 (arXiv 1512.03385), with the stem of its CIFAR networks, which has no pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.squeeze_excitation import SqueezeExcitation

LAYERS = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (Conv3d, nn.BatchNorm3d)}  # by number of spatial dimensions
EXPANSION = {"basic": 1, "bottleneck": 4}  # channels that a block returns, relative to its width


def convolution(dims: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Make a convolution without bias and its batch normalisation.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd.
        stride: Stride; sides are divided by it and rounded up.

    Returns:
        The layers.
    """
    conv, norm = LAYERS[dims]
    return nn.Sequential(conv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False), norm(outputs))


def stem_block(dims: int, in_channels: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Make the first convolution of a network.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of an image.
        width: Channels of the output.
        kernel: Side of the kernel, odd.
        stride: Stride.

    Returns:
        Layers (B, in_channels, D, H, W) -> (B, width, D / stride, H / stride, W / stride).
    """
    return nn.Sequential(convolution(dims, in_channels, width, kernel, stride), nn.ReLU())


class ResidualBlock(nn.Module):
    """Residual block relu(body(x) + shortcut(x)); the shortcut is the identity where the shapes agree.

    Args:
        dims: Spatial dimensions, 2 or 3.
        kind: "basic" (two convolutions), or "bottleneck" (one between two of kernel 1, four times as many outputs).
        inputs: Channels of the input.
        width: Channels within the block.
        kernel: Side of the kernel, odd.
        stride: 1, or 2 to halve the sides.
        se: Whether squeeze-and-excitation follows the body.
    """

    def __init__(self, dims: int, kind: str, inputs: int, width: int, kernel: int, stride: int, se: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION[kind]
        if kind == "basic":
            body = [
                convolution(dims, inputs, width, kernel, stride),
                nn.ReLU(),
                convolution(dims, width, width, kernel),
            ]
        else:
            body = [convolution(dims, inputs, width, 1), nn.ReLU()]
            body += [convolution(dims, width, width, kernel, stride), nn.ReLU(), convolution(dims, width, outputs, 1)]
        if se:
            body.append(SqueezeExcitation(outputs))
        self.body = nn.Sequential(*body)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(dims, inputs, outputs, 1, stride)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the block.

        Args:
            x_BCDHW: Map (B, inputs, D, H, W).

        Returns:
            Map (B, outputs, D / stride, H / stride, W / stride).
        """
        return torch.relu(self.body(x_BCDHW) + self.shortcut(x_BCDHW))


class Head(nn.Module):
    """Mean over space, then a linear layer.

    Args:
        features: Channels C of the map.
        outputs: Number K of classes.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(features, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute logits.

        Args:
            x_BCDHW: Map (B, C, D, H, W).

        Returns:
            Logits (B, K).
        """
        return self.classifier(x_BCDHW.flatten(2).mean(dim=2))


class ResNet(nn.Module):
    """Residual classifier in 2D or 3D; each stage after the first halves the sides and doubles the width.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of an image.
        outputs: Classes.
        width: Width of the stem and of the first stage.
        depths: Residual blocks of each stage.
        stem: Side of the stem's kernel, odd.
        stride: Stride of the stem.
        kernel: Side of the kernel in residual blocks, odd.
        se: Whether blocks have squeeze-and-excitation.
        kind: "basic" or "bottleneck".
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        outputs: int,
        width: int,
        depths: Sequence[int],
        stem: int,
        stride: int,
        kernel: int,
        se: bool,
        kind: str,
    ) -> None:
        super().__init__()
        self.stem = stem_block(dims, in_channels, width, stem, stride)
        channels = width
        stages = []
        for stage, depth in enumerate(depths):
            blocks = []
            for number in range(depth):
                halving = 2 if stage > 0 and number == 0 else 1
                blocks.append(ResidualBlock(dims, kind, channels, width * 2**stage, kernel, halving, se))
                channels = width * 2**stage * EXPANSION[kind]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = Head(channels, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the logits of images.

        Args:
            x_BCDHW: Images (B, in_channels, D, H, W), in 2D (B, in_channels, H, W), of any sides.

        Returns:
            Logits (B, outputs).
        """
        return self.head(self.stages(self.stem(x_BCDHW)))
