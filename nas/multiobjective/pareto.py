"""Pareto dominance on a matrix of values, larger is better in every column."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

BLOCK = 256  # rows compared with a whole front at once: bounds the memory to BLOCK * N * M bytes


def front_mask(values_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: rows that no other row dominates (at least as large everywhere, larger somewhere).

    Equal rows do not dominate each other: all of them are kept. Shape (0, M) gives an empty mask. One or two columns
    take one sort; with more, the rows are compared with the front found so far, in blocks. Values are no NaN.
    """
    count, columns = values_NM.shape
    if count == 0 or columns == 0:
        return np.ones(count, dtype=bool)
    if columns == 1:
        return np.asarray(values_NM[:, 0] == values_NM.max())
    order_N = _falling(values_NM)
    kept = np.empty(count, dtype=bool)
    kept[order_N] = _sweep(values_NM[order_N]) if columns == 2 else _blockwise(values_NM[order_N])
    return kept


def front_ranks(values_NM: np.ndarray) -> np.ndarray:
    """(N,) int: 0 for the Pareto front, 1 for the front of what is left without it, and so on.

    Source: the non-dominated sort of NSGA-II (Deb et al., 2002, section III-A); two columns by binary search over the
    fronts (Jensen, 2003), O(N log N).
    """
    count, columns = values_NM.shape
    if columns == 1:
        return np.unique(-values_NM[:, 0], return_inverse=True)[1].astype(np.int64)
    if columns == 2:
        return _ranks_of_pairs(values_NM)
    rank_N = np.zeros(count, dtype=np.int64)
    left, rank = np.arange(count), 0
    while len(left):
        first = front_mask(values_NM[left])
        rank_N[left[first]] = rank
        left, rank = left[~first], rank + 1
    return rank_N


def _falling(values_NM: np.ndarray) -> np.ndarray:
    """Rows in falling lexicographic order: whatever dominates a row comes before it."""
    return np.lexsort(-values_NM.T[::-1])


def _sweep(sorted_N2: np.ndarray) -> np.ndarray:
    """Kept: the rows that lead their group of equal first values and beat the second value of all earlier groups."""
    first_N, second_N = sorted_N2.T
    start_N = np.searchsorted(-first_N, -first_N, side="left")  # where the row's group begins
    highest_N = np.concatenate([[-np.inf], np.maximum.accumulate(second_N)])
    beaten_N = (highest_N[start_N] >= second_N) & (start_N > 0)
    return np.asarray(~beaten_N & (second_N == second_N[start_N]))


def _blockwise(sorted_NM: np.ndarray) -> np.ndarray:
    """Dominance is transitive: a row that is dominated is dominated by a row of the front, which comes before it."""
    kept = np.zeros(len(sorted_NM), dtype=bool)
    front_FM = sorted_NM[:0]
    for start in range(0, len(sorted_NM), BLOCK):
        rows_BM = sorted_NM[start : start + BLOCK]
        alive = np.flatnonzero(~_dominated(rows_BM, front_FM))
        alive = alive[~_dominated(rows_BM[alive], rows_BM[alive])]
        kept[start + alive] = True
        front_FM = np.concatenate([front_FM, rows_BM[alive]])
    return kept


def _dominated(rows_BM: np.ndarray, by_FM: np.ndarray) -> np.ndarray:
    """(B,) bool: rows that some row of the second matrix dominates."""
    at_least_FB = np.ones((len(by_FM), len(rows_BM)), dtype=bool)
    larger_FB = np.zeros((len(by_FM), len(rows_BM)), dtype=bool)
    for row_B, by_F in zip(rows_BM.T, by_FM.T, strict=True):
        at_least_FB &= by_F[:, None] >= row_B
        larger_FB |= by_F[:, None] > row_B
    return np.asarray((at_least_FB & larger_FB).any(axis=0))


def _ranks_of_pairs(values_N2: np.ndarray) -> np.ndarray:
    """In falling order a row belongs to the first front whose largest second value so far lies below its own."""
    order_N = _falling(values_N2)
    rank_N = np.zeros(len(values_N2), dtype=np.int64)
    heights: list[float] = []  # minus the largest second value of each front: never falls from front to front
    previous: tuple[float, float] | None = None
    rank = 0
    for row, (first, second) in zip(order_N.tolist(), values_N2[order_N].tolist(), strict=True):
        if (first, second) != previous:  # an equal row shares the front of its twin
            # fronts with height <= -second hold a row that is at least as large: skip them
            rank = bisect_right(heights, -second)
            heights[rank : rank + 1] = [-second]
        rank_N[row] = rank
        previous = (first, second)
    return rank_N
