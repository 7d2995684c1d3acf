"""The probabilities of topologies and operations, what they regularise, and what they expect to cost.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.2: probabilities of the edge sets of a block, entropies, and
the topology loss; the formulas as in MONAI 1.6. The set a of a block's edges, not empty, has a probability in
proportion to exp(sum of alpha over a): independent edges of probability sigmoid(alpha), given that not all are off.
All terms come from log-probabilities, which are finite for any finite alpha. Axes as in `topology`; K: operations.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn

from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.topology import Lattice

MONAI_FLOOR = 1e-5  # what MONAI adds to each probability before it takes the logarithm


class Relaxation(nn.Module):
    """Parameters: alpha_edges_BE around 0, alpha_operations_BEK around 1, both with deviation 0.01.

    floor, where a method takes it: added to each probability inside a logarithm; MONAI adds 1e-5.
    """

    patterns_NE: torch.Tensor
    levels_SD: torch.Tensor
    subsets_QE: torch.Tensor
    absent_XDF: torch.Tensor
    same_SS: torch.Tensor

    def __init__(self, lattice: Lattice, blocks: int, operations: int) -> None:
        super().__init__()
        self.alpha_edges_BE = nn.Parameter(0.01 * torch.randn(blocks, lattice.edges))
        self.alpha_operations_BEK = nn.Parameter(1 + 0.01 * torch.randn(blocks, lattice.edges, operations))
        subsets_XDFE, absent_XDF = _edge_subsets(lattice)
        tables = {
            "patterns_NE": lattice.patterns_NE.astype(np.float32),
            "levels_SD": lattice.levels_SD.astype(np.float32),
            "subsets_QE": subsets_XDFE.reshape(-1, lattice.edges).astype(np.float32),
            "absent_XDF": absent_XDF,
            "same_SS": np.eye(lattice.states, dtype=bool),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def pattern_log_probs(self) -> torch.Tensor:
        """(B, N): of every set of edges, given that it is not empty."""
        return (self.alpha_edges_BE @ self.patterns_NE.T).log_softmax(dim=1)

    def edge_probs(self) -> torch.Tensor:
        """(B, E): that an edge is on, given that not all are off."""
        return self.pattern_log_probs().exp() @ self.patterns_NE

    def operation_probs(self) -> torch.Tensor:
        """(B, E, K): of the operations, given that the edge is on."""
        return self.alpha_operations_BEK.softmax(dim=2)

    def state_log_probs(self, blocks: slice = slice(None)) -> torch.Tensor:
        """(B, 2, S): of the levels that a block reads, and of those that it writes. blocks: which of them.

        Every edge reads one level and writes one, so that levels are used independently of each other, given that not
        none is: no sum over all patterns is needed. The odds of a level are the sum of exp(sum of alpha) over the
        non-empty sets of its edges.
        """
        sums_BXDF = (self.alpha_edges_BE[blocks] @ self.subsets_QE.T).unflatten(1, self.absent_XDF.shape)
        odds_BXD = sums_BXDF.masked_fill(self.absent_XDF, _lowest(sums_BXDF)).logsumexp(dim=3)
        return (odds_BXD @ self.levels_SD.T).log_softmax(dim=2)

    def edge_entropy(self, floor: float = 0.0) -> torch.Tensor:
        """Mean over blocks and patterns of -p log p."""
        log_BN = self.pattern_log_probs()
        return -(log_BN.exp() * _floored(log_BN, floor)).mean()

    def operation_entropy(self) -> torch.Tensor:
        """Mean over edges and operations of -p log p."""
        log_BEK = self.alpha_operations_BEK.log_softmax(dim=2)
        return -(log_BEK.exp() * log_BEK).mean()

    def topology_loss(self, floor: float = 0.0) -> torch.Tensor:
        """Cross entropy between the state that a block leaves and the state that the next one reads, each of the S
        states as a yes or no, summed over states and pairs of blocks."""
        log_BXS = self.state_log_probs()
        read_BS, left_BS = log_BXS[1:, 0], log_BXS[:-1, 1].exp()
        others_BSS = read_BS[:, None].masked_fill(self.same_SS, _lowest(read_BS))
        yes, no = _floored(read_BS, floor), _floored(others_BSS.logsumexp(dim=2), floor)
        return -(left_BS * yes + (1 - left_BS) * no).sum()

    def expected_cost(self, costs: EdgeCosts) -> torch.Tensor:
        """The mean over independent blocks of an architecture's cost."""
        edge_EK, start_S, end_S = costs.as_tensors(self.alpha_edges_BE)
        ends = slice(None, None, max(len(self.alpha_edges_BE) - 1, 1))  # the first and the last block
        log_BXS = self.state_log_probs(ends)
        edges = (self.edge_probs() * (self.operation_probs() * edge_EK).sum(dim=2)).sum()
        return edges + log_BXS[0, 0].exp() @ start_S + log_BXS[-1, 1].exp() @ end_S


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


def _lowest(like: torch.Tensor) -> float:
    """Stands for log 0: its exponential is 0, and it may be multiplied by 0."""
    return torch.finfo(like.dtype).min / 2


def _floored(log_p: torch.Tensor, floor: float) -> torch.Tensor:
    """log(p + floor)."""
    return torch.logaddexp(log_p, torch.full_like(log_p, math.log(floor))) if floor else log_p
