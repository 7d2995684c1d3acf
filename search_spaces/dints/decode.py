"""From probabilities to architectures: the best feasible one, the k best, and the best one within a hard budget.

The score of an architecture is the log-probability of its topology (the sum over blocks of the exact log-probability
of the block's set of edges), plus for each edge that is on how much less probable its operation is than the edge's
best one, as a log-ratio <= 0. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from search_spaces.dints.paths import best_path, best_paths
from search_spaces.dints.relaxation import MONAI_FLOOR
from search_spaces.dints.topology import Lattice

MONAI_ARC = 0.001  # what MONAI adds to the cost of every arc, and takes as that of the last one


@dataclass(frozen=True)
class Scores:
    """patterns_BN: log-probability of every set of edges. operations_BEK: log-ratio to the edge's best operation."""

    lattice: Lattice
    patterns_BN: np.ndarray
    operations_BEK: np.ndarray

    @classmethod
    def of(cls, lattice: Lattice, alpha_edges_BE: np.ndarray, alpha_operations_BEK: np.ndarray) -> Scores:
        """From the parameters of the architecture, in float64; finite for any finite ones."""
        sums_BN = alpha_edges_BE.astype(np.float64) @ lattice.patterns_NE.T
        largest_B1 = sums_BN.max(axis=1, keepdims=True)
        total_B1 = largest_B1 + np.log(np.exp(sums_BN - largest_B1).sum(axis=1, keepdims=True))
        alpha_BEK = alpha_operations_BEK.astype(np.float64)
        return cls(lattice, sums_BN - total_B1, alpha_BEK - alpha_BEK.max(axis=2, keepdims=True))

    def best_operations(self, rows_B: np.ndarray) -> np.ndarray:
        """Patterns (B,) -> the most probable operation of each edge (B, E), -1 for an edge that is off."""
        return np.where(self.lattice.patterns_NE[rows_B], self.operations_BEK.argmax(axis=2), -1)

    def of_table(self, operations_BE: np.ndarray) -> float:
        """The score of one architecture."""
        on_BE = operations_BE >= 0
        rows_B = self.lattice.number_of(on_BE)
        ratios_BE = np.take_along_axis(self.operations_BEK, np.maximum(operations_BE, 0)[..., None], axis=2)[..., 0]
        return float(self.patterns_BN[np.arange(len(rows_B)), rows_B].sum() + ratios_BE[on_BE].sum())


def k_best(scores: Scores, k: int) -> list[tuple[np.ndarray, float]]:
    """The k feasible architectures with the best scores: (B, E) operations and score, best first; fewer where there are
    fewer."""
    if k == 1:
        rows_B, score = best_path(scores.lattice, scores.patterns_BN)
        return [(scores.best_operations(rows_B), score)]
    found = []
    # each of the k best has one of the k best topologies, which with its best operations is at least as good
    topologies = best_paths(scores.lattice, scores.patterns_BN, k)
    least = topologies[-1][1] if len(topologies) == k else -np.inf
    for rows_B, score in topologies:
        tables_MBE, lost_M = _operations(scores, rows_B, k, score - least)
        found += [(table_BE, score - float(lost)) for table_BE, lost in zip(tables_MBE, lost_M, strict=True)]
    return sorted(found, key=lambda one: -one[1])[:k]


def _operations(scores: Scores, rows_B: np.ndarray, k: int, slack: float) -> tuple[np.ndarray, np.ndarray]:
    """The k choices of operations on a topology that lose least, and at most `slack`: (M, B, E), and the loss (M,)."""
    tables_MBE, lost_M = scores.best_operations(rows_B)[None], np.zeros(1)
    for b, e in np.argwhere(tables_MBE[0] >= 0):
        total_MK = lost_M[:, None] - scores.operations_BEK[b, e]
        rows, operations = np.nonzero(total_MK <= slack)
        kept = np.argsort(total_MK[rows, operations], kind="stable")[:k]
        rows, operations = rows[kept], operations[kept]
        tables_MBE, lost_M = tables_MBE[rows], total_MK[rows, operations]
        tables_MBE[:, b, e] = operations
    return tables_MBE, lost_M


def monai_arc_costs(lattice: Lattice, alpha_edges_BE: np.ndarray) -> np.ndarray:
    """(B, N) float64: -log(p + 1e-5) + 0.001 in float32, as MONAI's decode has it.

    The floor makes all improbable patterns alike, so that with sharp probabilities the path is not the most probable
    one; and p itself is 0 / 0 where all edges of a block are very improbable.
    """
    on_BE = torch.from_numpy(alpha_edges_BE.astype(np.float32)).sigmoid()[:, None]
    patterns_NE = torch.from_numpy(lattice.patterns_NE)
    p_BN = torch.where(patterns_NE, on_BE, 1 - on_BE).prod(dim=2) / (1 - (1 - on_BE).prod(dim=2))
    return (-np.log(p_BN.numpy() + MONAI_FLOOR) + MONAI_ARC).astype(np.float64)


def monai_decode(
    lattice: Lattice, alpha_edges_BE: np.ndarray, alpha_operations_BEK: np.ndarray
) -> tuple[np.ndarray, float]:
    """MONAI's shortest path: operations (B, E), -1 for off, and the path's cost."""
    rows_B, score = best_path(lattice, -monai_arc_costs(lattice, alpha_edges_BE))
    operations_BE = np.where(lattice.patterns_NE[rows_B], alpha_operations_BEK.argmax(axis=2), -1)
    return operations_BE, -score + MONAI_ARC
