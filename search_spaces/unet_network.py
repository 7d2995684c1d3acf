"""U-Nets in 2D and 3D: convolutions on every level, skip connections, and deep supervision.

Sources: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597); Çiçek et al., MICCAI 2016 (arXiv 1606.06650); residual
levels after V-Net, Milletari et al., 3DV 2016 (arXiv 1606.04797).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

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
LAYERS: dict[int, Any] = {  # by number of spatial dimensions
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.BatchNorm2d, InstanceNorm2d),
    3: (Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.BatchNorm3d, InstanceNorm3d),
}
Unit = Callable[..., nn.Sequential]  # inputs, outputs, stride -> convolution, normalisation, activation
Sides = int | tuple[int, ...]  # of a kernel or a stride, one for all axes or one for each


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
        strides: For each halving, finest first, the factor of each axis, 1 or 2; None for 2 of all axes.
        flat_axes: For each level, finest first, the axes along which kernels have one voxel; None for none.

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
        strides: Sequence[Sequence[int]] | None = None,
        flat_axes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.factors = factors = level_factors(dims, depth, strides)
        self.widths = widths = list(widths or level_widths(depth, width, growth, max_width, scale))
        inputs = [in_channels, *widths]
        convolution, _, pool, *_ = LAYERS[dims]
        level = _ResidualLevel if residual else _level

        def unit_of(number: int, side: int) -> Unit:
            sides = kernel_sides(dims, side, flat_axes[number] if flat_axes else ())
            return partial(convolution_unit, dims, kernel=sides, norm=norm, activation=activation)

        steps = [factors[number] if down == "stride" and number else 1 for number in range(depth + 1)]
        sizes = zip(inputs, widths, steps, strict=False)
        self.down = nn.ModuleList(level(unit_of(n, kernel), *size, blocks) for n, size in enumerate(sizes))
        self.pool = nn.ModuleList(pool(factor) for factor in factors[1:]) if down == "pool" else None
        # From the bottom up: double the resolution, concatenate the skip connection, convolve.
        blocks = decoder_blocks or blocks
        upwards = [(n, unit_of(n, decoder_kernel or kernel)) for n in range(depth - 1, -1, -1)]
        self.up = nn.ModuleList(
            up_sampling(dims, unit, widths[n + 1], widths[n], up, factors[n + 1]) for n, unit in upwards
        )
        self.merge = nn.ModuleList(level(unit, 2 * widths[n], widths[n], 1, blocks) for n, unit in upwards)
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
        require_sides(tuple(x_BCDHW.shape[2:]), self.factors)
        skips = []
        for number, level in enumerate(self.down[:-1]):
            x_BCDHW = level(x_BCDHW)
            skips.append(x_BCDHW)
            if self.pool is not None:
                x_BCDHW = self.pool[number](x_BCDHW)
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


def level_factors(dims: int, depth: int, strides: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    """Return the factors by which the sides of each level are smaller than those of the level above.

    Args:
        dims: Spatial dimensions, 2 or 3.
        depth: Halvings of the resolution.
        strides: Factor of each axis for each halving, finest first; None for 2 of all axes.

    Returns:
        depth + 1 tuples, the first of ones.
    """
    halvings = [(2,) * dims] * depth if strides is None else [tuple(stride) for stride in strides[:depth]]
    return [(1,) * dims, *halvings]


def scale_text(factors: Sequence[Sequence[int]], level: int) -> str:
    """Write the resolution of a level.

    Args:
        factors: Factors of the axes on each level, see `level_factors`.
        level: The level.

    Returns:
        For example "1/4", or "1/1x4x4" where the axes differ.
    """
    products = [math.prod(factor) for factor in zip(*factors[: level + 1], strict=True)]
    return f"1/{products[0] if len(set(products)) == 1 else 'x'.join(map(str, products))}"


def flat_text(dims: int, flat_axes: Sequence[Sequence[int]] | None, level: int) -> str:
    """Write the axes along which the kernels of a level have one voxel.

    Args:
        dims: Spatial dimensions, 2 or 3.
        flat_axes: These axes for each level, or None.
        level: The level.

    Returns:
        For example "D", or "" for cubes.
    """
    return " and ".join("DHW"[-dims:][axis] for axis in flat_axes[level]) if flat_axes else ""


def level_lines(
    dims: int,
    widths: Sequence[int],
    depth: int,
    strides: Sequence[Sequence[int]] | None,
    flat_axes: Sequence[Sequence[int]] | None,
) -> list[str]:
    """Describe the levels of a U-Net.

    Args:
        dims: Spatial dimensions, 2 or 3.
        widths: Channels of each level, finest first; the last is the bottom.
        depth: Number of halvings.
        strides: Factor of each axis for each halving, or None.
        flat_axes: Axes along which the kernels of each level have one voxel, or None.

    Returns:
        One line per level.
    """
    factors, lines = level_factors(dims, depth, strides), []
    for level, channels in enumerate(widths):
        branch = "down and up" if level < depth else "bottom"
        axes = flat_text(dims, flat_axes, level)
        flat = f", kernels of one voxel along {axes}" if axes else ""
        lines.append(f"{'  ' * level}level {level}  {scale_text(factors, level)}  {channels} channels, {branch}{flat}")
    return lines


def kernel_sides(dims: int, side: int, flat: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of a kernel.

    Args:
        dims: Spatial dimensions, 2 or 3.
        side: Side along most axes.
        flat: Axes along which it has one voxel.

    Returns:
        One side for each axis.
    """
    return tuple(1 if axis in flat else side for axis in range(dims))


def _level(unit: Unit, inputs: int, outputs: int, stride: Sides, blocks: int) -> nn.Sequential:
    first = unit(inputs, outputs, stride=stride)
    return nn.Sequential(first, *(unit(outputs, outputs) for _ in range(blocks - 1)))


class _ResidualLevel(nn.Module):
    """Level whose input is added before its last activation, through a 1 x 1 convolution where the shapes differ."""

    def __init__(self, unit: Unit, inputs: int, outputs: int, stride: Sides, blocks: int) -> None:
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
    dims: int, inputs: int, outputs: int, kernel: Sides, norm: str, activation: str, stride: Sides = 1
) -> nn.Sequential:
    """Make a convolution, its normalisation and its activation.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd, or one for each axis.
        norm: "batch", "instance" or "group".
        activation: "relu" or "leaky_relu".
        stride: 1, or 2 to halve the sides, or one for each axis.

    Returns:
        The three layers.
    """
    convolution, _, _, batch_norm, instance_norm = LAYERS[dims]
    norms = {
        "batch": lambda: batch_norm(outputs),
        "instance": lambda: instance_norm(outputs, affine=True),
        "group": lambda: nn.GroupNorm(GROUPS, outputs),
    }
    padding = kernel // 2 if isinstance(kernel, int) else tuple(side // 2 for side in kernel)
    layer = convolution(inputs, outputs, kernel, stride, padding=padding)
    return nn.Sequential(layer, norms[norm](), nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.01))


def up_sampling(
    dims: int, unit: Unit, inputs: int, outputs: int, up: str, factor: tuple[int, ...] | None = None
) -> nn.Module:
    """Make a layer that doubles the sides and sets the channels.

    Args:
        dims: Spatial dimensions, 2 or 3.
        unit: Makes a convolution with normalisation and activation.
        inputs: Channels of the input.
        outputs: Channels of the output.
        up: "transposed" or "resize".
        factor: Factor of each side; None for 2.

    Returns:
        The layer.
    """
    factor = factor or (2,) * dims
    if up == "transposed":
        layer: nn.Module = LAYERS[dims][1](inputs, outputs, factor, stride=factor)
        return layer
    scale = 2 if set(factor) == {2} else tuple(map(float, factor))
    return nn.Sequential(nn.Upsample(scale_factor=scale), unit(inputs, outputs))


def require_sides(sides: Sequence[int], factors: Sequence[Sequence[int]]) -> None:
    """Check that a U-Net can halve a volume.

    Args:
        sides: Sides of the volume in voxels.
        factors: Factors of the axes on each level, see `level_factors`.

    Raises:
        NASError: If a side is not a multiple of the product of its factors, or shorter than two voxels of the bottom.
    """
    products = [math.prod(factor) for factor in zip(*factors, strict=True)]
    if any(side % product or side < 2 * product for side, product in zip(sides, products, strict=True)):
        same = len(set(products)) == 1
        whole = str(products[0]) if same else "x".join(map(str, products))
        least = str(2 * products[0]) if same else "twice that"
        raise NASError(
            f"a volume of {'x'.join(map(str, sides))} voxels for a U-Net of depth {len(factors) - 1}",
            f"sides that are multiples of {whole}, at least {least}",
            "use smaller space.depths, or crop or pad the data (`data.size`, `data.patch`)",
        )
