"""The DiNTS space: which edges of a lattice of feature maps are on, and which operation each of them carries.

Source: He et al., CVPR 2021 (arXiv 2103.15954): 12 blocks at 4 resolutions, 10 edges per block, 5 operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.published import Published, PublishedCount
from nas.space import ENUMERATE_LIMIT, Block, SearchSpace
from nas.task_spec import TaskSpec, channels_of
from nas.utils.annotations import Channels, Dims, Expected
from nas.utils.checked import checked
from search_spaces.dints.blocks import BlockVocabulary
from search_spaces.dints.cells import (
    FIRST_WIDTH,
    OPERATIONS,
    SKIP,
    Plan,
)
from search_spaces.dints.network import DiNTSNetwork
from search_spaces.dints.paths import nearest
from search_spaces.dints.picture import picture
from search_spaces.dints.structure import structure
from search_spaces.dints.supernet import DiNTSSupernet
from search_spaces.dints.topology import MAX_DEPTHS, lattice

OFF = "off"
MUTATION_WEIGHT = 2.0  # cost of undoing a mutation in `repair`, relative to switching every other edge


@checked("space")
class DiNTSSpace(SearchSpace):
    """Networks of `num_blocks` blocks between feature maps at `num_depths` resolutions.

    There is a gene for each edge, block by block: "off" or its operation. An architecture is feasible if no block is
    empty and each block reads exactly the maps that the previous one wrote. In 2D the operations are ordered, each
    larger than the previous one; in 3D the factorised ones cannot be compared. Sides of an input are multiples of
    2^num_depths (2^(num_depths - 1) without downsampling), and one of them is at least twice that.

    Args:
        num_blocks: Blocks B, >= 1.
        num_depths: Levels D of the lattice, 1 to 6.
        channel_mul: Factor on 32 channels at full resolution, >= 1/32; channels double at each halving.
        in_channels: Channels of an image, >= 1.
        out_channels: Classes with the background, >= 2.
        spatial_dims: 2 or 3.
        use_downsample: If True, a stem halves the image, so that the finest level has half the resolution.
        deep_supervision: If True, in training the networks also give logits of the coarser levels of the head (see
            `Head`); the supernet does not.
        operations: Operations of an edge: the skip and any others in the order of `OPERATIONS`; if None, all.

    Attributes:
        lattice: Tables of a block.

    Raises:
        NASError: If an argument is out of range.
    """

    kind: ClassVar[str] = "segmentation"
    published: ClassVar[Mapping[str, Published]] = {}

    def __init__(
        self,
        num_blocks: Annotated[int, Ge(1), Le(64)] = 12,
        num_depths: Annotated[int, Ge(1), Le(MAX_DEPTHS)] = 4,
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
        """The constructor's arguments as JSON values, `operations` only if it is not the complete list.

        Ids of architectures hash these arguments and were the same before `operations` existed.
        """
        arguments = super().arguments
        if len(self.operations) == len(OPERATIONS[self.spatial_dims]):
            del arguments["operations"]
        return arguments

    def table(self, genes: Sequence[int]) -> np.ndarray:
        """Arrange genes as operations by block and edge.

        Args:
            genes: Genes of an architecture.

        Returns:
            Operations (B, E), -1 for an edge that is off.
        """
        return np.asarray(genes, dtype=np.int64).reshape(self.num_blocks, self.lattice.edges) - 1

    def from_table(self, operations_BE: np.ndarray) -> Architecture:
        """Return the architecture with the given operations.

        Args:
            operations_BE: Operation of each edge, -1 for off.

        Returns:
            The architecture.

        Raises:
            NASError: If it is not feasible.
        """
        return self.architecture((operations_BE + 1).ravel().tolist())

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest feasible architecture.

        Genes are clipped; then the smallest number of edges is switched that makes the topology feasible. An edge that
        is switched on gets the first operation, the skip.

        Args:
            genes: G integers.

        Returns:
            Feasible architecture.

        Raises:
            NASError: If the number of genes is wrong.
        """
        if len(genes) != len(self.genes):
            raise NASError(f"{len(genes)} genes", f"{len(self.genes)}, one per edge", "use genes of this space")
        clipped = [min(max(int(gene), 0), len(self.operations)) for gene in genes]
        return self._feasible(self.table(clipped))

    def _feasible(self, operations_BE: np.ndarray, weight_BE: np.ndarray | None = None) -> Architecture:
        on_BE = operations_BE >= 0
        if not self.lattice.is_feasible(on_BE):
            chosen_BE = nearest(self.lattice, on_BE, weight_BE)
            operations_BE = np.where(chosen_BE, np.maximum(operations_BE, 0), -1)
        return self._issue((operations_BE + 1).ravel().tolist())

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a feasible topology uniformly, and the operations of its edges uniformly; genes with a prior by it.

        Args:
            rng: Source of randomness.

        Returns:
            Feasible architecture.
        """
        on_BE = self.lattice.sample(self.num_blocks, rng)
        drawn = self._feasible(np.where(on_BE, rng.integers(len(self.operations), size=on_BE.shape), -1))
        return self.follow_prior(drawn, rng)

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Switch one edge or change its operation, then switch as few others as feasibility requires.

        Args:
            arch: Architecture to change.
            rng: Source of randomness.

        Returns:
            Another architecture; a random one if 50 attempts give none.
        """
        for _ in range(50):
            genes, index = list(arch.genes), int(rng.integers(len(self.genes)))
            genes[index] = int((genes[index] + rng.integers(1, len(self.operations) + 1)) % (len(self.operations) + 1))
            weight_G = np.ones(len(genes))
            weight_G[index] = MUTATION_WEIGHT * len(genes)  # otherwise the nearest topology is often the parent's
            child = self._feasible(self.table(genes), weight_G.reshape(self.num_blocks, -1))
            if child.genes != arch.genes:
                return child
        return self.sample(rng)

    def enumerate(self) -> np.ndarray | None:
        """Return the genes of all architectures (N, G), or None if there are more than `ENUMERATE_LIMIT`."""
        count = len(self.operations)
        if self.lattice.topologies(self.num_blocks, count) > ENUMERATE_LIMIT:
            return None
        architectures = []
        for rows_B in self.lattice.every_topology(self.num_blocks):
            on_G = self.lattice.patterns_NE[rows_B].ravel()
            choices = np.indices((count,) * int(on_G.sum())).reshape(int(on_G.sum()), -1).T
            genes_NG = np.zeros((len(choices), len(on_G)), dtype=np.int16)
            genes_NG[:, on_G] = choices + 1
            architectures.append(genes_NG)
        return np.concatenate(architectures)

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            A `DiNTSNetwork`.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        return DiNTSNetwork(self.plan(task), self.table(arch.genes))

    def supernet(self, task: TaskSpec | None = None) -> DiNTSSupernet:
        """Build all networks at once, with trainable probabilities of edges and operations (see `nas.supernets.base`).

        Args:
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            The supernet.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        return DiNTSSupernet(self, task)

    def plan(self, task: TaskSpec | None = None) -> Plan:
        """Return the sizes of the networks for a task.

        Args:
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            Sizes that all networks share.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        channels = channels_of(task, self.spatial_dims, (self.in_channels, self.out_channels))
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
        """Express networks as sums of blocks.

        Args:
            genes_NG: Genes of N networks.
            input_size: Sides of the input in voxels.
            task: Task that sets the numbers of channels and outputs, or None.

        Returns:
            All blocks of the space, and per network the numbers of its blocks, -1 for none, (N, D + B * E + D + 1):
            stems of the levels that are read, edges, levels of the head up to the deepest one that is written, and
            the final layers.

        Raises:
            NASError: If the sides do not fit or the task has other spatial dimensions.
        """
        plan, tables = self.plan(task), self.lattice
        plan.require_sides(tuple(input_size))
        vocabulary = BlockVocabulary.of(plan, tables, tuple(input_size))
        operations_NBE = genes_NG.astype(np.int64).reshape(len(genes_NG), self.num_blocks, tables.edges) - 1
        on_NBE = operations_NBE >= 0
        read_ND = tables.levels_SD[tables.state_of(on_NBE[:, 0], tables.sources_E)]
        written_ND = tables.levels_SD[tables.state_of(on_NBE[:, -1], tables.targets_E)]
        headed_ND = np.logical_or.accumulate(written_ND[:, ::-1], axis=1)[:, ::-1]
        columns = [
            np.where(read_ND, vocabulary.stem_D, -1),
            vocabulary.edge_EK[np.arange(tables.edges), operations_NBE].reshape(len(genes_NG), -1),
            np.where(headed_ND, vocabulary.head_D, -1),
            np.full((len(genes_NG), 1), vocabulary.final),
        ]
        return vocabulary.blocks, np.concatenate(columns, axis=1)

    def descriptors(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Return the numbers of `search_spaces.dints.structure`: levels, paths, counts of operations, and edges."""
        shape = (len(archs), self.num_blocks, self.lattice.edges)
        return structure(self.lattice, self.encode(archs).reshape(shape) - 1, len(self.operations))

    def describe(self, arch: Architecture) -> str:
        """Describe an architecture in words.

        Args:
            arch: Architecture of this space.

        Returns:
            A line per block with the edges that are on, as source level > target level and operation; 0 is the finest.
        """
        lines = [f"{self.num_depths} levels from 1/{2 ** int(self.use_downsample)} of the resolution"]
        for block, row in enumerate(self.table(arch.genes), start=1):
            edges = [
                f"{self.lattice.sources_E[e]}>{self.lattice.targets_E[e]} {self.operations[row[e]]}"
                for e in np.flatnonzero(row >= 0)
            ]
            lines.append(f"block {block:<3} {', '.join(edges)}")
        return "\n".join(lines)

    def picture(self, arch: Architecture) -> str:
        """Draw the edges that are on, in the colour of their operation, with the finest level on top.

        Args:
            arch: Architecture of this space.

        Returns:
            An SVG element.
        """
        table_BE = self.table(arch.genes)
        chosen_BEK = table_BE[..., None] == np.arange(len(self.operations))
        return picture(self.lattice, (table_BE >= 0).astype(float), chosen_BEK.astype(float), self.operations)


def u_shaped(blocks: int, depths: int, operation: int) -> tuple[int, ...]:
    """Return the genes of a U-shaped network.

    Each block opens one more level until all are in use. All levels continue in parallel, and once all are in use each
    also passes its map to the next finer one.

    Args:
        blocks: Number of blocks, >= depths.
        depths: Levels of the lattice.
        operation: Gene of every edge that is on, minus 1.

    Returns:
        Genes, one for each edge of each block.
    """
    tables = lattice(depths)
    operations_BE = np.full((blocks, tables.edges), -1)
    for block in range(blocks):
        deepest = min(block, depths - 1)
        for e, (source, target) in enumerate(zip(tables.sources_E, tables.targets_E, strict=True)):
            same_level, opens = source == target <= deepest, source == deepest == target - 1
            returns = deepest == depths - 1 and source == target + 1
            if same_level or opens or returns:
                operations_BE[block, e] = operation
    return tuple((operations_BE + 1).ravel().tolist())


DiNTSSpace.published = {
    "u-shaped": Published(
        genes=u_shaped(12, 4, operation=1),
        source="a reference network of this project in the space of He et al. 2021, not published: 3x3x3 on all edges",
        input_shape=(1, 96, 96, 96),
    )
}
RELEASED = "counted on arch_code_cvpr.pth of Project-MONAI/research-contributions, 12 blocks, 4 levels, channel_mul 1"
UNUSED = "3.55 M of them are never used"
DiNTSSpace.not_included = {
    "released": Published(
        genes=(),
        source="He et al., CVPR 2021 (arXiv 2103.15954); read the file by search_spaces.dints.monai_code.from_monai",
        input_shape=(1, 96, 96, 96),
        counts=(
            PublishedCount("params", 152.36, "M", RELEASED, UNUSED),
            PublishedCount("macs", 334.4, "G", RELEASED),
        ),
    )
}
