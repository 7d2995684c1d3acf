"""Cascades of 3D U-Nets for images of several modalities: a network per scale, the coarse ones guide the fine ones.

Source: Lachinov, Vasiliev and Turlapov, BrainLes 2018 (arXiv 1810.04008), and the network published of it as
`brain-tumor-segmentation-0001` of the Open Model Zoo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published
from nas.space import SearchSpace
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Expected, Fraction, SomeOf
from nas.utils.checked import checked
from search_spaces.arguments import Increasing
from search_spaces.cascade_network import FUSIONS, Cascade

SOURCE = "BraTS 2018, Lachinov et al. (arXiv 1810.04008); brain-tumor-segmentation-0001 of the Open Model Zoo"


def _published(width: int, source: str) -> Published:
    single = {"depths": (3,), "levels": (3,), "block_counts": (1,), "growths": (2,), "fusions": ("max",)}
    return Published((0,) * 6, {"widths": (width,), **single, "in_channels": 4, "out_channels": 4}, source)


@checked("space")
class CascadeSpace(SearchSpace):
    """Cascades of `levels` U-Nets at 1, 1/2, 1/4 ... of the resolution, each with an encoder per modality.

    The genes are width, depth, levels, blocks and growth, which are ordered (a later choice never makes a network
    smaller), and fusion, which is not. The output of a coarser network enters a decoder at the same resolution, so
    that levels <= depth; without a second network, growth is the first choice. Sides of an input are multiples of
    2^(depth + levels - 1) and at least twice that.

    Args:
        widths: Choices of the channels of a modality in the finest network at full resolution, doubled at each
            halving; increasing, >= 1.
        depths: Choices of the halvings in each network, increasing, >= 1.
        levels: Choices of the number of networks, increasing, >= 1; the smallest is at most the smallest depth.
        block_counts: Choices of the residual blocks per resolution and side, increasing, >= 1.
        growths: Choices of the factor on the width from each network to the next coarser one, increasing, >= 1.
        fusions: Choices of the fusion: the "max" or "mean" over the encoders of the modalities, or "early", one
            encoder of all modalities.
        in_channels: Modalities, >= 1.
        out_channels: Classes with the background, >= 2.
        deep_supervision: If True, in training a network gives the logits of all its scales, finest first, each with
            the sides of its scale.
        dropout: Probability, in [0, 1), of dropout after each halving.

    Raises:
        NASError: If an argument is out of range.
    """

    kind: ClassVar[str] = "segmentation"
    published: ClassVar[Mapping[str, Published]] = {
        "brats2018": _published(8, SOURCE),
        "brats2018-f4": _published(4, f"{SOURCE}; half as wide, as its published configuration"),
        "brats2018-f2": _published(2, f"{SOURCE}; a quarter as wide, for a small machine"),
        "brats2018-f1": _published(1, f"{SOURCE}; an eighth as wide, for a small machine"),
    }

    def __init__(
        self,
        widths: Annotated[Sequence[int], Increasing(1, 256)] = (2, 4, 8),
        depths: Annotated[Sequence[int], Increasing(1, 8)] = (2, 3),
        levels: Annotated[Sequence[int], Increasing(1, 8)] = (1, 2, 3),
        block_counts: Annotated[Sequence[int], Increasing(1, 16)] = (1, 2),
        growths: Annotated[Sequence[int], Increasing(1, 8)] = (1, 2),
        fusions: Annotated[Sequence[str], SomeOf(*FUSIONS)] = FUSIONS,
        in_channels: Channels = 4,
        out_channels: Annotated[int, Ge(2), Le(4096), Expected("2 to 4096, the background included")] = 4,
        deep_supervision: bool = True,
        dropout: Fraction = 0.1,
    ) -> None:
        self.widths, self.depths, self.levels = tuple(widths), tuple(depths), tuple(levels)
        self.block_counts, self.growths, self.fusions = tuple(block_counts), tuple(growths), tuple(fusions)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.deep_supervision, self.dropout = deep_supervision, dropout
        if self.levels[0] > self.depths[0]:
            raise NASError(
                f"space.levels={list(self.levels)} with space.depths={list(self.depths)}",
                "the smallest of levels at most the smallest of depths, as levels <= depth",
                "add a smaller choice to space.levels or use larger space.depths",
            )
        self.genes = (
            Gene("width", self.widths, ordered=True),
            Gene("depth", self.depths, ordered=True),
            Gene("levels", self.levels, ordered=True),
            Gene("blocks", self.block_counts, ordered=True),
            Gene("growth", self.growths, ordered=True),
            Gene("fusion", self.fusions),
        )

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest valid architecture.

        Genes are clipped; then levels is reduced to at most depth, and growth without a second network to its first
        choice.

        Args:
            genes: Six integers.

        Returns:
            Valid architecture.
        """
        width, depth, levels, blocks, growth, fusion = super().repair(genes).genes
        while self.levels[levels] > self.depths[depth]:
            levels -= 1
        return self._issue((width, depth, levels, blocks, growth if self.levels[levels] > 1 else 0, fusion))

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            A `Cascade`.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        channels = channels_of(task, 3, (self.in_channels, self.out_channels))
        settings = {"dropout": self.dropout, "deep_supervision": self.deep_supervision}
        return Cascade(*channels, *self.values(arch), **settings)  # type: ignore[arg-type]

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            One line for the encoders, then one per network, coarsest first.
        """
        width, depth, levels, blocks, growth, fusion = self.values(arch)
        encoder = "one encoder of all modalities" if fusion == "early" else f"one encoder per modality, their {fusion}"
        lines = [f"{encoder}; {blocks} residual block(s) per resolution and side"]
        for step in reversed(range(int(levels))):
            widths = [int(width) * int(growth) ** step * 2**level for level in range(int(depth) + 1)]
            scales = [f"1/{2 ** (step + level)}" for level in range(int(depth) + 1)]
            pairs = ", ".join(f"{count} at {scale}" for count, scale in zip(widths, scales, strict=True))
            lines.append(f"network at 1/{2**step}  channels per modality: {pairs}")
        return "\n".join(lines)
