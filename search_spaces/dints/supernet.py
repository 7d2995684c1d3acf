"""The DiNTS supernet, computed node by node (`node.py`).

Equal to MONAI's `DiNTS(TopologySearch)` with the same weights, by another route.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nas.architecture import Architecture
from nas.errors import NASError
from nas.supernets.base import Costs, Decoded, Supernet
from nas.task_spec import TaskSpec
from search_spaces.dints.cells import Stem
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best, monai_decode
from search_spaces.dints.limits import best_limited
from search_spaces.dints.network import DiNTSNetwork, Head, edge_name
from search_spaces.dints.node import GroupedOperation, Node
from search_spaces.dints.picture import picture
from search_spaces.dints.relaxation import Relaxation
from search_spaces.dints.space import DiNTSSpace


class DiNTSSupernet(Supernet):
    """Image (B, in_channels, D, H, W) -> logits (B, outputs, D, H, W), of all architectures of a space at once.

    Parameters of the architecture: `relaxation.alpha_edges_BE`, `relaxation.alpha_operations_BEK`.
    checkpointing: activations inside a node are computed again in the backward pass instead of kept. Nothing in
    `forward` waits for the device.
    """

    decodes_exactly = True
    default_regularisers: Mapping[str, float] = {"topology": 0.001}  # as in MONAI's search

    def __init__(self, space: DiNTSSpace, task: TaskSpec | None = None, checkpointing: bool = False) -> None:
        super().__init__()
        self.space, self.task, self.plan = space, task, replace(space.plan(task), deep_supervision=False)
        self.checkpointing = checkpointing
        tables, depths = space.lattice, range(space.num_depths)
        self.incoming = [np.flatnonzero(tables.targets_E == level) for level in depths]
        self.sources = [tuple(tables.sources_E[edges].tolist()) for edges in self.incoming]
        self.stems = nn.ModuleList(Stem(self.plan, level) for level in depths)
        self.rows = nn.ModuleList(
            nn.ModuleList(Node(self.plan, self.sources[level], level) for level in depths)
            for _ in range(space.num_blocks)
        )
        self.head = Head(self.plan, space.num_depths - 1)
        self.relaxation = Relaxation(tables, space.num_blocks, len(space.operations))
        self._priced: tuple[Mapping[str, float], EdgeCosts] | None = None

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        sides = tuple(x_BCDHW.shape[2:])
        self.plan.require_sides(sides)
        maps = [stem(x_BCDHW) for stem in self.stems]
        with _unrounded(x_BCDHW.device.type):
            now = self.relaxation.marginals()
            share_BEK = now.edge_probs()[:, :, None] * now.operation_BEK
        for block, share_EK in enumerate(share_BEK.unbind()):
            maps = [self._compute(block, level, share_EK, maps) for level in range(len(maps))]
        logits_BKDHW = self.head(dict(enumerate(maps)), sides)
        assert isinstance(logits_BKDHW, torch.Tensor)  # this head has no deep supervision
        return logits_BKDHW

    def _node(self, block: int, level: int) -> Node:
        return cast(Node, cast(nn.ModuleList, self.rows[block])[level])

    def _compute(self, block: int, level: int, share_EK: torch.Tensor, maps: list[torch.Tensor]) -> torch.Tensor:
        node = self._node(block, level)
        edges = self.incoming[level]
        arguments = (share_EK[edges[0] : edges[-1] + 1], *(maps[source] for source in self.sources[level]))
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(node, *arguments, use_reentrant=False)
        return node(*arguments, lean=torch.is_grad_enabled() and not torch.compiler.is_compiling())

    def architecture_parameters(self) -> Mapping[str, nn.Parameter]:
        return dict(self.relaxation.named_parameters())

    def regularisers(self) -> Mapping[str, torch.Tensor]:
        """edge_entropy, operation_entropy, topology: see `Marginals`."""
        return self.relaxation.marginals().regularisers()

    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Blocks are independent here; the feasible architectures alone may cost a little more or less."""
        return self.relaxation.marginals().expected_cost(self._edge_costs(costs))

    def regularisers_and_cost(self, costs: Costs) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        now = self.relaxation.marginals()
        return now.regularisers(), now.expected_cost(self._edge_costs(costs))

    def _edge_costs(self, costs: Costs) -> EdgeCosts:
        """The table of the last costs asked for is kept: a search asks for the same ones in every step."""
        if self._priced is None or self._priced[0] is not costs.of_blocks:
            self._priced = costs.of_blocks, EdgeCosts.of_blocks(self.space, costs.of_blocks)
        return self._priced[1]

    def decode(
        self,
        k: int = 1,
        costs: Costs | None = None,
        budget: float | None = None,
        target: float | None = None,
        how: str = "exact",
    ) -> list[Decoded]:
        """Scores are those of `decode`. how: "exact"; or "monai", one architecture, its score minus the cost of
        MONAI's path. With a budget or a target: see `best_limited`. Raises NASError for other combinations, and for a
        budget below the smallest architecture."""
        limited = budget is not None or target is not None
        if how not in ("exact", "monai") or k < 1 or (how == "monai" and (k > 1 or limited)):
            raise NASError(
                f"decode with how={how!r}, k={k}, budget={budget}",
                'how="exact" with k >= 1, or how="monai" alone',
                "ask for one of them",
            )
        if limited and costs is None:
            raise NASError("a budget or target without costs", "both or none", "pass costs")
        edges_BE, operations_BEK = (
            alpha.detach().cpu().numpy()
            for alpha in (self.relaxation.alpha_edges_BE, self.relaxation.alpha_operations_BEK)
        )
        tables = self.space.lattice
        if how == "monai":
            table_BE, cost = monai_decode(tables, edges_BE, operations_BEK)
            return [Decoded(self.space.from_table(table_BE), -cost)]
        scores = Scores.of(tables, edges_BE, operations_BEK)
        if costs is None or not limited:
            found = k_best(scores, k)
        else:
            found = best_limited(scores, self._edge_costs(costs), k, budget, target)
        return [Decoded(self.space.from_table(table_BE), score) for table_BE, score in found]

    def subnetwork(self, arch: Architecture) -> DiNTSNetwork:
        """In training mode or not, as the supernet is; the weights are copies. A head that starts above the deepest
        level lacks the shifts that the supernet's adds from the levels below."""
        network = DiNTSNetwork(self.space.plan(self.task), self.space.table(arch.genes)).to(
            self.relaxation.alpha_edges_BE
        )
        operations_BE = self.space.table(arch.genes)
        with torch.no_grad():
            for name, stem in network.stems.items():
                stem.load_state_dict(self.stems[int(name)].state_dict())
            for block, level in np.ndindex(self.space.num_blocks, self.space.num_depths):
                node = self._node(block, level)
                for position, e in enumerate(self.incoming[level].tolist()):
                    if operations_BE[block, e] >= 0:
                        change, operation = network.edges[edge_name(block, e)].children()
                        change.load_state_dict(node.changes[position].state_dict())
                        _inherit(operation, node.operations, int(operations_BE[block, e]), position)
            for own, whole in zip(network.head.levels, self.head.levels, strict=False):
                # the network's head may start above the deepest level, and have classifiers of its own
                own.load_state_dict(whole.state_dict(), strict=not self.space.deep_supervision)
            network.head.final.load_state_dict(self.head.final.state_dict())
        return network.train(self.training)

    def picture(self) -> str:
        with torch.no_grad():
            now = self.relaxation.marginals()
            edges_BE, operations_BEK = (probs.cpu().numpy() for probs in (now.edge_probs(), now.operation_BEK))
        chosen_BE = self.space.table(self.decode()[0].arch.genes) >= 0
        return picture(self.space.lattice, edges_BE, operations_BEK, self.space.operations, chosen_BE)


def _unrounded(device: str) -> AbstractContextManager[object]:
    """No autocast: in bf16 the probabilities would be others than those that are regularised and decoded."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _inherit(operation: nn.Module, grouped: nn.ModuleList, number: int, position: int) -> None:
    """Copies one edge's part of a grouped operation; the skip, number 0, has none."""
    if number == 0:
        return
    source = cast(GroupedOperation, grouped[number - 1])
    tensors = [*source.weights, source.scale, source.shift]  # the order of the parameters in `cells.operation`
    for own, whole in zip(operation.parameters(), tensors, strict=True):
        own.copy_(whole.chunk(source.edges)[position])
