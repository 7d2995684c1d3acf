"""U-Nets whose width is chosen on every level, and whose encoder and decoder differ in depth and kernel.

Sources: Çiçek et al., MICCAI 2016 (arXiv 1606.06650); residual levels after V-Net, Milletari et al., 3DV 2016
(arXiv 1606.04797).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published
from nas.space import Block
from nas.supernets.elastic import largest_networks
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Dims, Expected, OneOf, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import FLAT_AXES, STRIDES, SWITCH, Increasing, require_levels
from search_spaces.layerwise import Layer, blocks_of_layers
from search_spaces.unet_family import UNetFamily
from search_spaces.unet_network import (
    ACTIVATIONS,
    DOWNS,
    GROUPS,
    LAYERS,
    NORMS,
    UPS,
    Supervised,
    UNet,
    convolution_unit,
    kernel_sides,
    level_factors,
    level_lines,
    require_sides,
    up_sampling,
)

KERNELS = Increasing(3, 15, 2, 1)  # larger than that of a shortcut, so that a wider network is never a smaller one


@checked("space")
class FlexibleUNetSpace(UNetFamily):
    """U-Nets with a width of their own on every level, and different encoders and decoders.

    The genes are depth, width0, width1, ..., encoder_blocks, decoder_blocks, encoder_kernel and decoder_kernel, which
    are ordered (a later choice never makes a network smaller), and norm, residual, up and down, which are not. Widths
    of levels below the bottom are the first choice. Sides of an input are multiples of 2^depth and at least
    2^(depth + 1).

    Args:
        depths: Choices of the number of halvings, increasing, >= 1.
        widths: For each level of the deepest network, finest first, choices of its channels, increasing multiples of 4.
        encoder_blocks: Choices of the convolutions on each level of the encoder and at the bottom, increasing, >= 1.
        decoder_blocks: Choices of the convolutions on each level of the decoder, increasing, >= 1.
        encoder_kernels: Choices of the side of the encoder's kernels, increasing odd numbers, >= 3.
        decoder_kernels: Choices of the side of the decoder's kernels, increasing odd numbers, >= 3.
        norms: Choices of the normalisation: "batch", "instance", "group".
        residual: Choices of residual levels, whose input is added to their output: [false], [true], or [false, true].
        ups: Choices of the up-sampling: "transposed" convolution, or "resize" (nearest neighbour, then a convolution).
        downs: Choices of the halving: "pool" (maximum over 2 voxels per axis), or "stride" (the first convolution of a
            level has stride 2).
        activation: "relu", or "leaky_relu" with slope 0.01.
        spatial_dims: 2 or 3.
        in_channels: Channels of an image, >= 1.
        out_channels: Classes with the background, >= 2.
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
    later_arguments: ClassVar[tuple[str, ...]] = ("deep_supervision", "strides", "flat_axes")

    def __init__(
        self,
        depths: Annotated[Sequence[int], Increasing(1, 8)] = (1, 2, 3),
        widths: Annotated[
            Sequence[Annotated[Sequence[int], Increasing(GROUPS, 4096, GROUPS)]],
            Len(2, 9),
            Expected("for each level increasing multiples of 4 from 4 to 4096, such as [[4, 8], [8, 16], [16, 32]]"),
        ] = ((4, 8, 16), (8, 16, 32), (16, 32, 64), (32, 64, 128)),
        encoder_blocks: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2, 3),
        decoder_blocks: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2),
        encoder_kernels: Annotated[Sequence[int], KERNELS] = (3, 5),
        decoder_kernels: Annotated[Sequence[int], KERNELS] = (3, 5),
        norms: Annotated[Sequence[str], SomeOf(*NORMS)] = NORMS,
        residual: Annotated[Sequence[bool], SWITCH] = (False, True),
        ups: Annotated[Sequence[str], SomeOf(*UPS)] = UPS,
        downs: Annotated[Sequence[str], SomeOf(*DOWNS)] = DOWNS,
        activation: Annotated[str, OneOf(*ACTIVATIONS)] = "relu",
        spatial_dims: Dims = 3,
        in_channels: Channels = 1,
        out_channels: Annotated[int, Ge(2), Le(4096), Expected("2 to 4096, the background included")] = 2,
        deep_supervision: bool = False,
        strides: Annotated[Sequence[Sequence[int]], STRIDES] | None = None,
        flat_axes: Annotated[Sequence[Sequence[int]], FLAT_AXES] | None = None,
    ) -> None:
        require_levels(spatial_dims, depths[-1], strides, flat_axes)
        self.strides = None if strides is None else tuple(map(tuple, strides))
        self.flat_axes = None if flat_axes is None else tuple(map(tuple, flat_axes))
        self.depths, self.widths = tuple(depths), tuple(map(tuple, widths))
        self.encoder_blocks, self.decoder_blocks = tuple(encoder_blocks), tuple(decoder_blocks)
        self.encoder_kernels, self.decoder_kernels = tuple(encoder_kernels), tuple(decoder_kernels)
        self.norms, self.residual = tuple(norms), tuple(residual)
        self.ups, self.downs, self.activation = tuple(ups), tuple(downs), activation
        self.spatial_dims, self.in_channels, self.out_channels = spatial_dims, in_channels, out_channels
        self.deep_supervision = deep_supervision
        if len(self.widths) != self.depths[-1] + 1:
            raise NASError(
                f"space.widths of {len(self.widths)} levels with space.depths={list(self.depths)}",
                f"widths of {self.depths[-1] + 1} levels, one more than the halvings of the deepest network",
                "add or remove levels of space.widths, or change space.depths",
            )
        self.genes = (
            Gene("depth", self.depths, ordered=True),
            *(Gene(f"width{level}", choices, ordered=True) for level, choices in enumerate(self.widths)),
            Gene("encoder_blocks", self.encoder_blocks, ordered=True),
            Gene("decoder_blocks", self.decoder_blocks, ordered=True),
            Gene("encoder_kernel", self.encoder_kernels, ordered=True),
            Gene("decoder_kernel", self.decoder_kernels, ordered=True),
            Gene("norm", self.norms),
            Gene("residual", self.residual),
            Gene("up", self.ups),
            Gene("down", self.downs),
        )

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest valid architecture.

        Genes are clipped; then widths of levels that the network does not have become the first choice.

        Args:
            genes: Any G integers.

        Returns:
            Valid architecture.
        """
        repaired = list(super().repair(genes).genes)
        present = self.depths[repaired[0]] + 1
        repaired[1 + present : 1 + len(self.widths)] = [0] * (len(self.widths) - present)
        return self._issue(repaired)

    def level_widths(self, arch: Architecture) -> list[int]:
        """Return the channels of every level of a network.

        Args:
            arch: Architecture of this space.

        Returns:
            depth + 1 numbers, finest level first.
        """
        present = self.depths[arch.genes[0]] + 1
        return [choices[gene] for choices, gene in zip(self.widths, arch.genes[1 : 1 + present], strict=False)]

    def _network(self, arch: Architecture, in_channels: int, out_channels: int) -> UNet:
        value = self._by_name(arch)
        return UNet(
            self.spatial_dims,
            in_channels,
            out_channels,
            depth=value["depth"],
            width=value["width0"],
            blocks=value["encoder_blocks"],
            kernel=value["encoder_kernel"],
            norm=value["norm"],
            up=value["up"],
            down=value["down"],
            activation=self.activation,
            widths=self.level_widths(arch),
            decoder_blocks=value["decoder_blocks"],
            decoder_kernel=value["decoder_kernel"],
            residual=value["residual"],
            deep_supervision=self.deep_supervision,
            strides=self.strides,
            flat_axes=self.flat_axes,
        )

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray]:
        """Decompose networks into convolutions with their normalisation, so that their costs are sums.

        Args:
            genes_NG: (N, G) gene indices.
            input_size: (D, H, W), in 2D (H, W).
            task: Task that sets channels and outputs; if None, the space's own are used.

        Returns:
            All blocks of the space, the same for any genes, and indices (N, K) into them, -1 for no block.

        Raises:
            NASError: If the deepest network cannot halve the sides.
        """
        require_sides(tuple(input_size), level_factors(self.spatial_dims, self.depths[-1], self.strides))
        channels = channels_of(task, self.spatial_dims, (self.in_channels, self.out_channels))
        return blocks_of_layers(self, genes_NG, tuple(input_size), *channels)

    def layers(self, size: tuple[int, ...], in_channels: int, outputs: int) -> Iterator[Layer]:
        """Yield every layer as the genes that decide it and a function from their values to its block.

        Args:
            size: (D, H, W), in 2D (H, W).
            in_channels: Channels of an image.
            outputs: Classes with the background.

        Yields:
            Names of genes and the function, whose result is None for no block.
        """
        dims = self.spatial_dims
        convolution = LAYERS[dims][0]

        factors = level_factors(dims, self.depths[-1], self.strides)
        flat_axes = self.flat_axes or [()] * len(factors)

        def sides(level: int) -> tuple[int, ...]:
            divisors = [math.prod(factor) for factor in zip(*factors[: level + 1], strict=True)]
            return tuple(max(side // divisor, 1) for side, divisor in zip(size, divisors, strict=True))

        def kernel_of(level: int, kernel: int) -> tuple[int, ...]:
            return kernel_sides(dims, kernel, flat_axes[level])

        def unit(level: int, inputs: int, outputs: int, kernel: int, norm: str, stride: int = 1) -> Block:
            key = f"conv {inputs}>{outputs} k{kernel} {norm} @1/{2**level}{' from above' if stride == 2 else ''}"
            step, shape = factors[level] if stride == 2 else 1, kernel_of(level, kernel)
            build = partial(convolution_unit, dims, inputs, outputs, shape, norm, self.activation, step)
            return Block(key, build, (inputs, *sides(level - (stride == 2))))

        def shortcut(level: int, inputs: int, outputs: int, norm: str, stride: int = 1) -> Block | None:
            if inputs == outputs and stride == 1:
                return None
            block = unit(level, inputs, outputs, 1, norm, stride)
            return Block(f"shortcut of {block.key}", lambda: block.build()[:-1], block.input_shape)  # type: ignore[index]

        def enter(level: int, depth: int, *values: Any) -> Block | None:
            *above, here, kernel, norm, down = values
            if level > depth:
                return None
            stride = 2 if level and down == "stride" else 1
            return unit(level, above[0] if above else in_channels, here, kernel, norm, stride)

        def add(level: int, depth: int, *values: Any) -> Block | None:
            *above, here, norm, residual, down = values
            if not residual or level > depth:
                return None
            stride = 2 if level and down == "stride" else 1
            return shortcut(level, above[0] if above else in_channels, here, norm, stride)

        def again(
            level: int, least: int, slot: int, depth: int, here: int, count: int, kernel: int, norm: str
        ) -> Block | None:
            return unit(level, here, here, kernel, norm) if depth >= least and slot < count else None

        def rise(level: int, depth: int, below: int, here: int, kernel: int, norm: str, up: str) -> Block | None:
            if level >= depth:
                return None
            key = f"up {below}>{here} {up}{f' k{kernel} {norm}' if up == 'resize' else ''} to 1/{2**level}"
            shape, factor = kernel_of(level, kernel), factors[level + 1]
            make = partial(convolution_unit, dims, kernel=shape, norm=norm, activation=self.activation)
            return Block(key, partial(up_sampling, dims, make, below, here, up, factor), (below, *sides(level + 1)))

        def merge(level: int, depth: int, here: int, kernel: int, norm: str) -> Block | None:
            if level >= depth:
                return None
            block = unit(level, 2 * here, here, kernel, norm)
            if not self.deep_supervision or level == 0:
                return block
            build = partial(Supervised, block.build, partial(convolution, here, outputs, 1))
            return Block(f"{block.key}, supervised", build, block.input_shape)

        def add_merged(level: int, depth: int, here: int, norm: str, residual: bool) -> Block | None:
            return shortcut(level, 2 * here, here, norm) if residual and level < depth else None

        def head(width: int) -> Block:
            return Block(f"head {width}", partial(convolution, width, outputs, 1), (width, *size))

        for level in range(len(self.widths)):
            here, below = f"width{level}", f"width{level + 1}"
            pair = (here,) if level == 0 else (f"width{level - 1}", here)
            yield ("depth", *pair, "encoder_kernel", "norm", "down"), partial(enter, level)
            yield ("depth", *pair, "norm", "residual", "down"), partial(add, level)
            for slot in range(1, self.encoder_blocks[-1]):
                genes = ("depth", here, "encoder_blocks", "encoder_kernel", "norm")
                yield genes, partial(again, level, level, slot)
            if level + 1 < len(self.widths):
                yield ("depth", below, here, "decoder_kernel", "norm", "up"), partial(rise, level)
                yield ("depth", here, "decoder_kernel", "norm"), partial(merge, level)
                yield ("depth", here, "norm", "residual"), partial(add_merged, level)
                for slot in range(1, self.decoder_blocks[-1]):
                    genes = ("depth", here, "decoder_blocks", "decoder_kernel", "norm")
                    yield genes, partial(again, level, level + 1, slot)
        yield ("width0",), head

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            A line each for the encoder, the decoder and the layers of both, then one per level.
        """
        value = self._by_name(arch)

        def side(name: str) -> str:
            sides = " x ".join([str(value[f"{name}_kernel"])] * self.spatial_dims)
            return f"{name}  {value[f'{name}_blocks']} convolution(s) of {sides} per level"

        levels = "residual levels" if value["residual"] else "plain levels"
        down = "maximum" if value["down"] == "pool" else "convolution of stride 2"
        lines = [side("encoder"), side("decoder")]
        lines.append(f"layers   {levels}, {value['norm']} normalisation, {down} down, {value['up']} up")
        widths = self.level_widths(arch)
        return "\n".join(
            [*lines, *level_lines(self.spatial_dims, widths, value["depth"], self.strides, self.flat_axes)]
        )

    def covering(self) -> list[Architecture]:
        """Return the largest networks.

        Returns:
            One architecture for each combination of the genes without an order, and those with one narrow level.
        """
        # a level has a shortcut only where its width differs from that of the level above
        return largest_networks(self, but=[f"width{level}" for level in range(len(self.widths))])
