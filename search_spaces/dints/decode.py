"""From probabilities to architectures: the best feasible one and the k best.

The score of an architecture is the log-probability of its topology (the sum over blocks of the exact log-probability
of the block's set of edges), plus for each edge that is on how much less probable its operation is than the edge's
best one, as a log-ratio <= 0. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search_spaces.dints.paths import best_path, best_paths
from search_spaces.dints.topology import Lattice


@dataclass(frozen=True)
class Scores:
    """Scores of the choices that an architecture consists of.

    Attributes:
        lattice: Tables of a block.
        patterns_BN: Log-probability of every set of edges.
        operations_BEK: Log-ratio of each operation to the edge's best one, <= 0.
    """

    lattice: Lattice
    patterns_BN: np.ndarray
    operations_BEK: np.ndarray

    @classmethod
    def of(cls, lattice: Lattice, alpha_edges_BE: np.ndarray, alpha_operations_BEK: np.ndarray) -> Scores:
        """Compute the scores from the architecture parameters, in float64; finite for all finite parameters.

        Args:
            lattice: Tables of a block.
            alpha_edges_BE: Logits of edges.
            alpha_operations_BEK: Logits of operations.

        Returns:
            Scores.
        """
        sums_BN = alpha_edges_BE.astype(np.float64) @ lattice.patterns_NE.T
        largest_B1 = sums_BN.max(axis=1, keepdims=True)
        total_B1 = largest_B1 + np.log(np.exp(sums_BN - largest_B1).sum(axis=1, keepdims=True))
        alpha_BEK = alpha_operations_BEK.astype(np.float64)
        return cls(lattice, sums_BN - total_B1, alpha_BEK - alpha_BEK.max(axis=2, keepdims=True))

    def best_operations(self, rows_B: np.ndarray) -> np.ndarray:
        """Choose the most probable operation of each edge.

        Args:
            rows_B: Pattern of each block, as rows of `patterns_NE`.

        Returns:
            Operations (B, E), -1 for an edge that is off.
        """
        return np.where(self.lattice.patterns_NE[rows_B], self.operations_BEK.argmax(axis=2), -1)

    def of_table(self, operations_BE: np.ndarray) -> float:
        """Compute the score of an architecture.

        Args:
            operations_BE: Operation of each edge, -1 for off.

        Returns:
            Score, a log-probability plus log-ratios.
        """
        on_BE = operations_BE >= 0
        rows_B = self.lattice.number_of(on_BE)
        ratios_BE = np.take_along_axis(self.operations_BEK, np.maximum(operations_BE, 0)[..., None], axis=2)[..., 0]
        return float(self.patterns_BN[np.arange(len(rows_B)), rows_B].sum() + ratios_BE[on_BE].sum())


def k_best(scores: Scores, k: int) -> list[tuple[np.ndarray, float]]:
    """Find the k feasible architectures with the best scores.

    Args:
        scores: Scores of all architectures.
        k: Number of architectures, >= 1.

    Returns:
        Pairs of operations (B, E), -1 for off, and score, best first; all architectures if there are fewer than k.
    """
    if k == 1:
        rows_B, score = best_path(scores.lattice, scores.patterns_BN)
        return [(scores.best_operations(rows_B), score)]
    candidates = []
    # each of the k best has one of the k best topologies, which with its best operations is at least as good
    topologies = best_paths(scores.lattice, scores.patterns_BN, k)
    least = topologies[-1][1] if len(topologies) == k else -np.inf
    for rows_B, score in topologies:
        tables_MBE, lost_M = _operations(scores, rows_B, k, score - least)
        candidates += [(table_BE, score - float(lost)) for table_BE, lost in zip(tables_MBE, lost_M, strict=True)]
    return sorted(candidates, key=lambda pair: -pair[1])[:k]


def _operations(scores: Scores, rows_B: np.ndarray, k: int, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the k choices of operations on a topology that lose least, and at most `slack`.

    They are (M, B, E), with the loss (M,).
    """
    tables_MBE, lost_M = scores.best_operations(rows_B)[None], np.zeros(1)
    for b, e in np.argwhere(tables_MBE[0] >= 0):
        total_MK = lost_M[:, None] - scores.operations_BEK[b, e]
        rows, operations = np.nonzero(total_MK <= slack)
        best = np.argsort(total_MK[rows, operations], kind="stable")[:k]
        rows, operations = rows[best], operations[best]
        tables_MBE, lost_M = tables_MBE[rows], total_MK[rows, operations]
        tables_MBE[:, b, e] = operations
    return tables_MBE, lost_M
