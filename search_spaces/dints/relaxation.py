"""Probabilities of topologies and operations, and the regularisers and expected costs computed from them.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.2; entropies and topology loss in the form of MONAI 1.6. The
non-empty set a of a block's active edges has a probability proportional to exp(sum of alpha over a): independent edges
of probability sigmoid(alpha), given that at least one is on. An edge's operation has the probability softmax(alpha).

No table of all sets of edges is needed. Every edge reads one level and writes one, so that levels are used
independently of each other, given that at least one is used, and so are the sets of edges of each level. The
probability of a block's edges is that of the state that they read, times that of the set of edges at each level of it;
their entropy is the sum of the entropies of these. All values follow from log-probabilities, which are finite for any
finite alpha. Axes as in `topology`; K: operations; X: 0 for levels read, 1 for levels written; F: the non-empty sets of
a level's edges; Q: (X, D, F) flattened.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn

from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.topology import Lattice


class Relaxation(nn.Module):
    """Architecture parameters and the tables that their probabilities are computed with.

    Args:
        lattice: Tables of a block.
        blocks: Number of blocks.
        operations: Number of operations of an edge.

    Attributes:
        alpha_edges_BE: Logits of edges, initially normal with mean 0 and deviation 0.01.
        alpha_operations_BEK: Logits of operations, initially normal with mean 1 and deviation 0.01.
        subsets_EQ: 1 if a set holds an edge, else 0.
        absent_XDF: log 0 for the sets that a level at the border lacks, else 0.
        levels_DS: 1 if a state holds a level, else 0.
        same_SS: log 0 on the diagonal, else 0.
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
        never = torch.finfo(torch.float32).min / 2  # finite log 0: its exponential is 0, its product with 0 is 0
        tables = {
            "subsets_EQ": torch.from_numpy(subsets_XDFE.reshape(-1, lattice.edges).T.astype(np.float32)).contiguous(),
            "absent_XDF": never * torch.from_numpy(absent_XDF.astype(np.float32)),
            "levels_DS": torch.from_numpy(lattice.levels_SD.T.astype(np.float32)).contiguous(),
            "same_SS": never * torch.eye(lattice.states),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.to(self.alpha_edges_BE.device), persistent=False)

    def marginals(self) -> Marginals:
        """Return the probabilities of the current parameters, with gradients.

        Returns:
            The probabilities.
        """
        return Marginals(self)


def _edge_subsets(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-empty sets of the edges that read (first axis 0) or write (1) each level, (2, D, 7, E).

    The second result, (2, D, 7), marks absent sets, as a level at the border has two edges instead of three.
    """
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


class Marginals:
    """Probabilities of the current parameters of a relaxation; all results share one autograd graph.

    Args:
        relaxation: Parameters and tables.

    Attributes:
        log_read_BS: Log-probability of the state that a block reads.
        log_left_BS: Log-probability of the state that a block leaves.
        level_BD: Probability that a block reads a level.
        log_subset_BDF: Log-probability of the set of edges that read a level, given that it is read.
        log_operation_BEK: Log-probability of an operation, given that the edge is on.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation = relaxation
        absent_XDF, levels_DS = relaxation.absent_XDF, relaxation.levels_DS
        sums_BQ = torch.addmm(absent_XDF.flatten(), relaxation.alpha_edges_BE, relaxation.subsets_EQ)
        sums_BXDF = sums_BQ.view(-1, *absent_XDF.shape)
        odds_BXD = sums_BXDF.logsumexp(dim=3)
        self.log_read_BS, self.log_left_BS = (odds_BXD @ levels_DS).log_softmax(dim=2).unbind(dim=1)
        self.read_BS, self.left_BS = self.log_read_BS.exp(), self.log_left_BS.exp()
        self.level_BD = self.read_BS @ levels_DS.T
        self.log_subset_BDF = sums_BXDF.select(1, 0) - odds_BXD.select(1, 0).unsqueeze(2)
        self.subset_BDF = self.log_subset_BDF.exp()
        self.log_operation_BEK = relaxation.alpha_operations_BEK.log_softmax(dim=2)
        self.operation_BEK = self.log_operation_BEK.exp()

    def edge_probs(self) -> torch.Tensor:
        """Return the probability that an edge is on, given that at least one edge of the block is.

        Returns:
            Probabilities (B, E).
        """
        shares_BQ = (self.level_BD.unsqueeze(2) * self.subset_BDF).flatten(1)
        return shares_BQ @ self.relaxation.subsets_EQ[:, : shares_BQ.shape[1]].T

    def regularisers(self) -> dict[str, torch.Tensor]:
        """Return edge_entropy, operation_entropy and topology, scalars >= 0.

        Returns:
            Scalars >= 0 by name.
        """
        return {
            "edge_entropy": self.edge_entropy(),
            "operation_entropy": self.operation_entropy(),
            "topology": self.topology_loss(),
        }

    def edge_entropy(self) -> torch.Tensor:
        """Return the mean of -p log p over blocks and sets of edges.

        Returns:
            A scalar.
        """
        within_BD = (self.subset_BDF * self.log_subset_BDF).sum(dim=2)
        total = (self.read_BS * self.log_read_BS).sum() + (self.level_BD * within_BD).sum()
        blocks, edges = self.relaxation.alpha_edges_BE.shape
        return -total / (blocks * (2**edges - 1))

    def operation_entropy(self) -> torch.Tensor:
        """Return the mean of -p log p over edges and operations.

        Returns:
            A scalar.
        """
        return -(self.operation_BEK * self.log_operation_BEK).mean()

    def topology_loss(self, floor: float = 0.0) -> torch.Tensor:
        """Compute the cross entropy between the state that a block leaves and the one that the next block reads.

        Each of the S states is a binary variable; the sum runs over states and pairs of consecutive blocks.

        Args:
            floor: Added to each probability inside a logarithm; 1e-5 in MONAI.

        Returns:
            Loss, (), >= 0 without floor.
        """
        read_BS, left_BS = self.log_read_BS[1:], self.left_BS[:-1]
        others_BSS = read_BS.unsqueeze(1) + self.relaxation.same_SS
        yes, no = _floored(read_BS, floor), _floored(others_BSS.logsumexp(dim=2), floor)
        return -(no + left_BS * (yes - no)).sum()

    def expected_cost(self, costs: EdgeCosts) -> torch.Tensor:
        """Compute the mean cost of an architecture with independent blocks.

        Args:
            costs: Costs of edges, stems and head.

        Returns:
            Expected cost, (), in the unit of the costs.
        """
        edge_EK, start_S, end_S = costs.as_tensors(self.relaxation.alpha_edges_BE)
        edges = (self.edge_probs() * (self.operation_BEK * edge_EK).sum(dim=2)).sum()
        return edges + self.read_BS[0] @ start_S + self.left_BS[-1] @ end_S


def _floored(log_p: torch.Tensor, floor: float) -> torch.Tensor:
    """Compute log(p + floor)."""
    return torch.logaddexp(log_p, torch.full_like(log_p, math.log(floor))) if floor else log_p
