"""What the probabilities of a relaxation say about levels, edges and operations, and what they regularise and cost.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.2: entropies and the topology loss, in the form of MONAI 1.6.

No table of all sets of edges is needed. Every edge reads one level and writes one, so that levels are used
independently of each other, given that not none is, and so are the sets of edges of each level. The probability of a
block's edges is that of the state that they read, times that of the set of edges at each level of it; their entropy is
the sum of the entropies of these. All follows from log-probabilities, which are finite for any finite alpha. Axes as in
`topology`; K: operations; X: 0 for levels read, 1 for levels written; F: the non-empty sets of a level's edges.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from search_spaces.dints.costs import EdgeCosts

if TYPE_CHECKING:
    from search_spaces.dints.relaxation import Relaxation


class Marginals:
    """The present probabilities of `relaxation`: one graph of gradients for all that is taken from it.

    log_read_BS, log_left_BS: of the states that a block reads and leaves. level_BD: that a block reads a level.
    log_subset_BDF: of the edges that read a level, given that it is read. log_operation_BEK: given that the edge is on.
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
        """(B, E): that an edge is on, given that not all are off."""
        shares_BQ = (self.level_BD.unsqueeze(2) * self.subset_BDF).flatten(1)
        return shares_BQ @ self.relaxation.subsets_EQ[:, : shares_BQ.shape[1]].T

    def regularisers(self) -> dict[str, torch.Tensor]:
        return {
            "edge_entropy": self.edge_entropy(),
            "operation_entropy": self.operation_entropy(),
            "topology": self.topology_loss(),
        }

    def edge_entropy(self) -> torch.Tensor:
        """Mean over blocks and sets of edges of -p log p."""
        within_BD = (self.subset_BDF * self.log_subset_BDF).sum(dim=2)
        total = (self.read_BS * self.log_read_BS).sum() + (self.level_BD * within_BD).sum()
        blocks, edges = self.relaxation.alpha_edges_BE.shape
        return -total / (blocks * (2**edges - 1))

    def operation_entropy(self) -> torch.Tensor:
        """Mean over edges and operations of -p log p."""
        return -(self.operation_BEK * self.log_operation_BEK).mean()

    def topology_loss(self, floor: float = 0.0) -> torch.Tensor:
        """Cross entropy between the state that a block leaves and the state that the next one reads, each of the S
        states as a yes or no, summed over states and pairs of blocks. floor: added to each probability inside a
        logarithm; MONAI adds 1e-5."""
        read_BS, left_BS = self.log_read_BS[1:], self.left_BS[:-1]
        others_BSS = read_BS.unsqueeze(1) + self.relaxation.same_SS
        yes, no = _floored(read_BS, floor), _floored(others_BSS.logsumexp(dim=2), floor)
        return -(no + left_BS * (yes - no)).sum()

    def expected_cost(self, costs: EdgeCosts) -> torch.Tensor:
        """The mean over independent blocks of an architecture's cost."""
        edge_EK, start_S, end_S = costs.as_tensors(self.relaxation.alpha_edges_BE)
        edges = (self.edge_probs() * (self.operation_BEK * edge_EK).sum(dim=2)).sum()
        return edges + self.read_BS[0] @ start_S + self.left_BS[-1] @ end_S


def _floored(log_p: torch.Tensor, floor: float) -> torch.Tensor:
    """log(p + floor)."""
    return torch.logaddexp(log_p, torch.full_like(log_p, math.log(floor))) if floor else log_p
