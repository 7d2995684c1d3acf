"""U-Nets in 2D and 3D: how deep, how wide, how many convolutions, which kernel, normalisation and up-sampling.

Sources: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597); Çiçek et al., MICCAI 2016 (arXiv 1606.06650); the plain
reference networks after Isensee et al., Nature Methods 18:203, 2021 (arXiv 1904.08128).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published, PublishedCount
from nas.space import SearchSpace
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Dims, Expected, OneOf, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import Increasing
from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.features import Features
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
MAX_CHANNELS = 4096  # at the lowest resolution
Unit = Callable[..., nn.Module]  # inputs, outputs, stride -> convolution, normalisation, activation


@checked("space")
class UNetSpace(SearchSpace):
    """U-Nets with `depth` halvings of the resolution; the width grows at each of them.

    The genes are depth, width, blocks and kernel, which are ordered (a later choice never makes a network smaller),
    and norm and up, which are not. Sides of an input are multiples of 2^depth and at least 2^(depth + 1), so that
    normalisation sees more than one voxel at the bottom.

    Args:
        depths: Choices of the number of halvings, increasing, >= 1.
        widths: Choices of the channels at full resolution, increasing multiples of 4.
        block_counts: Choices of the convolutions on each level and side, increasing, >= 1.
        kernels: Choices of the kernel's side, increasing odd numbers.
        norms: Choices of the normalisation: "batch", "instance", "group".
        ups: Choices of the up-sampling: "transposed" convolution, or "resize" (nearest neighbour, then a convolution).
        spatial_dims: 2 or 3.
        in_channels: Channels of an image, >= 1.
        out_channels: Classes with the background, >= 2.
        down: "pool" (maximum over 2 voxels per axis), or "stride" (the first convolution of a level has stride 2).
        activation: "relu", or "leaky_relu" with slope 0.01.
        growth: Factor of the width at each halving, from 1 to 4.
        max_width: Largest width of a level; None for no limit.
        scale: Factor of all widths, which are rounded then, above 0 and at most 64.
        deep_supervision: If True, in training a network gives the logits of every level above the bottom, finest first,
            each with the sides of its level.

    Raises:
        NASError: If an argument is out of range.
    """

    kind: ClassVar[str] = "segmentation"
    published: ClassVar[Mapping[str, Published]] = {}
    later_arguments: ClassVar[tuple[str, ...]] = (
        *("down", "activation", "growth", "max_width", "scale", "deep_supervision"),
    )

    def __init__(
        self,
        depths: Annotated[Sequence[int], Increasing(1, 8)] = (1, 2, 3),
        widths: Annotated[Sequence[int], Increasing(GROUPS, 1024, GROUPS)] = (4, 8, 16),
        block_counts: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2),
        kernels: Annotated[Sequence[int], Increasing(1, 15, 2, 1)] = (3, 5),
        norms: Annotated[Sequence[str], SomeOf(*NORMS)] = NORMS,
        ups: Annotated[Sequence[str], SomeOf(*UPS)] = UPS,
        spatial_dims: Dims = 3,
        in_channels: Channels = 1,
        out_channels: Annotated[int, Ge(2), Le(4096), Expected("2 to 4096, the background included")] = 2,
        down: Annotated[str, OneOf(*DOWNS)] = "pool",
        activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu",
        growth: Annotated[float, Ge(1), Le(4)] = 2.0,
        max_width: Annotated[int, Ge(1), Le(MAX_CHANNELS)] | None = None,
        scale: Annotated[float, Gt(0), Le(64)] = 1.0,
        deep_supervision: bool = False,
    ) -> None:
        self.depths, self.widths, self.block_counts = tuple(depths), tuple(widths), tuple(block_counts)
        self.kernels, self.norms, self.ups = tuple(kernels), tuple(norms), tuple(ups)
        self.spatial_dims, self.in_channels, self.out_channels = spatial_dims, in_channels, out_channels
        self.down, self.activation, self.growth = down, activation, float(growth)
        self.max_width, self.scale, self.deep_supervision = max_width, float(scale), deep_supervision
        every = {count for width in self.widths for count in self.level_widths(self.depths[-1], width)}
        if max(every) > MAX_CHANNELS:
            raise NASError(
                f"space.widths={list(self.widths)} with space.depths={list(self.depths)}",
                f"at most {MAX_CHANNELS} channels at the lowest resolution, width * 2^depth",
                "leave out the largest of space.widths or space.depths",
            )
        if "group" in self.norms and any(count % GROUPS for count in every):
            raise NASError(
                f"group normalisation of a level with {min(count for count in every if count % GROUPS)} channels",
                f"multiples of {GROUPS} channels on every level",
                "leave group out of space.norms, or change space.growth, space.max_width or space.scale",
            )
        self.genes = (
            Gene("depth", self.depths, ordered=True),
            Gene("width", self.widths, ordered=True),
            Gene("blocks", self.block_counts, ordered=True),
            Gene("kernel", self.kernels, ordered=True),
            Gene("norm", self.norms),
            Gene("up", self.ups),
        )

    def level_widths(self, depth: int, width: int) -> list[int]:
        """Return the channels of every level.

        Args:
            depth: Halvings.
            width: Channels at full resolution.

        Returns:
            depth + 1 numbers, finest level first.
        """
        return _level_widths(depth, width, self.growth, self.max_width, self.scale)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            A `UNet`.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        return self._network(arch, *channels_of(task, self.spatial_dims, (self.in_channels, self.out_channels)))

    def _network(self, arch: Architecture, in_channels: int, out_channels: int) -> UNet:
        settings: Any = {name: getattr(self, name) for name in self.later_arguments}
        genes: Any = self.values(arch)
        return UNet(self.spatial_dims, in_channels, out_channels, *genes, **settings)

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network of an architecture as a backbone.

        Args:
            arch: Architecture of this space.
            in_channels: Channels of the image.

        Returns:
            Network (B, in_channels, ...) -> list of feature maps, finest first, each with half the sides of the one
            before. Its attribute `channels` holds their numbers of channels.
        """
        network = self._network(arch, in_channels, self.out_channels)
        return Features(network, network.widths)

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            One line for the convolutions, then one per level.
        """
        depth, width, blocks, kernel, norm, up = self.values(arch)
        sides = " x ".join([str(kernel)] * self.spatial_dims)
        lines = [f"{blocks} convolution(s) of {sides} per level and side, {norm} normalisation, {up} up-sampling"]
        for level, channels in enumerate(self.level_widths(int(depth), int(width))):
            branch = "down and up" if level < int(depth) else "bottom"
            lines.append(f"{'  ' * level}level {level}  1/{2**level}  {channels} channels, {branch}")
        return "\n".join(lines)


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
    ) -> None:
        super().__init__()
        self.depth = depth
        self.widths = widths = _level_widths(depth, width, growth, max_width, scale)
        inputs = [in_channels, *widths]
        convolution, _, pool, *_ = LAYERS[dims]
        unit = partial(_convolution, dims, kernel=kernel, norm=norm, activation=activation)
        strides = [2 if down == "stride" and level else 1 for level in range(depth + 1)]
        self.down = nn.ModuleList(_level(unit, *sizes, blocks) for sizes in zip(inputs, widths, strides, strict=False))
        self.pool = pool(2) if down == "pool" else nn.Identity()
        # From the bottom up: double the resolution, concatenate the skip connection, convolve.
        upwards = list(reversed(range(depth)))
        self.up = nn.ModuleList(_up(dims, unit, widths[level + 1], widths[level], up) for level in upwards)
        self.merge = nn.ModuleList(_level(unit, 2 * widths[level], widths[level], 1, blocks) for level in upwards)
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
        factor = 2**self.depth
        if any(side % factor or side < 2 * factor for side in x_BCDHW.shape[2:]):
            raise NASError(
                f"a volume of {'x'.join(map(str, x_BCDHW.shape[2:]))} voxels for a U-Net of depth {self.depth}",
                f"sides that are multiples of {factor}, at least {2 * factor}",
                "use smaller space.depths, or crop or pad the data (`data.size`, `data.patch`)",
            )
        skips = []
        for level in self.down[:-1]:
            skips.append(level(x_BCDHW))
            x_BCDHW = self.pool(skips[-1])
        maps = [self.down[-1](x_BCDHW)]
        for up, merge in zip(self.up, self.merge, strict=True):
            maps.insert(0, merge(torch.cat([skips.pop(), up(maps[0])], dim=1)))
        return maps


def _level_widths(depth: int, width: int, growth: float, max_width: int | None, scale: float) -> list[int]:
    limit = max_width or math.inf
    return [max(round(scale * min(width * growth**level, limit)), 1) for level in range(depth + 1)]


def _level(unit: Unit, inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    first = unit(inputs, outputs, stride=stride)
    return nn.Sequential(first, *(unit(outputs, outputs) for _ in range(blocks - 1)))


def _convolution(
    dims: int, inputs: int, outputs: int, kernel: int, norm: str, activation: str, stride: int = 1
) -> nn.Sequential:
    convolution, _, _, batch_norm, instance_norm = LAYERS[dims]
    norms = {
        "batch": lambda: batch_norm(outputs),
        "instance": lambda: instance_norm(outputs, affine=True),
        "group": lambda: nn.GroupNorm(GROUPS, outputs),
    }
    layer = convolution(inputs, outputs, kernel, stride, padding=kernel // 2)
    return nn.Sequential(layer, norms[norm](), nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.01))


def _up(dims: int, unit: Unit, inputs: int, outputs: int, up: str) -> nn.Module:
    """Return a layer that doubles the sides and sets the channels."""
    if up == "transposed":
        return LAYERS[dims][1](inputs, outputs, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2), unit(inputs, outputs))


LUNG_SCREENING = {"depths": (4,), "widths": (64,), "block_counts": (2,), "kernels": (3,), "spatial_dims": 2}
PLAIN = {
    **{"depths": (3,), "widths": (32,), "block_counts": (2,), "kernels": (3,), "norms": ("instance",)},
    **{"ups": ("transposed",), "down": "stride", "activation": "leaky_relu"},
}
OMZ = "openvinotoolkit/open_model_zoo#1705"
THOP = "by thop up to 0.0.31: with the additions of biases, and four per element of batch normalisation"
NNUNET = "a reference network of this project after nnU-Net, Isensee et al., Nature Methods 18:203, 2021"
UNetSpace.published = {
    "lung-screening": Published(
        genes=(0,) * 6,
        arguments={**LUNG_SCREENING, "norms": ("batch",), "ups": ("resize",)},
        source="lung segmentation of the screening pipeline proposed in openvinotoolkit/open_model_zoo#1705",
        input_shape=(1, 512, 512),
        counts=(PublishedCount("params", 34.526, "M", OMZ), PublishedCount("macs", 261.901, "G", OMZ, THOP)),
    ),
    "plain-3d": Published((0,) * 6, {**PLAIN, "max_width": 320}, NNUNET, (1, 64, 64, 64)),
    "plain-2d": Published((0,) * 6, {**PLAIN, "max_width": 512, "spatial_dims": 2}, NNUNET, (1, 256, 256)),
}
