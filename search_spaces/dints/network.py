"""The network of one architecture: what it uses is built and computed, nothing else."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from search_spaces.dints.cells import HeadLevel, Plan, Stem, edge, final_layers
from search_spaces.dints.topology import lattice
from search_spaces.layers.resize import resize


class Head(nn.Module):
    """Maps of the last row, finest level first -> logits (B, outputs, D, H, W): from the deepest level upwards, each is
    added to what comes from below. Levels above the deepest one take part even where they have no map of their own.

    With deep supervision, in training also the logits of each coarser level, enlarged to the sides of the image: a
    tuple, finest first.
    """

    def __init__(self, plan: Plan, deepest: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(HeadLevel(plan, level) for level in range(deepest + 1))
        self.final = final_layers(plan)

    def forward(self, maps: dict[int, torch.Tensor], sides: tuple[int, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        coarse = []
        below: torch.Tensor | None = None
        for level in reversed(range(len(self.levels))):
            own = maps.get(level)
            total = own if below is None else below if own is None else own + below
            part = cast(HeadLevel, self.levels[level])
            if part.coarse is not None and self.training:
                coarse.append(resize(part.coarse(total), sides))
            below = part(total)
        logits_BKDHW = self.final(below)
        return (logits_BKDHW, *reversed(coarse)) if coarse else logits_BKDHW


class DiNTSNetwork(nn.Module):
    """Image (B, in_channels, D, H, W), in 2D (B, in_channels, H, W) -> logits (B, outputs, ...) of the same sides.

    operations_BE: the operation of every edge of every block, -1 for an edge that is off; the edges are a feasible
    topology. Raises NASError for sides that `Plan.require_sides` refuses.
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
    """The key of an edge in `DiNTSNetwork.edges`."""
    return f"{block}_{edge_number}"
