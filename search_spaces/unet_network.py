"""U-Nets in 2D and 3D: convolutions on every level, skip connections, and deep supervision.

Sources: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597); Çiçek et al., MICCAI 2016 (arXiv 1606.06650); residual
levels after V-Net, Milletari et al., 3DV 2016 (arXiv 1606.04797).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from nas.errors import NASError
from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.instance_norm import InstanceNorm2d, InstanceNorm3d

NORMS = ("batch", "instance", "group")
UPS = ("transposed", "resize")
DOWNS = ("pool", "stride")
ACTIVATIONS = ("relu", "leaky_relu")
GROUPS = 4  # of group normalisation; its widths are multiples of it
LAYERS = {  # by number of spatial dimensions
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.BatchNorm2d, InstanceNorm2d),
    3: (Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.BatchNorm3d, InstanceNorm3d),
}
Unit = Callable[..., nn.Sequential]  # inputs, outputs, stride -> convolution, normalisation, activation


class UNet(nn.Module):
    """U-Net in 2D or 3D.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of an image.
        out_channels: Classes with the background.
        depth: Halvings of the resolution.
        width: Channels at full resolution.
        blocks: Convolutions on each level and side.
        kernel: Side of the kernel, odd.
        norm: "batch", "instance" or "group".
        up: "transposed" or "resize".
        down: "pool" or "stride".
        activation: "relu" or "leaky_relu".
        growth: Factor of the width at each halving.
        max_width: Largest width of a level, or None.
        scale: Factor of all widths.
        deep_supervision: Whether training gives the logits of every level above the bottom.
        widths: Channels of all depth + 1 levels, finest first, instead of those by width, growth, max_width and scale.
        decoder_blocks: Convolutions on each level of the decoder, if other than those of the encoder.
        decoder_kernel: Side of the decoder's kernels, if other than that of the encoder.
        residual: Whether the input of each level and side is added before its last activation (V-Net, Milletari et al.,
            3DV 2016, arXiv 1606.04797).

    Attributes:
        widths: Channels of every level, finest first.
    """

    def __init__(
        self,
        dims: int,
        in_channels: int,
        out_channels: int,
        depth: int,
        width: int,
        blocks: int,
        kernel: int,
        norm: str,
        up: str,
        down: str = "pool",
        activation: str = "relu",
        growth: float = 2.0,
        max_width: int | None = None,
        scale: float = 1.0,
        deep_supervision: bool = False,
        widths: Sequence[int] | None = None,
        decoder_blocks: int | None = None,
        decoder_kernel: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.widths = widths = list(widths or level_widths(depth, width, growth, max_width, scale))
        inputs = [in_channels, *widths]
        convolution, _, pool, *_ = LAYERS[dims]
        unit = partial(convolution_unit, dims, kernel=kernel, norm=norm, activation=activation)
        level = _ResidualLevel if residual else _level
        strides = [2 if down == "stride" and number else 1 for number in range(depth + 1)]
        self.down = nn.ModuleList(level(unit, *sizes, blocks) for sizes in zip(inputs, widths, strides, strict=False))
        self.pool = pool(2) if down == "pool" else nn.Identity()
        # From the bottom up: double the resolution, concatenate the skip connection, convolve.
        unit, blocks = partial(unit, kernel=decoder_kernel or kernel), decoder_blocks or blocks
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # channels below, channels here
        self.up = nn.ModuleList(up_sampling(dims, unit, below, here, up) for below, here in upwards)
        self.merge = nn.ModuleList(level(unit, 2 * here, here, 1, blocks) for _, here in upwards)
        self.head = convolution(widths[0], out_channels, 1)
        supervised = widths[1:-1] if deep_supervision else ()
        self.coarse_heads = nn.ModuleList(convolution(width, out_channels, 1) for width in supervised)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute the logits of an image.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            Logits (B, out_channels, ...) with the sides of the image; with deep supervision in training a tuple of
            them, finest first, each with the sides of its level.

        Raises:
            NASError: If a side is not a multiple of 2^depth, or shorter than 2^(depth + 1).
        """
        maps = self.features(x_BCDHW)
        logits = self.head(maps[0])
        if not (self.training and self.coarse_heads):
            return logits
        return logits, *(head(x) for head, x in zip(self.coarse_heads, maps[1:], strict=False))

    def features(self, x_BCDHW: torch.Tensor) -> list[torch.Tensor]:
        """Compute the decoder's map of every level.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            depth + 1 maps (B, width * 2^level, ...), finest first, the bottom last.

        Raises:
            NASError: If a side is not a multiple of 2^depth, or shorter than 2^(depth + 1).
        """
        require_sides(tuple(x_BCDHW.shape[2:]), self.depth)
        skips = []
        for level in self.down[:-1]:
            skips.append(level(x_BCDHW))
            x_BCDHW = self.pool(skips[-1])
        maps = [self.down[-1](x_BCDHW)]
        for up, merge in zip(self.up, self.merge, strict=True):
            maps.insert(0, merge(torch.cat([skips.pop(), up(maps[0])], dim=1)))
        return maps


def level_widths(depth: int, width: int, growth: float, max_width: int | None, scale: float) -> list[int]:
    """Compute the channels of every level of a U-Net that grows by one factor.

    Args:
        depth: Halvings of the resolution.
        width: Channels at full resolution.
        growth: Factor of the width at each halving.
        max_width: Largest width of a level, or None.
        scale: Factor of all widths.

    Returns:
        depth + 1 numbers, finest level first.
    """
    limit = max_width or math.inf
    return [max(round(scale * min(width * growth**level, limit)), 1) for level in range(depth + 1)]


def _level(unit: Unit, inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    first = unit(inputs, outputs, stride=stride)
    return nn.Sequential(first, *(unit(outputs, outputs) for _ in range(blocks - 1)))


class _ResidualLevel(nn.Module):
    """Level whose input is added before its last activation, through a 1 x 1 convolution where the shapes differ."""

    def __init__(self, unit: Unit, inputs: int, outputs: int, stride: int, blocks: int) -> None:
        super().__init__()
        *before, last = _level(unit, inputs, outputs, stride, blocks)
        assert isinstance(last, nn.Sequential)
        self.body, self.activation = nn.Sequential(*before, last[:-1]), last[-1]
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else unit(inputs, outputs, kernel=1, stride=stride)[:-1]

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x_BCDHW) + self.shortcut(x_BCDHW))


class Supervised(nn.Module):
    """A layer with the classifier of its level, which is used in training only, so that costs count its parameters.

    Args:
        layer: Makes the layer.
        head: Makes the classifier.
    """

    def __init__(self, layer: Callable[[], nn.Module], head: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layer, self.head = layer(), head()

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the layer.

        Args:
            x_BCDHW: Its input.

        Returns:
            Its output.
        """
        return self.layer(x_BCDHW)


def convolution_unit(
    dims: int, inputs: int, outputs: int, kernel: int, norm: str, activation: str, stride: int = 1
) -> nn.Sequential:
    """Make a convolution, its normalisation and its activation.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd.
        norm: "batch", "instance" or "group".
        activation: "relu" or "leaky_relu".
        stride: 1, or 2 to halve the sides.

    Returns:
        The three layers.
    """
    convolution, _, _, batch_norm, instance_norm = LAYERS[dims]
    norms = {
        "batch": lambda: batch_norm(outputs),
        "instance": lambda: instance_norm(outputs, affine=True),
        "group": lambda: nn.GroupNorm(GROUPS, outputs),
    }
    layer = convolution(inputs, outputs, kernel, stride, padding=kernel // 2)
    return nn.Sequential(layer, norms[norm](), nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.01))


def up_sampling(dims: int, unit: Unit, inputs: int, outputs: int, up: str) -> nn.Module:
    """Make a layer that doubles the sides and sets the channels.

    Args:
        dims: Spatial dimensions, 2 or 3.
        unit: Makes a convolution with normalisation and activation.
        inputs: Channels of the input.
        outputs: Channels of the output.
        up: "transposed" or "resize".

    Returns:
        The layer.
    """
    if up == "transposed":
        return LAYERS[dims][1](inputs, outputs, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2), unit(inputs, outputs))


def require_sides(sides: Sequence[int], depth: int) -> None:
    """Check that a U-Net can halve a volume.

    Args:
        sides: Sides of the volume in voxels.
        depth: Number of halvings.

    Raises:
        NASError: If a side is not a multiple of 2^depth, or shorter than 2^(depth + 1).
    """
    factor = 2**depth
    if any(side % factor or side < 2 * factor for side in sides):
        raise NASError(
            f"a volume of {'x'.join(map(str, sides))} voxels for a U-Net of depth {depth}",
            f"sides that are multiples of {factor}, at least {2 * factor}",
            "use smaller space.depths, or crop or pad the data (`data.size`, `data.patch`)",
        )
