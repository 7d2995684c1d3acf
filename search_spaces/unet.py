"""U-Nets in 2D and 3D: how deep, how wide, how many convolutions, which kernel, normalisation and up-sampling.

Sources: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597); Çiçek et al., MICCAI 2016 (arXiv 1606.06650); the plain
reference networks after Isensee et al., Nature Methods 18:203, 2021 (arXiv 1904.08128).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published, PublishedCount
from nas.supernets.elastic import largest_networks
from nas.utils.annotations import Channels, Dims, Expected, OneOf, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import FLAT_AXES, STRIDES, Increasing, require_levels
from search_spaces.unet_family import UNetFamily
from search_spaces.unet_network import (
    ACTIVATIONS,
    DOWNS,
    GROUPS,
    NORMS,
    UPS,
    UNet,
    level_lines,
    level_widths,
)

MAX_CHANNELS = 4096  # at the lowest resolution


@checked("space")
class UNetSpace(UNetFamily):
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
        strides: For each halving of the deepest network, finest first, the factor of each axis, 1 or 2. If None, every
            halving is one of all axes. Sides are then multiples of the product of their factors.
        flat_axes: For each level of the deepest network, finest first, the axes along which its kernels have one voxel,
            as for anisotropic voxels. If None, none.

    Raises:
        NASError: If an argument is out of range.
    """

    published: ClassVar[Mapping[str, Published]] = {}
    later_arguments: ClassVar[tuple[str, ...]] = (
        *("down", "activation", "growth", "max_width", "scale", "deep_supervision", "strides", "flat_axes"),
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
        strides: Annotated[Sequence[Sequence[int]], STRIDES] | None = None,
        flat_axes: Annotated[Sequence[Sequence[int]], FLAT_AXES] | None = None,
    ) -> None:
        require_levels(spatial_dims, depths[-1], strides, flat_axes)
        self.strides = None if strides is None else tuple(map(tuple, strides))
        self.flat_axes = None if flat_axes is None else tuple(map(tuple, flat_axes))
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
        return level_widths(depth, width, self.growth, self.max_width, self.scale)

    def _network(self, arch: Architecture, in_channels: int, out_channels: int) -> UNet:
        settings: Any = {name: getattr(self, name) for name in self.later_arguments}
        genes: Any = self.values(arch)
        return UNet(self.spatial_dims, in_channels, out_channels, *genes, **settings)

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
        widths = self.level_widths(int(depth), int(width))
        lines += level_lines(self.spatial_dims, widths, int(depth), self.strides, self.flat_axes)
        return "\n".join(lines)

    def covering(self) -> list[Architecture]:
        """Return the largest networks.

        Returns:
            One architecture for each combination of the genes without an order.
        """
        return largest_networks(self)


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
