"""Costs of architectures as sums over their edges and over the levels at both ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from nas.errors import NASError
from search_spaces.dints.cells import SKIP
from search_spaces.dints.topology import Lattice


@dataclass(frozen=True)
class EdgeCosts:
    """Costs of edges, stems and head in one unit, all >= 0.

    Attributes:
        lattice: Tables of a block.
        edge_EK: Cost of an edge with an operation, the same in every block.
        start_S: Cost of the stems of the state that the first block reads.
        end_S: Cost of the head for the state that the last block leaves.
    """

    lattice: Lattice
    edge_EK: np.ndarray
    start_S: np.ndarray
    end_S: np.ndarray
    _tensors: dict[tuple[torch.dtype, torch.device], tuple[torch.Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of_blocks(cls, lattice: Lattice, operations: Sequence[str], block_costs: Mapping[str, float]) -> EdgeCosts:
        """Collect the costs of a space's blocks.

        Args:
            lattice: Tables of a block.
            operations: Names of the operations of an edge.
            block_costs: Cost of each block of `DiNTSSpace.blocks` by its key.

        Returns:
            Costs by edge and state.

        Raises:
            NASError: If the cost of a block is missing, or there are none.
        """
        if not block_costs:
            raise NASError(
                "a cost metric that is not a sum over edges",
                "cost.metric=macs, params, bytes, training_bytes or latency_ms",
                "set cost.metric to one of them, or strategy.target and strategy.budget to null",
            )
        try:
            stem_D = np.array([block_costs[f"stem {level}"] for level in range(lattice.depths)], dtype=np.float64)
            head_D = np.array([block_costs[f"head {level}"] for level in range(lattice.depths)], dtype=np.float64)
            edge_EK = np.array(
                [
                    [
                        0.0 if name == SKIP and source == target else block_costs[f"edge {source}>{target} {name}"]
                        for name in operations
                    ]
                    for source, target in zip(lattice.sources_E, lattice.targets_E, strict=True)
                ]
            )
            final = block_costs["final"]
        except KeyError as error:
            raise NASError(
                f"costs without {error}",
                "the cost of each of the space's blocks",
                "compute the costs from space.blocks",
            ) from error
        deepest_S = np.array([np.flatnonzero(levels)[-1] for levels in lattice.levels_SD])
        return cls(lattice, edge_EK, lattice.levels_SD @ stem_D, np.cumsum(head_D)[deepest_S] + final)

    def as_tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the costs as tensors, cached because every training step uses them.

        Args:
            like: Tensor whose type and device are used.

        Returns:
            edge_EK, start_S and end_S.
        """
        kind = like.dtype, like.device
        if kind not in self._tensors:
            tables = (self.edge_EK, self.start_S, self.end_S)
            self._tensors[kind] = tuple(torch.from_numpy(table).to(like) for table in tables)
        return self._tensors[kind]

    def of(self, operations_BE: np.ndarray) -> float:
        """Compute the cost of an architecture.

        Args:
            operations_BE: Operation of each edge, -1 for off.

        Returns:
            Cost in the unit of the tables.
        """
        on_BE = operations_BE >= 0
        edges = np.where(on_BE, self.edge_EK[np.arange(self.lattice.edges), operations_BE], 0.0).sum()
        first = self.lattice.state_of(on_BE[:1], self.lattice.sources_E)[0]
        last = self.lattice.state_of(on_BE[-1:], self.lattice.targets_E)[0]
        return float(edges + self.start_S[first] + self.end_S[last])
