"""The network of one architecture, with only the stems, edges and head levels that it uses."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from search_spaces.dints.cells import HeadLevel, Plan, Stem, edge, final_layers
from search_spaces.dints.topology import lattice
from search_spaces.layers.resize import resize


class Head(nn.Module):
    """Head over the maps of the last row.

    From the deepest level upwards, the result of each level is added to the map of the next finer one. Levels above
    the deepest one are computed even if they have no map of their own.

    Args:
        plan: Sizes of the networks.
        deepest: Deepest level with a map.
    """

    def __init__(self, plan: Plan, deepest: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(HeadLevel(plan, level) for level in range(deepest + 1))
        self.final = final_layers(plan)

    def forward(self, maps: dict[int, torch.Tensor], sides: tuple[int, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute the logits of an image.

        Args:
            maps: Map of each level that has one, (B, C, ...).
            sides: Sides of the image in voxels.

        Returns:
            Logits (B, outputs, D, H, W); with deep supervision, in training, a tuple of these and the logits of each
            coarser level, resized to the sides of the image, finest first.
        """
        coarse = []
        below: torch.Tensor | None = None
        for level in reversed(range(len(self.levels))):
            level_map = maps.get(level)
            total = level_map if below is None else below if level_map is None else level_map + below
            head_level = cast(HeadLevel, self.levels[level])
            if head_level.coarse is not None and self.training:
                coarse.append(resize(head_level.coarse(total), sides))
            below = head_level(total)
        logits_BKDHW = self.final(below)
        return (logits_BKDHW, *reversed(coarse)) if coarse else logits_BKDHW


class DiNTSNetwork(nn.Module):
    """The network of one architecture.

    Args:
        plan: Sizes of the networks.
        operations_BE: Operation of each edge, -1 for an edge that is off; the edges are a feasible topology.
    """

    def __init__(self, plan: Plan, operations_BE: np.ndarray) -> None:
        super().__init__()
        tables, names = lattice(plan.depths), plan.operations
        on_BE = operations_BE >= 0
        entered = tables.levels_SD[tables.state_of(on_BE[:1], tables.sources_E)[0]]
        left = tables.levels_SD[tables.state_of(on_BE[-1:], tables.targets_E)[0]]
        self.plan = plan
        self.wiring = [
            [(int(e), int(tables.sources_E[e]), int(tables.targets_E[e])) for e in np.flatnonzero(on_E)]
            for on_E in on_BE
        ]
        self.stems = nn.ModuleDict({str(level): Stem(plan, int(level)) for level in np.flatnonzero(entered)})
        self.edges = nn.ModuleDict(
            {
                edge_name(block, e): edge(plan, source, target, names[operations_BE[block, e]])
                for block, wires in enumerate(self.wiring)
                for e, source, target in wires
            }
        )
        self.head = Head(plan, int(np.flatnonzero(left)[-1]))

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Compute the logits of an image.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W).

        Returns:
            Logits (B, outputs, ...) with the sides of the image; with deep supervision, in training, a tuple (see
            `Head`).

        Raises:
            NASError: If the sides do not fit (see `Plan.require_sides`).
        """
        sides = tuple(x_BCDHW.shape[2:])
        self.plan.require_sides(sides)
        maps = {int(level): stem(x_BCDHW) for level, stem in self.stems.items()}
        for block, wires in enumerate(self.wiring):
            following: dict[int, torch.Tensor] = {}
            for e, source, target in wires:
                y_BCDHW = self.edges[edge_name(block, e)](maps[source])
                following[target] = following[target] + y_BCDHW if target in following else y_BCDHW
            maps = following
        return self.head(maps, sides)


def edge_name(block: int, edge_number: int) -> str:
    """Return the key of an edge in `DiNTSNetwork.edges`.

    Args:
        block: Number of the block, from 0.
        edge_number: Number of the edge in the block, from 0.

    Returns:
        The key.
    """
    return f"{block}_{edge_number}"
