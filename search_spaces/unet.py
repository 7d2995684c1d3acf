"""U-Nets in 2D and 3D: how deep, how wide, how many convolutions, which kernel, normalisation and up-sampling.

Sources: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597); Çiçek et al., MICCAI 2016 (arXiv 1606.06650). This file is
also a template for new spaces: arguments, `genes`, `build`, and the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.space import Published, SearchSpace
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Dims, Expected, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import Increasing
from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.features import Features
from search_spaces.layers.instance_norm import InstanceNorm2d, InstanceNorm3d

NORMS = ("batch", "instance", "group")
UPS = ("transposed", "resize")
GROUPS = 4  # of group normalisation; widths are multiples of it
LAYERS = {  # by number of spatial dimensions
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.BatchNorm2d, InstanceNorm2d),
    3: (Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.BatchNorm3d, InstanceNorm3d),
}


MAX_CHANNELS = 4096  # at the lowest resolution


@checked("space")
class UNetSpace(SearchSpace):
    """U-Nets with `depth` halvings of the resolution; the width doubles at each of them.

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

    Raises:
        NASError: If an argument is out of range.
    """

    kind: ClassVar[str] = "segmentation"
    published: ClassVar[Mapping[str, Published]] = {
        "lung-screening": Published(
            genes=(0, 0, 0, 0, 0, 0),
            arguments={
                "depths": (4,),
                "widths": (64,),
                "block_counts": (2,),
                "kernels": (3,),
                "norms": ("batch",),
                "ups": ("resize",),
                "spatial_dims": 2,
            },
            source="lung segmentation of the screening pipeline proposed in openvinotoolkit/open_model_zoo#1705",
        )
    }

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
    ) -> None:
        self.depths, self.widths, self.block_counts = tuple(depths), tuple(widths), tuple(block_counts)
        self.kernels, self.norms, self.ups = tuple(kernels), tuple(norms), tuple(ups)
        self.spatial_dims, self.in_channels, self.out_channels = spatial_dims, in_channels, out_channels
        if self.widths[-1] * 2 ** self.depths[-1] > MAX_CHANNELS:
            raise NASError(
                f"space.widths={list(self.widths)} with space.depths={list(self.depths)}",
                f"at most {MAX_CHANNELS} channels at the lowest resolution, width * 2^depth",
                "leave out the largest of space.widths or space.depths",
            )
        self.genes = (
            Gene("depth", self.depths, ordered=True),
            Gene("width", self.widths, ordered=True),
            Gene("blocks", self.block_counts, ordered=True),
            Gene("kernel", self.kernels, ordered=True),
            Gene("norm", self.norms),
            Gene("up", self.ups),
        )

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
        channels = channels_of(task, self.spatial_dims, (self.in_channels, self.out_channels))
        return UNet(self.spatial_dims, *channels, *self.values(arch))  # type: ignore[arg-type]

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network of an architecture as a backbone.

        Args:
            arch: Architecture of this space.
            in_channels: Channels of the image.

        Returns:
            Network (B, in_channels, ...) -> list of feature maps, finest first, each with half the sides of the one
            before. Its attribute `channels` holds their numbers of channels.
        """
        network = UNet(self.spatial_dims, in_channels, self.out_channels, *self.values(arch))  # type: ignore[arg-type]
        depth, width, *_ = self.values(arch)
        return Features(network, [int(width) * 2**level for level in range(int(depth) + 1)])

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
        for level in range(int(depth) + 1):
            branch = "down and up" if level < int(depth) else "bottom"
            lines.append(f"{'  ' * level}level {level}  1/{2**level}  {int(width) * 2**level} channels, {branch}")
        return "\n".join(lines)


class UNet(nn.Module):
    """U-Net in 2D or 3D.

    Args:
        dims: Spatial dimensions, 2 or 3.
        in_channels: Channels of an image.
        out_channels: Classes with the background.
        depth: Halvings of the resolution.
        width: Channels at full resolution, doubled at each halving.
        blocks: Convolutions on each level and side.
        kernel: Side of the kernel, odd.
        norm: "batch", "instance" or "group".
        up: "transposed" or "resize".
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
    ) -> None:
        super().__init__()
        self.depth = depth
        widths = [width * 2**level for level in range(depth + 1)]
        inputs = [in_channels, *widths]
        convolution, _, pool, *_ = LAYERS[dims]
        self.down = nn.ModuleList(
            _level(dims, inputs[level], widths[level], blocks, kernel, norm) for level in range(depth + 1)
        )
        self.pool = pool(2)
        # From the bottom up: double the resolution, concatenate the skip connection, convolve.
        upwards = list(reversed(range(depth)))
        self.up = nn.ModuleList(_up(dims, widths[level + 1], widths[level], kernel, norm, up) for level in upwards)
        self.merge = nn.ModuleList(
            _level(dims, 2 * widths[level], widths[level], blocks, kernel, norm) for level in upwards
        )
        self.head = convolution(width, out_channels, 1)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the logits of an image.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            Logits (B, out_channels, ...) with the sides of the image.

        Raises:
            NASError: If a side is not a multiple of 2^depth, or shorter than 2^(depth + 1).
        """
        return self.head(self.features(x_BCDHW)[0])

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


def _level(dims: int, inputs: int, outputs: int, blocks: int, kernel: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        *(_convolution(dims, outputs if block else inputs, outputs, kernel, norm) for block in range(blocks))
    )


def _convolution(dims: int, inputs: int, outputs: int, kernel: int, norm: str) -> nn.Sequential:
    convolution, _, _, batch_norm, instance_norm = LAYERS[dims]
    norms = {
        "batch": lambda: batch_norm(outputs),
        "instance": lambda: instance_norm(outputs, affine=True),
        "group": lambda: nn.GroupNorm(GROUPS, outputs),
    }
    return nn.Sequential(convolution(inputs, outputs, kernel, padding=kernel // 2), norms[norm](), nn.ReLU())


def _up(dims: int, inputs: int, outputs: int, kernel: int, norm: str, up: str) -> nn.Module:
    """Return a layer that doubles the sides and halves the channels."""
    if up == "transposed":
        return LAYERS[dims][1](inputs, outputs, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2), _convolution(dims, inputs, outputs, kernel, norm))
