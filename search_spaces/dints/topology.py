"""Which edges of a lattice of feature maps are switched on, and which such patterns fit together.

Source: He et al., DiNTS, CVPR 2021 (arXiv 2103.15954): blocks in a row, feature maps at `depths` resolutions between
them. An edge joins a map to a map of the next row at the same or a neighbouring level.

Axes in names: B blocks, E edges of a block, N patterns (non-empty sets of edges), D levels, S states (non-empty sets of
levels; state s holds level d if bit d of s + 1 is set).
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np

from nas.errors import NASError

MAX_DEPTHS = 6  # the tables grow with 2 ** (3 * depths - 2)


class Lattice:
    """Tables of one block; level 0 has the finest resolution.

    Two patterns fit together if the second reads exactly the levels that the first wrote.

    Args:
        depths: Number of levels, 1 to 6.

    Attributes:
        sources_E: Level that an edge reads; edges are sorted by target, then by source.
        targets_E: Level that an edge writes.
        patterns_NE: Every non-empty set of edges, in the order of a binary count whose first digit is edge 0.
        entered_N: State of the levels that a pattern reads.
        left_N: State of the levels that a pattern writes.
        by_pair: Patterns sorted by (state entered, state left): their order (N,), the start of each pair in it (P,),
            and the pairs as entered * S + left (P,).
        levels_SD: Levels of each state, bool.

    Raises:
        NASError: If the number of levels is out of range.
    """

    def __init__(self, depths: int) -> None:
        if not 1 <= depths <= MAX_DEPTHS:
            raise NASError(
                f"space.num_depths={depths}", f"1 to {MAX_DEPTHS}", f"set space.num_depths to 1 to {MAX_DEPTHS}"
            )
        self.depths = depths
        pairs = [(source, target) for target in range(depths) for source in (target - 1, target, target + 1)]
        pairs = [(source, target) for source, target in pairs if 0 <= source < depths]
        self.sources_E = np.array([source for source, _ in pairs])
        self.targets_E = np.array([target for _, target in pairs])
        self.edges, self.states = len(pairs), 2**depths - 1
        numbers_N = np.arange(1, 2**self.edges)
        self.patterns_NE = (numbers_N[:, None] >> np.arange(self.edges)[::-1] & 1).astype(bool)
        self.entered_N = self.state_of(self.patterns_NE, self.sources_E)
        self.left_N = self.state_of(self.patterns_NE, self.targets_E)
        keys_N = self.entered_N * self.states + self.left_N
        order_N = np.argsort(keys_N, kind="stable")
        pairs_P, starts_P = np.unique(keys_N[order_N], return_index=True)
        self.by_pair = order_N, starts_P, pairs_P
        self.levels_SD = (np.arange(1, self.states + 1)[:, None] >> np.arange(depths) & 1).astype(bool)

    def state_of(self, on_XE: np.ndarray, levels_E: np.ndarray) -> np.ndarray:
        """Compute the states of the levels that edges touch.

        Args:
            on_XE: Active edges.
            levels_E: Level that each edge touches, `sources_E` or `targets_E`.

        Returns:
            States (X,); -1 for the empty set.
        """
        touched = [on_XE[:, levels_E == level].any(axis=1).astype(np.int64) << level for level in range(self.depths)]
        return np.sum(touched, axis=0) - 1

    def number_of(self, on_XE: np.ndarray) -> np.ndarray:
        """Look up the numbers of patterns.

        Args:
            on_XE: Active edges.

        Returns:
            Rows (X,) of `patterns_NE`; -1 for the empty set.
        """
        return on_XE.astype(np.int64) @ (1 << np.arange(self.edges)[::-1]) - 1

    @cached_property
    def counts_SS(self) -> np.ndarray:
        """Number of patterns from a state to a state, as exact integers (dtype object)."""
        return self.weighted_counts(1)

    def weighted_counts(self, operations: int) -> np.ndarray:
        """Count the patterns from a state to a state if each edge has one of several operations.

        Args:
            operations: Number of operations, >= 1.

        Returns:
            Counts (S, S), exact integers (dtype object).
        """
        counts_SS = np.zeros((self.states, self.states), dtype=object)
        weights_N = np.array([operations ** int(size) for size in self.patterns_NE.sum(axis=1)], dtype=object)
        np.add.at(counts_SS, (self.entered_N, self.left_N), weights_N)
        return counts_SS

    def topologies(self, blocks: int, operations: int = 1) -> int:
        """Count the feasible sequences of patterns.

        Args:
            blocks: Length of a sequence, >= 1.
            operations: Number of operations of each edge, >= 1.

        Returns:
            Exact count.
        """
        return int(sum(_continuations(self.weighted_counts(operations), blocks)[0]))

    def every_topology(self, blocks: int) -> np.ndarray:
        """List all feasible sequences of patterns; for small lattices only.

        Args:
            blocks: Length B of a sequence, >= 1.

        Returns:
            Rows (T, B) of `patterns_NE`.
        """
        rows_TB = np.arange(len(self.patterns_NE))[:, None]
        for _ in range(blocks - 1):
            following = [np.flatnonzero(self.entered_N == self.left_N[rows[-1]]) for rows in rows_TB]
            repeats = [len(rows) for rows in following]
            rows_TB = np.column_stack([np.repeat(rows_TB, repeats, axis=0), np.concatenate(following)])
        return rows_TB

    def is_feasible(self, on_BE: np.ndarray) -> bool:
        """Return whether no block is empty and each reads exactly the levels that the previous one wrote.

        Args:
            on_BE: Active edges.

        Returns:
            True for a feasible topology.
        """
        number_B = self.number_of(on_BE)
        return bool((number_B >= 0).all() and (self.entered_N[number_B[1:]] == self.left_N[number_B[:-1]]).all())

    def sample(self, blocks: int, rng: np.random.Generator) -> np.ndarray:
        """Draw a feasible topology uniformly, to the precision of float64.

        Args:
            blocks: Number of blocks, >= 1.
            rng: Source of randomness.

        Returns:
            Active edges (B, E).
        """
        order_N, starts_P, pairs_P = self.by_pair
        first_S, of_states = self._transitions(blocks)
        chosen, state = [], int(rng.choice(self.states, p=first_S))
        for block in range(blocks):
            after = int(rng.choice(self.states, p=of_states[block][state]))
            pair = int(np.searchsorted(pairs_P, state * self.states + after))
            chosen.append(order_N[starts_P[pair] + int(rng.integers(self.counts_SS[state, after]))])
            state = after
        return self.patterns_NE[chosen]

    @lru_cache(maxsize=8)  # noqa: B019 - a lattice lives as long as the process, see `lattice`
    def _transitions(self, blocks: int) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """Compute the probabilities of the first state, and for each block those of the next state after a state."""
        ways = _continuations(self.counts_SS, blocks)
        of_states = [[_shares(count_S * ways[block + 1]) for count_S in self.counts_SS] for block in range(blocks)]
        return _shares(ways[0]), of_states


@lru_cache(maxsize=MAX_DEPTHS)
def lattice(depths: int) -> Lattice:
    """Return the tables for a number of levels, computed once per process.

    Args:
        depths: Number of levels, 1 to 6.

    Returns:
        The shared tables.

    Raises:
        NASError: If the number of levels is out of range.
    """
    return Lattice(depths)


def _continuations(counts_SS: np.ndarray, blocks: int) -> np.ndarray:
    """Count the ways in which the blocks from b on continue after a state: (blocks + 1, S), exact integers."""
    ways = [np.full(len(counts_SS), 1, dtype=object)]
    for _ in range(blocks):
        ways.append(counts_SS @ ways[-1])
    return np.stack(ways[::-1])


def _shares(ways_S: np.ndarray) -> np.ndarray:
    """Normalise exact counts to probabilities."""
    total = ways_S.sum()
    shares_S = np.array([float(ways / total) for ways in ways_S])
    return shares_S / shares_S.sum()
