"""What an architecture costs, as a sum over its edges and over the levels at its two ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from nas.errors import NASError
from search_spaces.dints.cells import SKIP
from search_spaces.dints.topology import Lattice

if TYPE_CHECKING:
    from search_spaces.dints.space import DiNTSSpace


@dataclass(frozen=True)
class EdgeCosts:
    """edge_EK: an edge with an operation, the same in every block. start_S: the stems of the state that the first
    block reads. end_S: the head under the state that the last one leaves. In any one unit; all >= 0."""

    lattice: Lattice
    edge_EK: np.ndarray
    start_S: np.ndarray
    end_S: np.ndarray
    _tensors: dict[tuple[torch.dtype, torch.device], tuple[torch.Tensor, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of_blocks(cls, space: DiNTSSpace, block_costs: Mapping[str, float]) -> EdgeCosts:
        """From the costs of the space's `blocks` by key. Raises NASError where one is missing, or all are."""
        if not block_costs:
            raise NASError(
                "a cost that is no sum over edges",
                "cost.metric=macs, params, bytes, training_bytes or latency_ms",
                "mend cost.metric, or leave out strategy.target and strategy.budget",
            )
        tables = space.lattice
        try:
            stem_D = np.array([block_costs[f"stem {level}"] for level in range(space.num_depths)], dtype=np.float64)
            head_D = np.array([block_costs[f"head {level}"] for level in range(space.num_depths)], dtype=np.float64)
            edge_EK = np.array(
                [
                    [
                        0.0 if name == SKIP and source == target else block_costs[f"edge {source}>{target} {name}"]
                        for name in space.operations
                    ]
                    for source, target in zip(tables.sources_E, tables.targets_E, strict=True)
                ]
            )
            final = block_costs["final"]
        except KeyError as error:
            raise NASError(
                f"costs without {error}", "one for each of the space's blocks", "take them from space.blocks"
            ) from error
        deepest_S = np.array([np.flatnonzero(levels)[-1] for levels in tables.levels_SD])
        return cls(tables, edge_EK, tables.levels_SD @ stem_D, np.cumsum(head_D)[deepest_S] + final)

    def as_tensors(self, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """edge_EK, start_S and end_S of the type and on the device of `like`; kept, as every step asks for them."""
        kind = like.dtype, like.device
        if kind not in self._tensors:
            tables = (self.edge_EK, self.start_S, self.end_S)
            self._tensors[kind] = tuple(torch.from_numpy(table).to(like) for table in tables)
        return self._tensors[kind]

    def of(self, operations_BE: np.ndarray) -> float:
        """The cost of one architecture; -1 stands for an edge that is off."""
        on_BE = operations_BE >= 0
        edges = np.where(on_BE, self.edge_EK[np.arange(self.lattice.edges), operations_BE], 0.0).sum()
        first = self.lattice.state_of(on_BE[:1], self.lattice.sources_E)[0]
        last = self.lattice.state_of(on_BE[-1:], self.lattice.targets_E)[0]
        return float(edges + self.start_S[first] + self.end_S[last])
