"""The DiNTS space: which edges of a lattice of feature maps are on, and which operation each of them carries.

Source: He et al., CVPR 2021 (arXiv 2103.15954): 12 blocks at 4 resolutions, 10 edges a block, 5 operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.space import ENUMERATE_LIMIT, Block, Published, SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.checked import Channels, Dims, Expected, checked
from search_spaces.dints.cells import (
    FIRST_WIDTH,
    OPERATIONS,
    SKIP,
    HeadLevel,
    Plan,
    Stem,
    edge,
    final_layers,
)
from search_spaces.dints.network import DiNTSNetwork
from search_spaces.dints.paths import nearest
from search_spaces.dints.picture import picture
from search_spaces.dints.topology import MOST_DEPTHS, lattice

if TYPE_CHECKING:
    from search_spaces.dints.supernet import DiNTSSupernet

OFF = "off"
KEEP = 2.0  # times dearer to undo a mutation than to switch every other edge


@checked("space")
class DiNTSSpace(SearchSpace):
    """Networks of `num_blocks` blocks between feature maps at `num_depths` resolutions.

    Genes: one per edge, block by block: "off" or the operation it carries. An architecture is feasible where no block
    is empty and each block reads exactly the maps that the one before has written; `repair` goes to the nearest one.
    channel_mul: times 32 channels at full resolution, doubled at each halving. use_downsample: a stem halves the
    image first, so that the finest map has half its resolution. Sides of an input are multiples of 2^num_depths
    (2^(num_depths - 1) without downsampling), and one of them is at least twice that. deep_supervision: in training the
    networks also give logits of the coarser levels of the head (see `Head`); the supernet does not. operations: those
    of an edge, the skip and any of the others in the order of `OPERATIONS`; None: all.
    In 2D the operations are ordered, each larger than the one before; in 3D the factorised ones cannot be compared.
    Raises NASError for arguments out of range.
    """

    kind: ClassVar[str] = "segmentation"
    published: ClassVar[Mapping[str, Published]] = {}

    def __init__(
        self,
        num_blocks: Annotated[int, Ge(1), Le(64)] = 12,
        num_depths: Annotated[int, Ge(1), Le(MOST_DEPTHS)] = 4,
        channel_mul: Annotated[float, Ge(1 / 32), Le(64), Expected("at least 1/32 and at most 64")] = 0.5,
        in_channels: Channels = 1,
        out_channels: Annotated[int, Ge(2), Le(4096), Expected("2 to 4096, the background included")] = 2,
        spatial_dims: Dims = 3,
        use_downsample: bool = True,
        deep_supervision: bool = False,
        operations: Sequence[str] | None = None,
    ) -> None:
        self.num_blocks, self.num_depths, self.channel_mul = num_blocks, num_depths, channel_mul
        self.in_channels, self.out_channels = in_channels, out_channels
        self.spatial_dims, self.use_downsample = spatial_dims, use_downsample
        self.deep_supervision = deep_supervision
        known = OPERATIONS[spatial_dims]
        self.operations = tuple(known if operations is None else operations)
        if self.operations[:1] != (SKIP,) or self.operations != tuple(n for n in known if n in self.operations):
            raise NASError(
                f"space.operations={list(self.operations)}",
                f"{SKIP} and any of the others, in this order: {', '.join(known)}",
                f"set space.operations=[{SKIP},{list(known)[-1]}]",
            )
        self.lattice = lattice(num_depths)
        self.genes = tuple(
            Gene(f"{block + 1}:{source}>{target}", (OFF, *self.operations), ordered=spatial_dims == 2)
            for block in range(num_blocks)
            for source, target in zip(self.lattice.sources_E, self.lattice.targets_E, strict=True)
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """Without `operations` where they are all: ids of architectures stay those of the time before that argument."""
        found = super().arguments
        if len(self.operations) == len(OPERATIONS[self.spatial_dims]):
            del found["operations"]
        return found

    def table(self, genes: Sequence[int]) -> np.ndarray:
        """Genes -> (B, E) operations, -1 for an edge that is off."""
        return np.asarray(genes, dtype=np.int64).reshape(self.num_blocks, self.lattice.edges) - 1

    def from_table(self, operations_BE: np.ndarray) -> Architecture:
        """(B, E) operations, -1 for off -> the architecture. Raises NASError where it is not feasible."""
        return self.architecture((operations_BE + 1).ravel().tolist())

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Gene values are clipped; then the fewest edges are switched that make the topology feasible. An edge that is
        switched on carries the first operation, the skip."""
        if len(genes) != len(self.genes):
            raise NASError(f"{len(genes)} genes", f"{len(self.genes)}, one per edge", "take them from this space")
        clipped = [min(max(int(gene), 0), len(self.operations)) for gene in genes]
        return self._feasible(self.table(clipped))

    def _feasible(self, operations_BE: np.ndarray, weight_BE: np.ndarray | None = None) -> Architecture:
        on_BE = operations_BE >= 0
        if not self.lattice.is_feasible(on_BE):
            chosen_BE = nearest(self.lattice, on_BE, weight_BE)
            operations_BE = np.where(chosen_BE, np.maximum(operations_BE, 0), -1)
        return self._issue((operations_BE + 1).ravel().tolist())

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Every feasible topology with the same probability, and every operation on its edges."""
        on_BE = self.lattice.sample(self.num_blocks, rng)
        return self._feasible(np.where(on_BE, rng.integers(len(self.operations), size=on_BE.shape), -1))

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """One edge switched, or given another operation, and as few others switched as that takes. Another
        architecture wherever 50 tries find one."""
        for _ in range(50):
            genes, index = list(arch.genes), int(rng.integers(len(self.genes)))
            genes[index] = int((genes[index] + rng.integers(1, len(self.operations) + 1)) % (len(self.operations) + 1))
            weight_G = np.ones(len(genes))
            weight_G[index] = KEEP * len(genes)  # without it the nearest feasible topology is often the parent's
            child = self._feasible(self.table(genes), weight_G.reshape(self.num_blocks, -1))
            if child.genes != arch.genes:
                return child
        return self.sample(rng)

    def enumerate(self) -> np.ndarray | None:
        """All architectures (N, G), or None where there are more than `ENUMERATE_LIMIT`."""
        count = len(self.operations)
        if self.lattice.topologies(self.num_blocks, count) > ENUMERATE_LIMIT:
            return None
        found = []
        for rows_B in self.lattice.every_topology(self.num_blocks):
            on_G = self.lattice.patterns_NE[rows_B].ravel()
            choices = np.indices((count,) * int(on_G.sum())).reshape(int(on_G.sum()), -1).T
            genes_NG = np.zeros((len(choices), len(on_G)), dtype=np.int16)
            genes_NG[:, on_G] = choices + 1
            found.append(genes_NG)
        return np.concatenate(found)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return DiNTSNetwork(self.plan(task), self.table(arch.genes))

    def supernet(self, task: TaskSpec | None = None) -> DiNTSSupernet:
        """All networks at once, with weights of edges and operations that can be trained (see `nas.supernets.base`)."""
        from search_spaces.dints.supernet import DiNTSSupernet  # which imports this file

        return DiNTSSupernet(self, task)

    def plan(self, task: TaskSpec | None = None) -> Plan:
        """The sizes of the networks for a task. Raises NASError where its dimensions are not those of the space."""
        if task is not None:
            task.require_dims(self.spatial_dims)
        channels = (self.in_channels, self.out_channels) if task is None else (task.in_channels, task.outputs)
        widths = tuple(int(FIRST_WIDTH * 2**level * self.channel_mul) for level in range(self.num_depths + 1))
        return Plan(
            self.spatial_dims,
            self.num_depths,
            widths,
            self.use_downsample,
            *channels,
            operations=self.operations,
            deep_supervision=self.deep_supervision,
        )

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray]:
        """Stems of the levels that are read (D), edges (B * E; -1 also for what costs nothing), levels of the head up
        to the deepest one that is written (D), and the final layers."""
        plan, tables = self.plan(task), self.lattice
        plan.require_sides(tuple(input_size))
        vocabulary, numbers = self._vocabulary(plan, tuple(input_size))
        operations_NBE = genes_NG.astype(np.int64).reshape(len(genes_NG), self.num_blocks, tables.edges) - 1
        on_NBE = operations_NBE >= 0
        read_ND = tables.levels_SD[tables.state_of(on_NBE[:, 0], tables.sources_E)]
        written_ND = tables.levels_SD[tables.state_of(on_NBE[:, -1], tables.targets_E)]
        headed_ND = np.logical_or.accumulate(written_ND[:, ::-1], axis=1)[:, ::-1]
        edges_NBE = numbers["edge"][np.arange(tables.edges), operations_NBE]  # the last column stands for -1, off
        parts = [
            np.where(read_ND, numbers["stem"], -1),
            edges_NBE.reshape(len(genes_NG), -1),
            np.where(headed_ND, numbers["head"], -1),
            np.full((len(genes_NG), 1), numbers["final"]),
        ]
        return vocabulary, np.concatenate(parts, axis=1)

    def _vocabulary(self, plan: Plan, sides: tuple[int, ...]) -> tuple[tuple[Block, ...], dict[str, np.ndarray]]:
        """Every part a network can have, and its number: stem (D,), edge (E, K + 1), head (D,), final ()."""
        found: list[Block] = []

        def add(block: Block) -> int:
            found.append(block)
            return len(found) - 1

        def shape(level: int) -> tuple[int, ...]:
            factor = 2 ** (level + int(self.use_downsample))
            return (plan.width(level), *(side // factor for side in sides))

        depths, tables = range(self.num_depths), self.lattice
        image = (plan.in_channels, *sides)
        numbers = {"stem": np.array([add(Block(f"stem {d}", partial(Stem, plan, d), image)) for d in depths])}
        numbers["edge"] = np.full((tables.edges, len(self.operations) + 1), -1)
        for e, (source, target) in enumerate(zip(tables.sources_E.tolist(), tables.targets_E.tolist(), strict=True)):
            for k, name in enumerate(self.operations):
                if source != target or OPERATIONS[self.spatial_dims][name]:
                    make = partial(edge, plan, source, target, name)
                    numbers["edge"][e, k] = add(Block(f"edge {source}>{target} {name}", make, shape(source)))
        numbers["head"] = np.array([add(Block(f"head {d}", partial(HeadLevel, plan, d), shape(d))) for d in depths])
        whole = (plan.widths[0], *sides)
        numbers["final"] = np.array(add(Block("final", partial(final_layers, plan), whole)))
        return tuple(found), numbers

    def describe(self, arch: Architecture) -> str:
        """A line per block: the edges that are on, as source level > target level and operation; 0 is the finest."""
        lines = [f"{self.num_depths} levels from 1/{2 ** int(self.use_downsample)} of the resolution"]
        for block, row in enumerate(self.table(arch.genes), start=1):
            edges = [
                f"{self.lattice.sources_E[e]}>{self.lattice.targets_E[e]} {self.operations[row[e]]}"
                for e in np.flatnonzero(row >= 0)
            ]
            lines.append(f"block {block:<3} {', '.join(edges)}")
        return "\n".join(lines)

    def picture(self, arch: Architecture) -> str:
        """Rows: levels, the finest on top; the edges that are on, in the colour of their operation."""
        table_BE = self.table(arch.genes)
        chosen_BEK = table_BE[..., None] == np.arange(len(self.operations))
        return picture(self.lattice, (table_BE >= 0).astype(float), chosen_BEK.astype(float), self.operations)


def u_shaped(blocks: int, depths: int, operation: int) -> tuple[int, ...]:
    """Genes of a U: one level is opened a block until all are in use, all levels go on side by side, and from then on
    each also hands its map to the next finer one."""
    tables = lattice(depths)
    operations_BE = np.full((blocks, tables.edges), -1)
    for block in range(blocks):
        deepest = min(block, depths - 1)
        for e, (source, target) in enumerate(zip(tables.sources_E, tables.targets_E, strict=True)):
            along, opens = source == target <= deepest, source == deepest == target - 1
            returns = deepest == depths - 1 and source == target + 1
            if along or opens or returns:
                operations_BE[block, e] = operation
    return tuple((operations_BE + 1).ravel().tolist())


DiNTSSpace.published = {
    "u-shaped": Published(
        genes=u_shaped(12, 4, operation=1),
        source="a reference of this project in the space of He et al. 2021, no published network: 3x3x3 everywhere",
    )
}
