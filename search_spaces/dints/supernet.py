"""The DiNTS supernet, computed node by node (`node.py`).

It gives the outputs of MONAI's `DiNTS(TopologySearch)` with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nas.architecture import Architecture
from nas.errors import NASError
from nas.supernets.base import Costs, Decoded, Supernet
from nas.task_spec import TaskSpec
from search_spaces.dints.cells import Plan, Stem
from search_spaces.dints.costs import EdgeCosts
from search_spaces.dints.decode import Scores, k_best
from search_spaces.dints.limits import best_limited
from search_spaces.dints.monai_decode import monai_decode
from search_spaces.dints.network import DiNTSNetwork, Head, edge_name
from search_spaces.dints.node import GroupedOperation, Node
from search_spaces.dints.picture import picture
from search_spaces.dints.relaxation import Relaxation
from search_spaces.dints.topology import Lattice
from search_spaces.layers.precision import full_precision


class LatticeSpace(Protocol):
    """Members of `DiNTSSpace` that its supernet uses; a protocol, because the space imports the supernet."""

    num_blocks: int
    num_depths: int
    deep_supervision: bool
    operations: tuple[str, ...]
    lattice: Lattice

    def plan(self, task: TaskSpec | None = None) -> Plan:
        """Return the sizes that all networks share.

        Args:
            task: Task that sets the numbers of channels and outputs, or None.

        Returns:
            The sizes.
        """
        ...

    def table(self, genes: Sequence[int]) -> np.ndarray:
        """Arrange genes as operations by block and edge.

        Args:
            genes: Genes of an architecture.

        Returns:
            Operations (B, E), -1 for an edge that is off.
        """
        ...

    def from_table(self, operations_BE: np.ndarray) -> Architecture:
        """Return the architecture with the given operations.

        Args:
            operations_BE: Operation of each edge, -1 for off.

        Returns:
            The architecture.
        """
        ...


class DiNTSSupernet(Supernet):
    """All architectures of a space at once, mixed by their probabilities.

    The architecture parameters are `relaxation.alpha_edges_BE` and `relaxation.alpha_operations_BEK`. `forward` never
    synchronises with the device.

    Args:
        space: The space, a `DiNTSSpace`.
        task: Task that sets the numbers of channels and outputs; if None, the space's own are used.
    """

    decodes_exactly = True
    default_regularisers: Mapping[str, float] = {"topology": 0.001}  # as in MONAI's search

    def __init__(self, space: LatticeSpace, task: TaskSpec | None = None) -> None:
        super().__init__()
        self.space, self.task, self.plan = space, task, replace(space.plan(task), deep_supervision=False)
        self.checkpointing = False  # if True, activations inside a node are recomputed in the backward pass
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
        """Compute the logits of an image with the current probabilities.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            Logits (B, outputs, ...) with the sides of the image.

        Raises:
            NASError: If the sides do not fit (see `Plan.require_sides`).
        """
        sides = tuple(x_BCDHW.shape[2:])
        self.plan.require_sides(sides)
        maps = [stem(x_BCDHW) for stem in self.stems]
        # in bf16 the probabilities would differ from those that are regularised and decoded
        with full_precision(x_BCDHW.device.type):
            marginals = self.relaxation.marginals()
            share_BEK = marginals.edge_probs()[:, :, None] * marginals.operation_BEK
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
        """Return alpha_edges_BE and alpha_operations_BEK by name."""
        return dict(self.relaxation.named_parameters())

    def regularisers(self) -> Mapping[str, torch.Tensor]:
        """Return edge_entropy, operation_entropy and topology (see `Marginals`)."""
        return self.relaxation.marginals().regularisers()

    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Compute the mean cost of an architecture with independent blocks.

        The mean over feasible architectures only may differ slightly.

        Args:
            costs: Costs by block.

        Returns:
            Expected cost, (), in the unit of the costs.

        Raises:
            NASError: If there are no costs by block.
        """
        return self.relaxation.marginals().expected_cost(self._edge_costs(costs))

    def regularisers_and_cost(self, costs: Costs) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        """Compute `regularisers` and `expected_cost` with one shared autograd graph.

        Args:
            costs: Costs by block.

        Returns:
            Regularisers by name, and the expected cost.

        Raises:
            NASError: If there are no costs by block.
        """
        marginals = self.relaxation.marginals()
        return marginals.regularisers(), marginals.expected_cost(self._edge_costs(costs))

    def _edge_costs(self, costs: Costs) -> EdgeCosts:
        """Return the costs by edge, cached because a search uses the same ones in every step."""
        if self._priced is None or self._priced[0] is not costs.of_blocks:
            table = EdgeCosts.of_blocks(self.space.lattice, self.space.operations, costs.of_blocks)
            self._priced = costs.of_blocks, table
        return self._priced[1]

    def decode(
        self,
        k: int = 1,
        costs: Costs | None = None,
        budget: float | None = None,
        target: float | None = None,
        how: str = "exact",
    ) -> list[Decoded]:
        """Find the best architectures under the current probabilities.

        Args:
            k: Number of architectures, >= 1.
            costs: Costs by block, needed with a budget or target.
            budget: Largest cost, or None.
            target: Cost to come near to, or None (see `best_limited`).
            how: "exact", or "monai" for the one architecture on MONAI's shortest path.

        Returns:
            Architectures with their scores (see `search_spaces.dints.decode`), best first; for "monai" the score is
            minus the cost of the path.

        Raises:
            NASError: If the arguments do not go together, or every architecture costs more than the budget.
        """
        limited = budget is not None or target is not None
        if how not in ("exact", "monai") or k < 1 or (how == "monai" and (k > 1 or limited)):
            raise NASError(
                f"decode with how={how!r}, k={k}, budget={budget}, target={target}",
                'how="exact" with k >= 1, or how="monai" without other arguments',
                'use how="exact", or leave out k, budget and target',
            )
        if limited and costs is None:
            raise NASError(f"budget={budget}, target={target} without costs", "costs with them", "pass costs")
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
            best = k_best(scores, k)
        else:
            best = best_limited(scores, self._edge_costs(costs), k, budget, target)
        return [Decoded(self.space.from_table(table_BE), score) for table_BE, score in best]

    def subnetwork(self, arch: Architecture) -> DiNTSNetwork:
        """Build the network of an architecture with copies of the supernet's weights, in the same mode.

        Unlike in the supernet, a head that starts above the deepest level lacks the shifts of the levels below.

        Args:
            arch: Architecture of the space.

        Returns:
            The network.
        """
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
            for level, source in zip(network.head.levels, self.head.levels, strict=False):
                # the network's head may start above the deepest level, and have classifiers of its own
                level.load_state_dict(source.state_dict(), strict=not self.space.deep_supervision)
            network.head.final.load_state_dict(self.head.final.state_dict())
        return network.train(self.training)

    def picture(self) -> str:
        """Return the current probabilities as an SVG element, with the best architecture marked."""
        with torch.no_grad():
            marginals = self.relaxation.marginals()
            edges_BE, operations_BEK = (
                probs.cpu().numpy() for probs in (marginals.edge_probs(), marginals.operation_BEK)
            )
        chosen_BE = self.space.table(self.decode()[0].arch.genes) >= 0
        return picture(self.space.lattice, edges_BE, operations_BEK, self.space.operations, chosen_BE)


def _inherit(operation: nn.Module, grouped: nn.ModuleList, number: int, position: int) -> None:
    """Copy the weights of one edge from a grouped operation; the skip, number 0, has none."""
    if number == 0:
        return
    source = cast(GroupedOperation, grouped[number - 1])
    tensors = [*source.weights, source.scale, source.shift]  # the order of the parameters in `cells.operation`
    for parameter, grouped_parameter in zip(operation.parameters(), tensors, strict=True):
        parameter.copy_(grouped_parameter.chunk(source.edges)[position])
