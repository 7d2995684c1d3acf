"""Descriptors of DiNTS networks against a plain reading of their edges."""

from __future__ import annotations

import itertools

import numpy as np

from search_spaces.dints.space import DiNTSSpace
from search_spaces.dints.structure import structure_names

SPACE = DiNTSSpace(num_blocks=3, num_depths=3, channel_mul=0.125)


def test_descriptors() -> None:
    rng = np.random.default_rng(0)
    archs = [SPACE.sample(rng) for _ in range(50)]
    names = structure_names(SPACE.lattice, SPACE.num_blocks, SPACE.operations)
    values_NF = SPACE.descriptors(archs)
    assert values_NF.shape == (len(archs), len(names))
    assert len(set(names)) == len(names)
    assert len({tuple(row) for row in values_NF.tolist()}) > 45
    edges = list(zip(SPACE.lattice.sources_E.tolist(), SPACE.lattice.targets_E.tolist(), strict=True))
    for arch, values_F in zip(archs, values_NF.tolist(), strict=True):
        row = dict(zip(names, values_F, strict=True))
        blocks = [
            {edges[e]: int(operation) for e, operation in enumerate(line) if operation >= 0}
            for line in SPACE.table(arch.genes)
        ]
        straight = [block.get((0, 0)) for block in blocks]
        full = None not in straight
        assert row["unbroken path at the finest level"] == full
        assert row["convolutions on that path"] == (sum(bool(operation) for operation in straight) if full else 0)
        assert row["finest level is written"] == any(target == 0 for _, target in blocks[-1])
        assert row["level 2 is read"] == any(source == 2 for source, _ in blocks[0])
        assert row["changes of resolution"] == sum(source != target for block in blocks for source, target in block)
        assert row["convolutions to level 1"] == sum(
            operation > 0 for block in blocks for (_, target), operation in block.items() if target == 1
        )
        assert row["edges with skip"] == sum(operation == 0 for block in blocks for operation in block.values())
        paths = sum(
            all(before[1] == after[0] for before, after in itertools.pairwise(path))
            for path in itertools.product(*blocks)
        )
        assert row["logarithm of the number of paths"] == np.log(paths)
