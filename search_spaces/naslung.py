"""The NAS-Lung search space: three stages of residual blocks with non-decreasing widths.

Source: Jiang et al., Pattern Recognition 113:107825, 2021 (arXiv 2101.07429). A network is a list of widths for each
stage, such as [[4, 4], [4, 8], [8, 8]]; 3 to 9 blocks in all, at least one in each stage: 101,529 networks with six
widths.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published
from nas.space import Block, SearchSpace
from nas.supernets.elastic import Share
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Expected, OneOf
from nas.utils.checked import checked
from search_spaces.arguments import Increasing
from search_spaces.layers.features import Features
from search_spaces.naslung_blocks import BlockVocabulary
from search_spaces.naslung_network import ATTENTION, HEADS, STAGES, NASLungNet
from search_spaces.naslung_published import NOT_INCLUDED, PUBLISHED, encode_stages

ENUMERATE_LIMIT = 30_000_000


Stem = Annotated[Sequence[Annotated[int, Ge(4), Le(4096)]], Len(2, 2), Expected("two widths from 4 to 4096")]
Depth = Annotated[int, Ge(STAGES), Le(64)]  # blocks of all stages together


@checked("space")
class NASLungSpace(SearchSpace):
    """All networks [[w, ...], [w, ...], [w, ...]] with widths that never decrease along the depth.

    The genes are `max_depth - 2` slots for each stage, each 0 (no block) or a width, filled from the right and
    left-padded with 0. All are ordered: with this padding "obtainable by deleting blocks and narrowing" is elementwise
    <=. Sides of an input are multiples of 8.

    Args:
        stem: Channels of the two convolutions of the stem, >= 4.
        widths: Choices of the width of a block, increasing, >= 4.
        min_depth: Smallest number of blocks, 3 to `max_depth`.
        max_depth: Largest number of blocks.
        cbam: Attention: "none", "published" (`PublishedCBAM3D`) or "woo2018" (`WooCBAM3D`).
        head: "softmax" or "a_softmax".
        in_channels: Channels of a volume, >= 1.
        schedule: How the margin of "a_softmax" is annealed: "steps" (published: by the number of steps, its largest
            share after 2,990) or "relative" (to the length of the training, its largest share after 11 % of it).

    Raises:
        NASError: If an argument is out of range.
    """

    published: ClassVar[Mapping[str, Published]] = PUBLISHED
    not_included: ClassVar[Mapping[str, Published]] = NOT_INCLUDED
    later_arguments: ClassVar[tuple[str, ...]] = ("schedule",)

    def __init__(
        self,
        stem: Stem = (4, 4),
        widths: Annotated[Sequence[int], Increasing(4, 4096)] = (4, 8, 16, 32, 64, 128),
        min_depth: Depth = STAGES,
        max_depth: Depth = 9,
        cbam: Annotated[str, OneOf(*ATTENTION)] = "published",
        head: Annotated[str, OneOf(*HEADS)] = "a_softmax",
        in_channels: Channels = 1,
        schedule: Annotated[str, OneOf("steps", "relative")] = "steps",
    ) -> None:
        self.schedule = schedule
        self.stem, self.widths = tuple(stem), tuple(widths)
        self.min_depth, self.max_depth = min_depth, max_depth
        self.cbam, self.head, self.in_channels = cbam, head, in_channels
        if min_depth > max_depth:
            raise NASError(
                f"space.min_depth={min_depth} with space.max_depth={max_depth}",
                "min_depth <= max_depth",
                f"set space.min_depth to {max_depth} or less",
            )
        self.slots = max_depth - STAGES + 1
        self._vocabularies: dict[tuple[tuple[int, ...], int, int], BlockVocabulary] = {}
        self.genes = tuple(
            Gene(f"stage{stage + 1}.{slot + 1}", (0, *self.widths), ordered=True)
            for stage in range(STAGES)
            for slot in range(self.slots)
        )

    @classmethod
    def from_name(cls, name: str) -> tuple[SearchSpace, Architecture]:
        """Return a published network and its space.

        Args:
            name: `model-1`, `default`, or a name of the authors' model list (40), white space ignored.

        Returns:
            The space and the architecture.

        Raises:
            NASError: If no published network has this name.
        """
        compact = "".join(name.split())
        full = next((key for key in cls.published if "".join(key.split()) == compact), name)
        return super().from_name(full)

    def stages(self, arch: Architecture) -> list[list[int]]:
        """Return the block widths of each stage.

        Args:
            arch: Architecture of this space.

        Returns:
            Three lists of widths, such as [[4, 4], [4, 8], [8, 8]].
        """
        values = np.array(self.values(arch)).reshape(STAGES, self.slots)
        return [[int(width) for width in row if width] for row in values]

    def from_stages(self, stages: Sequence[Sequence[int]]) -> Architecture:
        """Return the architecture with the given block widths.

        Args:
            stages: Widths of the blocks of each of the three stages.

        Returns:
            The architecture.

        Raises:
            NASError: If it is not in the space.
        """
        known = all(width in self.widths for stage in stages for width in stage)
        if len(stages) != STAGES or not known or max(map(len, stages)) > self.slots:
            raise NASError(
                f"stages={[list(stage) for stage in stages]}",
                f"{STAGES} stages of at most {self.slots} blocks with widths from {self.widths}",
                "widen the space (`space.widths`, `space.max_depth`) or change the stages",
            )
        return self.architecture(encode_stages(stages, self.widths, self.slots))

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, `in_channels` and two outputs are used.

        Returns:
            A `NASLungNet`.

        Raises:
            NASError: If the task is not three-dimensional.
        """
        channels, outputs = self._channels(task)
        return NASLungNet(channels, self.stem, self.stages(arch), self.cbam, self.head, outputs, self.schedule)

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network of an architecture as a backbone.

        Args:
            arch: Architecture of this space.
            in_channels: Channels of the volume.

        Returns:
            Network (B, in_channels, D, H, W) -> list of four feature maps, finest first, each with half the sides of
            the one before. Its attribute `channels` holds their numbers of channels.
        """
        stages = self.stages(arch)
        network = NASLungNet(in_channels, self.stem, stages, self.cbam, self.head, 2)
        return Features(network, [self.stem[1], *(widths[-1] for widths in stages)])

    def _channels(self, task: TaskSpec | None) -> tuple[int, int]:
        return channels_of(task, 3, (self.in_channels, 2))

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return a valid architecture near the genes.

        Blocks move to the right of their stage. Widths become non-decreasing with the smallest maximum change: the
        mean of the running maximum and the running minimum, which is the L-infinity isotonic fit. Then blocks are
        dropped from the longest stage or doubled in the shortest one until the depth is in range.

        Args:
            genes: G integers.

        Returns:
            Valid architecture.
        """
        table = np.clip(np.asarray(genes, dtype=np.int64).reshape(STAGES, self.slots), 0, len(self.widths))
        stages = [[int(index) for index in row if index] or [1] for row in table]
        flat = np.array([index for stage in stages for index in stage])
        flat = (np.maximum.accumulate(flat) + np.minimum.accumulate(flat[::-1])[::-1]) // 2
        ends = np.cumsum([len(stage) for stage in stages])
        stages = [flat[end - len(stage) : end].tolist() for stage, end in zip(stages, ends, strict=True)]
        while sum(map(len, stages)) > self.max_depth:
            max(stages, key=len).pop(0)
        while sum(map(len, stages)) < self.min_depth:
            shortest = min(stages, key=len)
            shortest.insert(0, shortest[0])
        return self._issue([index for stage in stages for index in [0] * (self.slots - len(stage)) + stage])

    def count(self, depth: int) -> int:
        """Count the networks of a depth: C(d + W - 1, W - 1) multisets of W widths times C(d - 1, 2) splits.

        Args:
            depth: Number of blocks d, >= 3.

        Returns:
            Number of networks.
        """
        kinds = len(self.widths)
        return math.comb(depth + kinds - 1, kinds - 1) * math.comb(depth - 1, STAGES - 1)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture uniformly from the whole space; genes with a prior are drawn by it, then repaired.

        Args:
            rng: Source of randomness.

        Returns:
            Valid architecture.
        """
        depths = np.arange(self.min_depth, self.max_depth + 1)
        weights = np.array([self.count(int(depth)) for depth in depths], dtype=np.float64)
        depth = int(rng.choice(depths, p=weights / weights.sum()))
        kinds = len(self.widths)
        bars = np.sort(rng.choice(depth + kinds - 1, size=depth, replace=False))
        indices = bars - np.arange(depth) + 1
        cuts = np.sort(rng.choice(depth - 1, size=STAGES - 1, replace=False)) + 1
        stages = np.split(indices, cuts)
        drawn = [int(index) for stage in stages for index in [0] * (self.slots - len(stage)) + list(stage)]
        return self.follow_prior(self._issue(drawn), rng)

    def enumerate(self) -> np.ndarray | None:
        """Return the genes of all architectures (N, G), uint8, or None if there are more than 30 million."""
        depths = range(self.min_depth, self.max_depth + 1)
        total = sum(map(self.count, depths))
        if total > ENUMERATE_LIMIT:
            return None
        out = np.zeros((total, len(self.genes)), dtype=np.uint8)
        row = 0
        for depth in depths:
            pool = itertools.combinations_with_replacement(range(1, len(self.widths) + 1), depth)
            multisets = np.array(list(pool), dtype=np.uint8)
            for columns in self._placements(depth):
                out[row : row + len(multisets), columns] = multisets
                row += len(multisets)
        return out

    def _placements(self, depth: int) -> Iterator[list[int]]:
        """Yield the columns that a network's blocks occupy, for each split of `depth` blocks into three stages."""
        for cuts in itertools.combinations(range(1, depth), STAGES - 1):
            lengths = np.diff([0, *cuts, depth])
            yield [
                (stage + 1) * self.slots - length + position
                for stage, length in enumerate(lengths)
                for position in range(length)
            ]

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray]:
        """Express networks as sums of blocks.

        Args:
            genes_NG: Genes of N networks.
            input_size: Sides (D, H, W) in voxels, multiples of 8.
            task: Task that sets the numbers of channels and outputs, or None.

        Returns:
            All blocks of the space, and per network the numbers of its blocks, (N, 2 + 3 * (slots + 2)): stem,
            [pool, slots..., attention] * 3, head; -1 for an empty slot.

        Raises:
            NASError: If the sides are no multiples of 8, or the task is not three-dimensional.
        """
        key = (tuple(input_size), *self._channels(task))
        if key not in self._vocabularies:
            self._vocabularies[key] = BlockVocabulary(self.stem, self.widths, self.cbam, self.head, *key)
        vocabulary = self._vocabularies[key]
        columns = [np.full(len(genes_NG), vocabulary.stem, dtype=np.int16)]
        width = np.zeros(len(genes_NG), dtype=np.int64)  # 0: the stem's width
        for stage in range(STAGES):
            columns.append(vocabulary.pool[stage][width])
            for slot in range(stage * self.slots, (stage + 1) * self.slots):
                gene = genes_NG[:, slot].astype(np.int64)
                columns.append(vocabulary.residual[stage][width, gene])
                width = np.where(gene > 0, gene, width)
            columns.append(vocabulary.attention[stage][width])
        columns.append(vocabulary.head[width])
        return tuple(vocabulary.blocks), np.stack(columns, axis=1)

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            Lines for the stem, the three stages and the head.
        """
        note = "" if self.cbam == "none" else "  + CBAM"
        lines = [f"stem     {self.in_channels} > {self.stem[0]} > {self.stem[1]}{note}"]
        for number, widths in enumerate(self.stages(arch), start=1):
            lines.append(f"stage {number}  1/{2**number}  {' > '.join(map(str, widths))}{note}")
        lines.append(f"head     {self.head}, {self.stages(arch)[-1][-1]} features")
        return "\n".join(lines)

    def share(self, arch: Architecture, name: str) -> Share:
        """Return the shared weight of a weight: blocks are counted from the start of their stage.

        Args:
            arch: Architecture of this space.
            name: Name of a parameter or a buffer of its network.

        Returns:
            Its shared weight.
        """
        part, *rest = name.split(".")
        if part == "stages":
            stage, layer, *rest = rest
            last = len(self.stages(arch)[int(stage)]) + 1
            kind = {0: "pool", last: "attention"}.get(int(layer), f"block{layer}")
            rest = [stage, kind, *rest]
        return Share("/".join([part, *rest]))

    def covering(self) -> list[Architecture]:
        """Return the widest networks with as many blocks as possible in one stage.

        Returns:
            One architecture for each stage.
        """
        widest = [self.widths[-1]]
        counts = [[self.slots if stage == long else 1 for stage in range(STAGES)] for long in range(STAGES)]
        return [self.from_stages([widest * count for count in stages]) for stages in counts]
