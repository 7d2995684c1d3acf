"""The blocks that NAS-Lung networks consist of, numbered, to add up the costs of many networks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from torch import nn

from nas.errors import NASError
from nas.space import Block
from search_spaces.naslung_network import (
    REDUCTION,
    STAGES,
    PooledHead,
    ResidualBlock,
    attention,
    pooling_block,
    stem_block,
)


class BlockVocabulary:
    """Every block of the networks of a space at one input size, and tables from genes to block numbers.

    Widths are indexed as genes are: 0 is the width after the stem, i > 0 is `widths[i - 1]`. Entries of blocks that no
    network has are -1.

    Args:
        stem: Channels of the two convolutions of the stem.
        widths: Widths of the space, increasing.
        cbam: "none", "published" or "woo2018".
        head: "softmax" or "a_softmax".
        input_size: Sides (D, H, W) of the input in voxels, multiples of 8.
        channels: Channels of the input.
        outputs: Classes.

    Attributes:
        blocks: All blocks, in the order of their numbers.
        stem: Number of the stem.
        pool: Numbers (stage, width before) of the pooling convolutions.
        residual: Numbers (stage, width before, width) of the residual blocks.
        attention: Numbers (stage, width) of the attention layers.
        head: Numbers (width,) of the heads.

    Raises:
        NASError: If the input does not have three sides that are multiples of 8.
    """

    def __init__(
        self,
        stem: Sequence[int],
        widths: Sequence[int],
        cbam: str,
        head: str,
        input_size: tuple[int, ...],
        channels: int,
        outputs: int,
    ) -> None:
        if len(input_size) != 3 or any(side % REDUCTION for side in input_size):
            raise NASError(
                f"an input of {' x '.join(map(str, input_size))} voxels",
                f"three sides that are multiples of {REDUCTION}",
                f"set data.size to multiples of {REDUCTION}",
            )
        self.blocks: list[Block] = []
        self._numbers: dict[str, int] = {}
        self._widths, self._cbam = (stem[1], *widths), cbam
        n = len(self._widths)
        self.stem = self._add("stem", partial(stem_block, channels, stem, cbam), (channels, *input_size))
        self.pool, self.attention = np.full((2, STAGES, n), -1, dtype=np.int16)
        self.residual = np.full((STAGES, n, n), -1, dtype=np.int16)
        for stage in range(STAGES):
            self._add_stage(stage, tuple(side // 2**stage for side in input_size))
        smallest = tuple(side // REDUCTION for side in input_size)
        self.head = np.full(n, -1, dtype=np.int16)
        for i, width in enumerate(widths, start=1):
            self.head[i] = self._add(f"head {width}", partial(PooledHead, head, width, outputs), (width, *smallest))

    def _add_stage(self, stage: int, sides: tuple[int, ...]) -> None:
        """Add the blocks of a stage. sides: of its input."""
        halved = tuple(side // 2 for side in sides)
        scale = f"@1/{2 ** (stage + 1)}"
        for i, width in enumerate(self._widths):
            if (i == 0) == (stage == 0):  # only the first stage follows the stem
                make_pool = partial(pooling_block, width)
                self.pool[stage, i] = self._add(f"pool {width} {scale}", make_pool, (width, *sides))
            if i == 0 and stage > 0:
                continue
            if i and self._cbam != "none":
                make_attention = partial(attention, self._cbam, width)
                self.attention[stage, i] = self._add(f"cbam {width} {scale}", make_attention, (width, *halved))
            for j in range(max(i, 1), len(self._widths)):
                wider = self._widths[j]
                make_residual = partial(ResidualBlock, width, wider)
                key = f"residual {width}>{wider} {scale}"
                self.residual[stage, i, j] = self._add(key, make_residual, (width, *halved))

    def _add(self, key: str, make: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> int:
        """Return the block's number; a known key keeps its number, as the stem may be as wide as the first width."""
        if key not in self._numbers:
            self._numbers[key] = len(self.blocks)
            self.blocks.append(Block(key, make, input_shape))
        return self._numbers[key]
