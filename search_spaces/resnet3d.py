"""Residual classifiers in 2D and 3D, from networks that a CPU trains in seconds to ResNet-50.

Source: He et al., CVPR 2016 (arXiv 1512.03385). This space is the complete example for spaces of your own: arguments
with their ranges, `genes`, `build`, `blocks`, `describe` and `published`. The network is in
search_spaces/resnet3d_network.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published, PublishedCount
from nas.space import Block, SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.annotations import Channels, Expected, Rule, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import SWITCH, Increasing
from search_spaces.layerwise import Layer, blocks_of_layers
from search_spaces.resnet3d_network import EXPANSION, Head, ResidualBlock, ResNet, stem_block

MAX_CHANNELS = 8192  # of the last stage
KERNELS = Increasing(1, 15, 2, 1)
STRIDES = Rule(lambda n: list(n) in ([1], [2], [4], [2, 1], [4, 2], [4, 1], [4, 2, 1]), "decreasing strides of 4, 2, 1")


@checked("space")
class ResNet3DSpace(SearchSpace):
    """Residual networks whose stages after the first halve the resolution and double the width.

    The genes are width, depth of each stage, stem, stride, kernel and se, which are ordered (a later choice never makes
    a network smaller), and block, which is not. Networks have the dimensions of the task, and images of any sides.

    Args:
        widths: Choices of the width of the first stage, increasing, >= 1.
        depths: For each stage, choices of its number of residual blocks, increasing, >= 1.
        stems: Choices of the side of the stem's kernel, increasing odd numbers.
        strides: Choices of the stem's stride, decreasing, as a smaller stride is the larger network: [2, 1].
        kernels: Choices of the side of the kernel in residual blocks, increasing odd numbers.
        se: Choices of squeeze-and-excitation: [false], [true], or [false, true].
        block_kinds: Choices of the residual block: "basic" (two convolutions), "bottleneck" (three, the middle one with
            a quarter of the outputs).
        in_channels: Channels of an image, >= 1.
        outputs: Classes, >= 2.

    Raises:
        NASError: If an argument is out of range.
    """

    published: ClassVar[Mapping[str, Published]] = {}

    def __init__(
        self,
        widths: Annotated[Sequence[int], Increasing(1, 1024)] = (4, 8, 16),
        depths: Annotated[
            Sequence[Annotated[Sequence[int], Increasing(1, 64)]],
            Len(1, 8),
            Expected("for each of 1 to 8 stages increasing whole numbers from 1 to 64, such as [[1, 2], [1, 2]]"),
        ] = ((1, 2), (1, 2), (1, 2)),
        stems: Annotated[Sequence[int], KERNELS] = (3, 5),
        strides: Annotated[Sequence[int], STRIDES] = (2, 1),
        kernels: Annotated[Sequence[int], KERNELS] = (3, 5),
        se: Annotated[Sequence[bool], SWITCH] = (False, True),
        block_kinds: Annotated[Sequence[str], SomeOf(*EXPANSION)] = tuple(EXPANSION),
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Le(4096)] = 2,
    ) -> None:
        self.widths, self.depths = tuple(widths), tuple(map(tuple, depths))
        self.stems, self.strides, self.kernels = tuple(stems), tuple(strides), tuple(kernels)
        self.se, self.block_kinds = tuple(se), tuple(block_kinds)
        self.in_channels, self.outputs = in_channels, outputs
        widest = self._channels(self.widths[-1], len(self.depths) - 1, max(self.block_kinds, key=EXPANSION.__getitem__))
        if widest > MAX_CHANNELS:
            raise NASError(
                f"space.widths={list(self.widths)} with {len(self.depths)} stages, {widest} channels in the last one",
                f"at most {MAX_CHANNELS}",
                "leave out the largest of space.widths, or a stage of space.depths",
            )
        self.genes = (
            Gene("width", self.widths, ordered=True),
            *(Gene(f"depth{n}", choices, ordered=True) for n, choices in enumerate(self.depths, start=1)),
            Gene("stem", self.stems, ordered=True),
            Gene("stride", self.strides, ordered=True),
            Gene("kernel", self.kernels, ordered=True),
            Gene("se", self.se, ordered=True),
            Gene("block", self.block_kinds),
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets dimensions, channels and outputs; if None, 3D and the space's own numbers.

        Returns:
            A `ResNet`.
        """
        task = task or TaskSpec(dims=3, in_channels=self.in_channels, outputs=self.outputs)
        width, *depths, stem, stride, kernel, se, kind = self.values(arch)
        settings: Any = {"stem": stem, "stride": stride, "kernel": kernel, "se": se, "kind": kind}
        return ResNet(task.dims, task.in_channels, task.outputs, width, depths, **settings)  # type: ignore[arg-type]

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray]:
        """Decompose networks into stem, residual blocks and head, so that their costs are sums.

        Args:
            genes_NG: (N, G) gene indices.
            input_size: (D, H, W), in 2D (H, W).
            task: Task that sets channels and outputs; if None, the space's own are used.

        Returns:
            All blocks of the space, the same for any genes, and indices (N, K) into them, -1 for no block.
        """
        channels = (task.in_channels, task.outputs) if task else (self.in_channels, self.outputs)
        return blocks_of_layers(self, genes_NG, tuple(input_size), *channels)

    def layers(self, size: tuple[int, ...], in_channels: int, outputs: int) -> Iterator[Layer]:
        """Yield every layer as the genes that decide it and a function from their values to its block.

        Args:
            size: (D, H, W), in 2D (H, W).
            in_channels: Channels of an image.
            outputs: Logits.

        Yields:
            Names of genes and the function, whose result is None for no block.
        """
        dims = len(size)

        def sides(stride: int, stage: int) -> tuple[int, ...]:
            return tuple(-(-side // (stride * 2**stage)) for side in size)

        def stem(width: int, kernel: int, stride: int) -> Block:
            build = partial(stem_block, dims, in_channels, width, kernel, stride)
            return Block(f"stem {width} k{kernel} /{stride}", build, (in_channels, *size))

        def residual(
            stage: int, slot: int, depth: int, width: int, stride: int, kernel: int, se: bool, kind: str
        ) -> Block | None:
            if slot >= depth:
                return None
            halving = 2 if stage > 0 and slot == 0 else 1
            channels = self._channels(width, stage, kind)
            inputs = channels if slot else self._channels(width, stage - 1, kind) if stage else width
            key = f"{kind} {inputs}>{channels} k{kernel}{' se' if se else ''} @1/{stride * 2**stage}"
            build = partial(ResidualBlock, dims, kind, inputs, width * 2**stage, kernel, halving, se)
            return Block(key, build, (inputs, *sides(stride, stage - (halving == 2))))

        def head(width: int, stride: int, kind: str) -> Block:
            features, stage = self._channels(width, len(self.depths) - 1, kind), len(self.depths) - 1
            build = partial(Head, features, outputs)
            return Block(f"head {features} @1/{stride * 2**stage}", build, (features, *sides(stride, stage)))

        yield ("width", "stem", "stride"), stem
        for stage, depths in enumerate(self.depths):
            for slot in range(depths[-1]):
                yield (
                    (f"depth{stage + 1}", "width", "stride", "kernel", "se", "block"),
                    partial(residual, stage, slot),
                )
        yield ("width", "stride", "block"), head

    @staticmethod
    def _channels(width: int, stage: int, kind: str) -> int:
        """Return the channels that the blocks of a stage return."""
        return width * 2**stage * EXPANSION[kind]

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            Lines for the stem, each stage and the head.
        """
        width, *depths, stem, stride, kernel, se, kind = self.values(arch)
        note = " and squeeze-and-excitation" if se else ""
        lines = [f"stem     {width} channels, kernel {stem}, stride {stride}"]
        channels = 0
        for stage, depth in enumerate(depths):
            channels = self._channels(int(width), stage, str(kind))
            lines.append(
                f"stage {stage + 1}  1/{int(stride) * 2**stage}  {depth} {kind} block(s) of {channels} channels, "
                f"kernel {kernel}{note}"
            )
        return "\n".join([*lines, f"head     mean over space, {channels} features"])


def _published(kind: str, depths: Sequence[int], params: int) -> Published:
    single = {"stems": (3,), "strides": (1,), "kernels": (3,), "se": (False,), "block_kinds": (kind,)}
    arguments = {"widths": (64,), "depths": tuple((depth,) for depth in depths), **single}
    return Published(
        genes=(0,) * (len(depths) + 6),
        arguments=arguments,
        source=SOURCE,
        input_shape=(1, 28, 28, 28),
        counts=(PublishedCount("params", params, "", CODE),),
    )


SOURCE = "3D networks of the MedMNIST table, Yang et al., Scientific Data 10:41, 2023 (arXiv 2110.14795)"
CODE = "the MedMNIST experiments' network with 3D convolutions, one channel and two outputs"
ResNet3DSpace.published = {
    "resnet-18": _published("basic", (2, 2, 2, 2), 33_140_802),
    "resnet-50": _published("bottleneck", (3, 4, 6, 3), 46_138_946),
}
