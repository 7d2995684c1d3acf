"""The NAS-Lung search space: three stages of residual blocks with non-decreasing widths.

Source: Jiang et al., Pattern Recognition 113:107825, 2021 (arXiv 2101.07429). A network is a list of widths per stage,
such as [[4, 4], [4, 8], [8, 8]]; 3 to 9 blocks in all, at least one a stage: 101,529 networks with six widths.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Le, Len
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.space import Block, Published, SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.checked import Channels, Expected, OneOf, checked
from search_spaces.arguments import Increasing
from search_spaces.layers.features import Features
from search_spaces.naslung_network import (
    ATTENTION,
    HEADS,
    REDUCTION,
    STAGES,
    NASLungNet,
    PooledHead,
    ResidualBlock,
    attention,
    pooling_block,
    stem_block,
)

ENUMERATE_LIMIT = 30_000_000


Stem = Annotated[Sequence[Annotated[int, Ge(4), Le(4096)]], Len(2, 2), Expected("two widths from 4 to 4096")]
Depth = Annotated[int, Ge(STAGES), Le(64)]  # blocks of all stages together


@checked("space")
class NASLungSpace(SearchSpace):
    """All networks [[w, ...], [w, ...], [w, ...]] with widths from `widths` that never decrease along the depth.

    Genes: per stage `max_depth - 2` slots, each 0 (no block) or a width, filled from the right and left-padded with
    0. All are ordered: with this padding "obtainable by deleting blocks and narrowing" is elementwise <=.
    cbam: "none", "published" or "woo2018"; head: "softmax" or "a_softmax". Input sides are multiples of 8.
    Raises NASError for arguments outside these ranges.
    """

    published: ClassVar[Mapping[str, Published]] = {}

    def __init__(
        self,
        stem: Stem = (4, 4),
        widths: Annotated[Sequence[int], Increasing(4, 4096)] = (4, 8, 16, 32, 64, 128),
        min_depth: Depth = STAGES,
        max_depth: Depth = 9,
        cbam: Annotated[str, OneOf(*ATTENTION)] = "published",
        head: Annotated[str, OneOf(*HEADS)] = "a_softmax",
        in_channels: Channels = 1,
    ) -> None:
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
        self._vocabularies: dict[tuple[tuple[int, ...], int, int], _Vocabulary] = {}
        self.genes = tuple(
            Gene(f"stage{stage + 1}.{slot + 1}", (0, *self.widths), ordered=True)
            for stage in range(STAGES)
            for slot in range(self.slots)
        )

    @classmethod
    def from_name(cls, name: str) -> tuple[SearchSpace, Architecture]:
        """`model-1`, `default`, or one of the 40 names of the authors' model list, white space ignored."""
        compact = "".join(name.split())
        full = next((key for key in cls.published if "".join(key.split()) == compact), name)
        return super().from_name(full)

    def stages(self, arch: Architecture) -> list[list[int]]:
        """The block widths of each stage, e.g. [[4, 4], [4, 8], [8, 8]]."""
        values = np.array(self.values(arch)).reshape(STAGES, self.slots)
        return [[int(width) for width in row if width] for row in values]

    def from_stages(self, stages: Sequence[Sequence[int]]) -> Architecture:
        """The architecture with these block widths. Raises NASError where it is not in the space."""
        known = all(width in self.widths for stage in stages for width in stage)
        if len(stages) != STAGES or not known or max(map(len, stages)) > self.slots:
            raise NASError(
                f"stages {[list(stage) for stage in stages]}",
                f"{STAGES} stages of at most {self.slots} blocks with widths from {self.widths}",
                "widen the space (`space.widths`, `space.max_depth`) or mend the stages",
            )
        return self.architecture(_encode_stages(stages, self.widths, self.slots))

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        channels, outputs = self._channels(task)
        return NASLungNet(channels, self.stem, self.stages(arch), self.cbam, self.head, outputs)

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        stages = self.stages(arch)
        network = NASLungNet(in_channels, self.stem, stages, self.cbam, self.head, 2)
        return Features(network, [self.stem[1], *(widths[-1] for widths in stages)])

    def _channels(self, task: TaskSpec | None) -> tuple[int, int]:
        if task is not None and task.dims != 3:
            raise NASError(f"a task of {task.dims} dimensions", "3 dimensions", "use a 3D data set with this space")
        return (self.in_channels, 2) if task is None else (task.in_channels, task.outputs)

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Blocks are moved to the right of their stage and widths made non-decreasing with the smallest largest change
        (the mean of the running maximum and the running minimum, the L-infinity isotonic fit); then blocks are dropped
        from the longest stage or doubled in the shortest one until the depth fits."""
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
        """Networks of this depth: C(d + W - 1, W - 1) multisets of W widths times C(d - 1, 2) ways to split them."""
        kinds = len(self.widths)
        return math.comb(depth + kinds - 1, kinds - 1) * math.comb(depth - 1, STAGES - 1)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Uniform over the whole space."""
        depths = np.arange(self.min_depth, self.max_depth + 1)
        weights = np.array([self.count(int(depth)) for depth in depths], dtype=np.float64)
        depth = int(rng.choice(depths, p=weights / weights.sum()))
        kinds = len(self.widths)
        bars = np.sort(rng.choice(depth + kinds - 1, size=depth, replace=False))
        indices = bars - np.arange(depth) + 1
        cuts = np.sort(rng.choice(depth - 1, size=STAGES - 1, replace=False)) + 1
        parts = np.split(indices, cuts)
        return self._issue([int(index) for part in parts for index in [0] * (self.slots - len(part)) + list(part)])

    def enumerate(self) -> np.ndarray | None:
        """(N, G) uint8, or None beyond 30 million networks."""
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
        """The columns that a network's blocks occupy, for each way to split `depth` blocks into three stages."""
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
        """Stem, then per stage a pooling convolution, residual blocks and attention, then the head.

        ids (N, 2 + 3 * (slots + 2)): stem, [pool, slots..., attention] * 3, head; -1 where a slot is empty.
        """
        key = (tuple(input_size), *self._channels(task))
        if key not in self._vocabularies:
            self._vocabularies[key] = _Vocabulary(self, *key)
        vocabulary = self._vocabularies[key]
        columns = [np.full(len(genes_NG), vocabulary.stem, dtype=np.int16)]
        width = np.zeros(len(genes_NG), dtype=np.int64)  # 0 stands for the stem's width
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
        note = "" if self.cbam == "none" else "  + CBAM"
        lines = [f"stem     {self.in_channels} > {self.stem[0]} > {self.stem[1]}{note}"]
        for number, widths in enumerate(self.stages(arch), start=1):
            lines.append(f"stage {number}  1/{2**number}  {' > '.join(map(str, widths))}{note}")
        lines.append(f"head     {self.head}, {self.stages(arch)[-1][-1]} features")
        return "\n".join(lines)


class _Vocabulary:
    """Every block that a network of the space can have at one input size, and tables from genes to block numbers."""

    def __init__(self, space: NASLungSpace, input_size: tuple[int, ...], channels: int, outputs: int) -> None:
        if len(input_size) != 3 or any(side % REDUCTION for side in input_size):
            raise NASError(f"input size {input_size}", f"three sides, multiples of {REDUCTION}", "mend data.size")
        self.blocks: list[Block] = []
        self._numbers: dict[str, int] = {}
        widths = (space.stem[1], *space.widths)
        n = len(widths)
        self.stem = self._add("stem", partial(stem_block, channels, space.stem, space.cbam), (channels, *input_size))
        self.pool, self.attention = np.full((2, STAGES, n), -1, dtype=np.int16)
        self.residual = np.full((STAGES, n, n), -1, dtype=np.int16)
        for stage in range(STAGES):
            before = tuple(side // 2**stage for side in input_size)
            after = tuple(side // 2 for side in before)
            at = f"@1/{2 ** (stage + 1)}"
            for i, width in enumerate(widths):
                if (i == 0) == (stage == 0):  # only the first stage follows the stem
                    self.pool[stage, i] = self._add(
                        f"pool {width} {at}", partial(pooling_block, width), (width, *before)
                    )
                if i == 0 and stage > 0:
                    continue
                if i and space.cbam != "none":
                    make = partial(attention, space.cbam, width)
                    self.attention[stage, i] = self._add(f"cbam {width} {at}", make, (width, *after))
                for j in range(max(i, 1), n):
                    key = f"residual {width}>{widths[j]} {at}"
                    self.residual[stage, i, j] = self._add(
                        key, partial(ResidualBlock, width, widths[j]), (width, *after)
                    )
        smallest = tuple(side // REDUCTION for side in input_size)
        self.head = np.full(n, -1, dtype=np.int16)
        for i, width in enumerate(widths[1:], start=1):
            key = f"head {width}"
            self.head[i] = self._add(key, partial(PooledHead, space.head, width, outputs), (width, *smallest))

    def _add(self, key: str, make: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> int:
        """The block's number; a block met before (the stem may be as wide as the first width) keeps its number."""
        if key not in self._numbers:
            self._numbers[key] = len(self.blocks)
            self.blocks.append(Block(key, make, input_shape))
        return self._numbers[key]


def _encode_stages(stages: Sequence[Sequence[int]], widths: Sequence[int], slots: int) -> list[int]:
    index = {width: number for number, width in enumerate(widths, start=1)}
    return [i for stage in stages for i in [0] * (slots - len(stage)) + [index[width] for width in stage]]


SOURCE = "fei-hdu/NAS-Lung; Jiang et al., Pattern Recognition 113:107825, 2021 (arXiv 2101.07429)"
NARROW = (4, 8, 16, 32, 64, 128)
WIDE = (*NARROW, 256, 512)
MODEL_LIST: tuple[tuple[tuple[int, int], list[list[int]]], ...] = (
    ((4, 4), [[8, 8, 8], [16, 16, 16], [32, 32]]),
    ((4, 4), [[8, 16, 16], [16, 32, 64], [128, 128]]),
    ((4, 4), [[4, 8, 16, 16, 16], [32, 128], [128]]),
    ((4, 4), [[64, 64, 64, 64], [64], [128, 128]]),
    ((4, 4), [[8, 32], [64, 64, 64], [64, 64, 128, 128]]),
    ((32, 64), [[64], [64], [64, 64, 128, 128]]),
    ((32, 64), [[64, 64, 64], [64, 64, 64, 64], [64, 64, 64, 64, 128]]),
    ((32, 64), [[64], [64, 64, 256], [512, 512]]),
    ((32, 64), [[64, 64], [64, 128, 128, 128, 128], [256, 256, 512, 512]]),
    ((32, 64), [[64, 64], [64, 64], [64, 128, 512, 512, 512]]),
)
VARIANTS = {
    "plain": ("none", "softmax"),
    "sp": ("none", "a_softmax"),
    "cbam": ("published", "softmax"),
    "spcbam": ("published", "a_softmax"),
}


def _published(stem: tuple[int, int], stages: list[list[int]], variant: str) -> Published:
    widths = NARROW if stages[-1][-1] <= NARROW[-1] else WIDE
    max_depth = max(9, sum(map(len, stages)))
    cbam, head = VARIANTS[variant]
    genes = _encode_stages(stages, widths, max_depth - STAGES + 1)
    arguments = {"stem": stem, "widths": widths, "max_depth": max_depth, "cbam": cbam, "head": head}
    return Published(tuple(genes), arguments, SOURCE)


NASLungSpace.published = {
    "model-1": _published((4, 4), [[4, 4], [4, 8], [8, 8]], "spcbam"),
    "default": _published((4, 4), [[64, 64, 64], [128, 128, 256], [256, 256, 256, 512]], "spcbam"),
    **{
        f"{variant}[{stem[0]},{stem[1]},{', '.join(map(str, stages))}]": _published(stem, stages, variant)
        for stem, stages in MODEL_LIST
        for variant in VARIANTS
    },
}
