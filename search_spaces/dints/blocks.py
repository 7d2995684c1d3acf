"""The blocks that DiNTS networks consist of, numbered, to add up the costs of many networks at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import nn

from nas.space import Block
from search_spaces.dints.cells import OPERATIONS, HeadLevel, Plan, Stem, edge, final_layers
from search_spaces.dints.topology import Lattice


@dataclass(frozen=True)
class BlockVocabulary:
    """Every block of the networks of a space at one input size, and the numbers of the blocks.

    Attributes:
        blocks: All blocks, in the order of their numbers.
        stem_D: Number of the stem of each level.
        edge_EK: Number of each edge with each operation, -1 for the skip between equal levels, which costs nothing. A
            further last column is -1, so that the index -1, an edge that is off, also gives -1.
        head_D: Number of each level of the head.
        final: Number of the final layers.
    """

    blocks: tuple[Block, ...]
    stem_D: np.ndarray
    edge_EK: np.ndarray
    head_D: np.ndarray
    final: int

    @classmethod
    def of(cls, plan: Plan, lattice: Lattice, sides: tuple[int, ...]) -> BlockVocabulary:
        """Collect the blocks.

        Args:
            plan: Sizes of the networks.
            lattice: Tables of a block.
            sides: Sides of the input in voxels.

        Returns:
            Blocks and numbers.
        """
        blocks: list[Block] = []

        def add(key: str, make: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> int:
            blocks.append(Block(key, make, input_shape))
            return len(blocks) - 1

        def shape(level: int) -> tuple[int, ...]:
            factor = 2 ** (level + int(plan.use_downsample))
            return (plan.width(level), *(side // factor for side in sides))

        levels, image = range(plan.depths), (plan.in_channels, *sides)
        stem_D = np.array([add(f"stem {level}", partial(Stem, plan, level), image) for level in levels])
        edge_EK = np.full((lattice.edges, len(plan.operations) + 1), -1)
        for e, (source, target) in enumerate(zip(lattice.sources_E.tolist(), lattice.targets_E.tolist(), strict=True)):
            for k, name in enumerate(plan.operations):
                if source != target or OPERATIONS[plan.dims][name]:
                    make = partial(edge, plan, source, target, name)
                    edge_EK[e, k] = add(f"edge {source}>{target} {name}", make, shape(source))
        head_D = np.array([add(f"head {level}", partial(HeadLevel, plan, level), shape(level)) for level in levels])
        final = add("final", partial(final_layers, plan), (plan.widths[0], *sides))
        return cls(tuple(blocks), stem_D, edge_EK, head_D, final)
