"""The best feasible sequence of patterns, and the k best, by dynamic programming over the states between blocks.

A block depends on the previous ones only through the levels in use, so that 2^D - 1 states suffice for the
(2^(3D-2) - 1)^B sequences: the algorithm of Viterbi, IEEE Trans. Inf. Theory 13(2), 1967. Axes as in `topology`.
"""

from __future__ import annotations

import numpy as np

from search_spaces.dints.topology import Lattice


def best_path(lattice: Lattice, score_BN: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the feasible sequence of patterns with the largest sum of scores.

    Args:
        lattice: Tables of a block.
        score_BN: Score of each pattern in each block.

    Returns:
        Rows (B,) of `patterns_NE`, of equal sequences the one with the lowest numbers, and the sum.
    """
    best_BSS = best_between(lattice, score_BN)
    value_S = np.zeros(lattice.states)
    came_from = []
    for best_SS in best_BSS:
        reached_SS = best_SS + value_S[:, None]
        came_from.append(reached_SS.argmax(axis=0))
        value_S = reached_SS.max(axis=0)
    state = int(value_S.argmax())
    total = float(value_S[state])
    order_N, starts_P, pairs_P = lattice.by_pair
    rows = []
    for score_N, from_S in zip(score_BN[::-1], came_from[::-1], strict=True):
        before = int(from_S[state])
        pair = int(np.searchsorted(pairs_P, before * lattice.states + state))
        end = starts_P[pair + 1] if pair + 1 < len(starts_P) else len(order_N)
        members = order_N[starts_P[pair] : end]
        rows.append(int(members[score_N[members].argmax()]))
        state = before
    return np.array(rows[::-1]), total


def best_between(lattice: Lattice, score_BN: np.ndarray) -> np.ndarray:
    """Compute the best score of a pattern between each pair of states.

    Args:
        lattice: Tables of a block.
        score_BN: Score of each pattern in each block.

    Returns:
        Scores (B, S, S) from a state (second axis) to a state (last axis); -inf if no pattern joins them.
    """
    order_N, starts_P, pairs_P = lattice.by_pair
    best_BSS = np.full((len(score_BN), lattice.states**2), -np.inf)
    best_BSS[:, pairs_P] = np.maximum.reduceat(score_BN[:, order_N], starts_P, axis=1)
    return best_BSS.reshape(-1, lattice.states, lattice.states)


def best_paths(lattice: Lattice, score_BN: np.ndarray, k: int) -> list[tuple[np.ndarray, float]]:
    """Find the k feasible sequences of patterns with the largest sums of scores.

    Args:
        lattice: Tables of a block.
        score_BN: Score of each pattern in each block.
        k: Number of sequences, >= 1.

    Returns:
        Pairs of rows (B,) of `patterns_NE` and sum, best first; all sequences if there are fewer than k.
    """
    groups = [np.flatnonzero(lattice.left_N == state) for state in range(lattice.states)]
    value_SK = np.full((lattice.states, k), -np.inf)
    value_SK[:, 0] = 0.0
    history = []  # per block, for each state and rank: the pattern, and the rank of the path before it
    for score_N in score_BN:
        next_SK = np.full((lattice.states, k), -np.inf)
        pattern_SK, rank_SK = np.zeros((2, lattice.states, k), dtype=np.int64)
        for state, rows in enumerate(groups):
            values = (score_N[rows, None] + value_SK[lattice.entered_N[rows]]).ravel()
            top = np.argsort(-values, kind="stable")[:k]
            next_SK[state, : len(top)] = values[top]
            pattern_SK[state, : len(top)], rank_SK[state, : len(top)] = rows[top // k], top % k
        history.append((pattern_SK, rank_SK))
        value_SK = next_SK
    sequences = []
    for flat in np.argsort(-value_SK.ravel(), kind="stable")[:k]:
        state, rank = divmod(int(flat), k)
        total = float(value_SK[state, rank])
        if total == -np.inf:
            break
        path = []
        for pattern_SK, rank_SK in reversed(history):
            pattern, rank = int(pattern_SK[state, rank]), int(rank_SK[state, rank])
            path.append(pattern)
            state = int(lattice.entered_N[pattern])
        sequences.append((np.array(path[::-1]), total))
    return sequences


def nearest(lattice: Lattice, on_BE: np.ndarray, weight_BE: np.ndarray | None = None) -> np.ndarray:
    """Find the feasible topology that differs from `on_BE` in the fewest edges.

    Args:
        lattice: Tables of a block.
        on_BE: Active edges, not necessarily feasible.
        weight_BE: Weight of a change of each edge, > 0; 1 if None.

    Returns:
        Active edges (B, E) of a feasible topology.
    """
    weight_BE = np.ones(on_BE.shape) if weight_BE is None else weight_BE
    # relative to the set without edges: the weight that each edge of a pattern saves or adds
    gain_BE = np.where(on_BE, weight_BE, -weight_BE)
    score_BN = gain_BE @ lattice.patterns_NE.T.astype(np.float64)
    rows_B, _ = best_path(lattice, score_BN)
    return lattice.patterns_NE[rows_B]
