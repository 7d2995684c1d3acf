"""Pareto dominance on a matrix of values; larger is better in every column."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

BLOCK = 256  # rows compared with the whole front at a time; bounds the memory to BLOCK * N * M bytes


def front_mask(values_NM: np.ndarray) -> np.ndarray:
    """Mark the rows that no other row dominates (at least as large everywhere, larger somewhere).

    Equal rows do not dominate each other. One or two columns take one sort; with more, blocks of rows are compared
    with the current front.

    Args:
        values_NM: (N, M) values without NaN; N may be 0.

    Returns:
        (N,) bool, True for rows of the Pareto front.
    """
    count, columns = values_NM.shape
    if count == 0 or columns == 0:
        return np.ones(count, dtype=bool)
    if columns == 1:
        return np.asarray(values_NM[:, 0] == values_NM.max())
    order_N = _descending(values_NM)
    mask_N = np.empty(count, dtype=bool)
    mask_N[order_N] = _sweep(values_NM[order_N]) if columns == 2 else _blockwise(values_NM[order_N])
    return mask_N


def front_ranks(values_NM: np.ndarray) -> np.ndarray:
    """Sort rows into successive Pareto fronts.

    Source: the non-dominated sort of NSGA-II (Deb et al., IEEE Trans. Evol. Comp. 6(2), 2002, section III-A); two
    columns by binary search over the fronts in O(N log N) (Jensen, IEEE Trans. Evol. Comp. 7(5), 2003).

    Args:
        values_NM: (N, M) values without NaN.

    Returns:
        (N,) int, 0 for the Pareto front, 1 for the front of the remaining rows, and so on.
    """
    count, columns = values_NM.shape
    if columns == 1:
        return np.unique(-values_NM[:, 0], return_inverse=True)[1].astype(np.int64)
    if columns == 2:
        return _ranks_of_pairs(values_NM)
    rank_N = np.zeros(count, dtype=np.int64)
    remaining, rank = np.arange(count), 0
    while len(remaining):
        front = front_mask(values_NM[remaining])
        rank_N[remaining[front]] = rank
        remaining, rank = remaining[~front], rank + 1
    return rank_N


def _descending(values_NM: np.ndarray) -> np.ndarray:
    """Row indices in descending lexicographic order: a dominating row comes before the dominated one."""
    return np.lexsort(-values_NM.T[::-1])


def _sweep(sorted_N2: np.ndarray) -> np.ndarray:
    """Mark rows with the best second value of their first value, if it exceeds those of all larger first values."""
    first_N, second_N = sorted_N2.T
    start_N = np.searchsorted(-first_N, -first_N, side="left")  # first row of the group
    highest_N = np.concatenate([[-np.inf], np.maximum.accumulate(second_N)])
    beaten_N = (highest_N[start_N] >= second_N) & (start_N > 0)
    return np.asarray(~beaten_N & (second_N == second_N[start_N]))


def _blockwise(sorted_NM: np.ndarray) -> np.ndarray:
    """Compare each block with the front before it; as dominance is transitive, no other rows are needed."""
    mask_N = np.zeros(len(sorted_NM), dtype=bool)
    front_FM = sorted_NM[:0]
    for start in range(0, len(sorted_NM), BLOCK):
        rows_BM = sorted_NM[start : start + BLOCK]
        survivors = np.flatnonzero(~_dominated(rows_BM, front_FM))
        survivors = survivors[~_dominated(rows_BM[survivors], rows_BM[survivors])]
        mask_N[start + survivors] = True
        front_FM = np.concatenate([front_FM, rows_BM[survivors]])
    return mask_N


def _dominated(rows_BM: np.ndarray, by_FM: np.ndarray) -> np.ndarray:
    """Mark the rows (B,) that some row of the second matrix dominates."""
    at_least_FB = np.ones((len(by_FM), len(rows_BM)), dtype=bool)
    larger_FB = np.zeros((len(by_FM), len(rows_BM)), dtype=bool)
    for row_B, by_F in zip(rows_BM.T, by_FM.T, strict=True):
        at_least_FB &= by_F[:, None] >= row_B
        larger_FB |= by_F[:, None] > row_B
    return np.asarray((at_least_FB & larger_FB).any(axis=0))


def _ranks_of_pairs(values_N2: np.ndarray) -> np.ndarray:
    """Assign each row, in descending order, to the first front with a largest second value below its own."""
    order_N = _descending(values_N2)
    rank_N = np.zeros(len(values_N2), dtype=np.int64)
    heights: list[float] = []  # minus the largest second value of each front, in ascending order
    previous: tuple[float, float] | None = None
    rank = 0
    for row, (first, second) in zip(order_N.tolist(), values_N2[order_N].tolist(), strict=True):
        if (first, second) != previous:  # equal rows share a front
            # fronts with height <= -second hold a row that dominates this one
            rank = bisect_right(heights, -second)
            heights[rank : rank + 1] = [-second]
        rank_N[row] = rank
        previous = (first, second)
    return rank_N
