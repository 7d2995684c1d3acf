"""Numbers that describe the structure of DiNTS networks, from which their quality can be predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search_spaces.dints.topology import Lattice


def structure_names(lattice: Lattice, blocks: int, operations: Sequence[str]) -> list[str]:
    """Return the names of the columns of `structure`.

    Args:
        lattice: Tables of a block.
        blocks: Number of blocks.
        operations: Operations of an edge, the skip first.

    Returns:
        F names.
    """
    levels, edges = range(lattice.depths), range(lattice.edges)
    return [
        "finest level is written",
        "unbroken path at the finest level",
        "convolutions on that path",
        "blocks with an edge at the finest level",
        "levels of the head",
        "logarithm of the number of paths",
        "changes of resolution",
        *(f"level {level} is read" for level in levels),
        *(f"level {level} is written" for level in levels),
        *(f"edges to level {level}" for level in levels),
        *(f"convolutions to level {level}" for level in levels),
        *(f"edges with {name}" for name in operations),
        *(f"block {block + 1}, edge {edge}, on" for block in range(blocks) for edge in edges),
        *(f"block {block + 1}, edge {edge}, convolves" for block in range(blocks) for edge in edges),
    ]


def structure(lattice: Lattice, operations_NBE: np.ndarray, count: int) -> np.ndarray:
    """Describe the structure of networks.

    Args:
        lattice: Tables of a block.
        operations_NBE: Operation of each edge of N networks, -1 for an edge that is off, 0 for the skip.
        count: Number of operations.

    Returns:
        (N, F) float64, with the columns that `structure_names` names.
    """
    on_NBE, convolves_NBE = operations_NBE >= 0, operations_NBE > 0
    straight = int(np.flatnonzero((lattice.sources_E == 0) & (lattice.targets_E == 0))[0])
    finest_NB = on_NBE[:, :, straight]
    full_N = np.asarray(finest_NB.all(axis=1))
    read_ND = lattice.levels_SD[lattice.state_of(on_NBE[:, 0], lattice.sources_E)]
    written_ND = lattice.levels_SD[lattice.state_of(on_NBE[:, -1], lattice.targets_E)]
    to_level_ED = lattice.targets_E[:, None] == np.arange(lattice.depths)
    changes_E = lattice.sources_E != lattice.targets_E
    columns = [
        written_ND[:, :1],
        full_N[:, None],
        (convolves_NBE[:, :, straight].sum(axis=1) * full_N)[:, None],
        finest_NB.sum(axis=1)[:, None],
        np.logical_or.accumulate(written_ND[:, ::-1], axis=1).sum(axis=1)[:, None],
        np.log(_paths(lattice, on_NBE))[:, None],
        on_NBE[:, :, changes_E].sum(axis=(1, 2))[:, None],
        read_ND,
        written_ND,
        on_NBE.sum(axis=1) @ to_level_ED,
        convolves_NBE.sum(axis=1) @ to_level_ED,
        np.stack([(operations_NBE == number).sum(axis=(1, 2)) for number in range(count)], axis=1),
        on_NBE.reshape(len(on_NBE), -1),
        convolves_NBE.reshape(len(on_NBE), -1),
    ]
    return np.concatenate([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _paths(lattice: Lattice, on_NBE: np.ndarray) -> np.ndarray:
    """Count the paths from the image to the head, (N,)."""
    ways_ND = np.ones((len(on_NBE), lattice.depths))
    for block in range(on_NBE.shape[1]):
        after_ND = np.zeros_like(ways_ND)
        for edge, (source, target) in enumerate(zip(lattice.sources_E, lattice.targets_E, strict=True)):
            after_ND[:, target] += ways_ND[:, source] * on_NBE[:, block, edge]
        ways_ND = after_ND
    return ways_ND.sum(axis=1)
