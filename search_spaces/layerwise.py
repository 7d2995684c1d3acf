"""Networks as sums of blocks, where a few genes decide each layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Protocol

import numpy as np

from nas.architecture import Gene
from nas.space import Block

Layer = tuple[tuple[str, ...], Callable[..., Block | None]]  # names of genes, and the block that their values give
Column = tuple[tuple[int, ...], np.ndarray]  # positions of genes, and the block's number by their values


class LayeredSpace(Hashable, Protocol):
    """A space whose networks are layers."""

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The genes of the space."""

    def layers(self, size: tuple[int, ...], in_channels: int, outputs: int) -> Iterable[Layer]:
        """List the layers.

        Args:
            size: (D, H, W), in 2D (H, W).
            in_channels: Channels of an image.
            outputs: Channels of the output.

        Returns:
            For each layer, the genes that decide it and a function from their values to its block.
        """


def blocks_of_layers(
    space: LayeredSpace, genes_NG: np.ndarray, size: tuple[int, ...], in_channels: int, outputs: int
) -> tuple[tuple[Block, ...], np.ndarray]:
    """Decompose networks into the blocks of their layers, for `SearchSpace.blocks`.

    Args:
        space: The space.
        genes_NG: (N, G) gene indices.
        size: (D, H, W), in 2D (H, W).
        in_channels: Channels of an image.
        outputs: Channels of the output.

    Returns:
        All blocks of the space, the same for any genes, and indices (N, K) into them, -1 for no block.
    """
    blocks, columns = _vocabulary(space, size, in_channels, outputs)
    return blocks, np.stack([table[tuple(genes_NG[:, at].T)] for at, table in columns], axis=1)


@lru_cache(maxsize=16)  # a space of U-Nets has thousands of blocks, and searches ask for the cost of each proposal
def _vocabulary(
    space: LayeredSpace, size: tuple[int, ...], in_channels: int, outputs: int
) -> tuple[tuple[Block, ...], tuple[Column, ...]]:
    """Return all blocks of a space, and for each layer the number of its block, -1 for none, by values of genes."""
    position = {gene.name: number for number, gene in enumerate(space.genes)}
    vocabulary: dict[str, Block] = {}
    numbers: dict[str | None, int] = {None: -1}
    columns = []
    for names, make in space.layers(size, in_channels, outputs):
        at = tuple(position[name] for name in names)
        choices = [space.genes[gene].choices for gene in at]
        keys = []
        for values in itertools.product(*choices):  # every block that this layer may be
            block = make(*values)
            if block is not None and block.key not in vocabulary:
                numbers[block.key] = len(vocabulary)
                vocabulary[block.key] = block
            keys.append(block.key if block else None)
        columns.append((at, np.array([numbers[key] for key in keys], dtype=np.int16).reshape([*map(len, choices)])))
    return tuple(vocabulary.values()), tuple(columns)
