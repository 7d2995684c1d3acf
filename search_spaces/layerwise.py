"""Networks as sums of blocks, where a few genes decide each layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from nas.architecture import Gene
from nas.space import Block

Layer = tuple[tuple[str, ...], Callable[..., Block | None]]  # names of genes, and the block that their values give


def blocks_of_layers(
    genes: Sequence[Gene], genes_NG: np.ndarray, layers: Iterable[Layer]
) -> tuple[tuple[Block, ...], np.ndarray]:
    """Decompose networks into the blocks of their layers, for `SearchSpace.blocks`.

    Args:
        genes: The G genes of the space.
        genes_NG: (N, G) gene indices.
        layers: Each layer as the names of the genes that decide it, and a function from their values to its block.

    Returns:
        All blocks of the space, the same for any genes, and indices (N, K) into them, -1 for no block.
    """
    position = {gene.name: number for number, gene in enumerate(genes)}
    vocabulary: dict[str, Block] = {}
    numbers: dict[str | None, int] = {None: -1}
    columns = []
    for names, make in layers:
        at = [position[name] for name in names]
        choices = [genes[gene].choices for gene in at]
        keys = []
        for values in itertools.product(*choices):  # every block that this layer may be
            block = make(*values)
            if block is not None and block.key not in vocabulary:
                numbers[block.key] = len(vocabulary)
                vocabulary[block.key] = block
            keys.append(block.key if block else None)
        table = np.array([numbers[key] for key in keys], dtype=np.int16).reshape([*map(len, choices)])
        columns.append(table[tuple(genes_NG[:, at].T)])
    return tuple(vocabulary.values()), np.stack(columns, axis=1)
