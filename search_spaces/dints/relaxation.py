"""The parameters that the probabilities of topologies and operations follow from.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.2. The set a of a block's edges, not empty, has a probability
in proportion to exp(sum of alpha over a): independent edges of probability sigmoid(alpha), given that not all are off.
An edge's operation has the probability softmax(alpha). Axes as in `topology`; K: operations.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from search_spaces.dints.marginals import Marginals
from search_spaces.dints.topology import Lattice

MONAI_FLOOR = 1e-5  # what MONAI adds to each probability before it takes the logarithm


class Relaxation(nn.Module):
    """Parameters: alpha_edges_BE around 0, alpha_operations_BEK around 1, both with deviation 0.01.

    Tables, Q for (X, D, F) in one axis: subsets_EQ, 1 where a set holds an edge; absent_XDF, log 0 where a level at the
    border has fewer sets, else 0; levels_DS, 1 where a state holds a level; same_SS, log 0 on the diagonal, else 0.
    """

    subsets_EQ: torch.Tensor
    absent_XDF: torch.Tensor
    levels_DS: torch.Tensor
    same_SS: torch.Tensor

    def __init__(self, lattice: Lattice, blocks: int, operations: int) -> None:
        super().__init__()
        self.alpha_edges_BE = nn.Parameter(0.01 * torch.randn(blocks, lattice.edges))
        self.alpha_operations_BEK = nn.Parameter(1 + 0.01 * torch.randn(blocks, lattice.edges, operations))
        subsets_XDFE, absent_XDF = _edge_subsets(lattice)
        never = torch.finfo(torch.float32).min / 2  # stands for log 0: its exponential is 0, times 0 it is 0
        tables = {
            "subsets_EQ": torch.from_numpy(subsets_XDFE.reshape(-1, lattice.edges).T.astype(np.float32)).contiguous(),
            "absent_XDF": never * torch.from_numpy(absent_XDF.astype(np.float32)),
            "levels_DS": torch.from_numpy(lattice.levels_SD.T.astype(np.float32)).contiguous(),
            "same_SS": never * torch.eye(lattice.states),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.to(self.alpha_edges_BE.device), persistent=False)

    def marginals(self) -> Marginals:
        """What the present parameters say, with gradients."""
        return Marginals(self)


def _edge_subsets(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The non-empty sets of the edges that read (first axis 0) or write (1) each level: (2, D, 7, E), and which of the
    seven are absent, as a level at the border has two edges (2, D, 7)."""
    subsets_XDFE = np.zeros((2, lattice.depths, 7, lattice.edges), dtype=bool)
    absent_XDF = np.ones((2, lattice.depths, 7), dtype=bool)
    for x, levels_E in enumerate((lattice.sources_E, lattice.targets_E)):
        for level in range(lattice.depths):
            edges = np.flatnonzero(levels_E == level)
            choices = [c for n in range(1, len(edges) + 1) for c in itertools.combinations(edges, n)]
            for number, chosen in enumerate(choices):
                subsets_XDFE[x, level, number, list(chosen)] = True
                absent_XDF[x, level, number] = False
    return subsets_XDFE, absent_XDF
