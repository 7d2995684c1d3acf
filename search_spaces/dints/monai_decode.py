"""MONAI's decoding of a topology, to compare with: the shortest path over floored probabilities.

Source: `TopologySearch.decode` of MONAI 1.6 (`monai.networks.nets.dints`). Axes as in `topology`; K: operations.
"""

from __future__ import annotations

import numpy as np
import torch

from search_spaces.dints.paths import best_path
from search_spaces.dints.topology import Lattice

MONAI_FLOOR = 1e-5  # added to each probability before the logarithm
MONAI_ARC = 0.001  # added to the cost of every arc, and the cost of the last one


def monai_arc_costs(lattice: Lattice, alpha_edges_BE: np.ndarray) -> np.ndarray:
    """Compute MONAI's costs of arcs, -log(p + 1e-5) + 0.001 in float32.

    The floor makes all improbable patterns alike, so that with sharp probabilities the path is not the most probable
    one; and p itself is 0 / 0 if all edges of a block are very improbable.

    Args:
        lattice: Tables of a block.
        alpha_edges_BE: Logits of edges.

    Returns:
        Costs (B, N), float64.
    """
    on_BE = torch.from_numpy(alpha_edges_BE.astype(np.float32)).sigmoid()[:, None]
    patterns_NE = torch.from_numpy(lattice.patterns_NE)
    p_BN = torch.where(patterns_NE, on_BE, 1 - on_BE).prod(dim=2) / (1 - (1 - on_BE).prod(dim=2))
    return (-np.log(p_BN.numpy() + MONAI_FLOOR) + MONAI_ARC).astype(np.float64)


def monai_decode(
    lattice: Lattice, alpha_edges_BE: np.ndarray, alpha_operations_BEK: np.ndarray
) -> tuple[np.ndarray, float]:
    """Find MONAI's shortest path.

    Args:
        lattice: Tables of a block.
        alpha_edges_BE: Logits of edges.
        alpha_operations_BEK: Logits of operations.

    Returns:
        Operations (B, E), -1 for off, and the cost of the path.
    """
    rows_B, score = best_path(lattice, -monai_arc_costs(lattice, alpha_edges_BE))
    operations_BE = np.where(lattice.patterns_NE[rows_B], alpha_operations_BEK.argmax(axis=2), -1)
    return operations_BE, -score + MONAI_ARC
