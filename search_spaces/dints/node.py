"""A node of the supernet: the operations on all edges that enter one feature map.

The probability of edge and operation, a factor of the normalised map, is folded into scale and shift of the
normalisation, so that no weighted copy of a map is made or stored for the backward pass. For a small map the two or
three edges share one concatenated activation, one ReLU and grouped convolutions; for a large map the edges are
computed in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.dints.cells import OPERATIONS, Plan, resolution_change
from search_spaces.dints.rectified import computed_again, rectified
from search_spaces.layers.convolution import slow_alone
from search_spaces.layers.instance_norm import instance_norm

# Up to this size a grouped convolution is faster in bf16 and at larger batches (measured with AVX-512).
MAX_GROUPED_VOXELS = 16**3


class GroupedOperation(nn.Module):
    """A cell operation on all edges of a node.

    Args:
        kernels: Kernels of the consecutive convolutions.
        edges: Number of edges.
        channels: Channels C of the node's map.

    Attributes:
        weights: Weights (edges * C, C, *kernel) of each convolution.
        scale: Factors (edges * C,) of the normalisation.
        shift: Summands (edges * C,) of the normalisation.
    """

    def __init__(self, kernels: tuple[tuple[int, ...], ...], edges: int, channels: int) -> None:
        super().__init__()
        self.edges = edges
        self.weights = nn.ParameterList(torch.empty(edges * channels, channels, *kernel) for kernel in kernels)
        self.scale, self.shift = nn.Parameter(torch.ones(edges * channels)), nn.Parameter(torch.zeros(edges * channels))
        for weight in self.weights:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))  # as in torch's own convolutions

    def forward(self, relu_BCDHW: torch.Tensor, share_E: torch.Tensor) -> torch.Tensor:
        """Compute the weighted sum of the operation over all edges.

        Args:
            relu_BCDHW: Rectified maps of the edges, concatenated, (B, edges * C, ...).
            share_E: Weight of each edge.

        Returns:
            Sum (B, C, ...).
        """
        share_C = share_E.repeat_interleave(len(self.scale) // self.edges, output_size=len(self.scale))
        y_BCDHW = _convolved(relu_BCDHW, self.weights, self.edges)
        y_BCDHW = instance_norm(y_BCDHW, self.scale * share_C, self.shift * share_C)
        return y_BCDHW.unflatten(1, (self.edges, -1)).sum(dim=1)

    def of_edge(self, edge: int, relu_BCDHW: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Compute the weighted operation on one edge.

        Args:
            edge: Position of the edge in the node.
            relu_BCDHW: Rectified map of the edge, (B, C, ...).
            share: Weight of the edge, ().

        Returns:
            Map (B, C, ...).
        """
        scale_C, shift_C, *weights = (x.chunk(self.edges)[edge] for x in (self.scale, self.shift, *self.weights))
        return instance_norm(_convolved(relu_BCDHW, weights, 1), scale_C * share, shift_C * share)


def _convolved(x_BCDHW: torch.Tensor, weights: Iterable[torch.Tensor], groups: int) -> torch.Tensor:
    for weight in weights:
        x_BCDHW = grouped_convolution(x_BCDHW, weight, groups)
    return x_BCDHW


def grouped_convolution(x_BCDHW: torch.Tensor, weight: torch.Tensor, groups: int) -> torch.Tensor:
    """Compute a padded convolution within each group of channels.

    A kernel along the first axis alone is 2 to 2.5 times slower in 3D on a CPU than over D x (H W) in 2D, which is
    therefore used there.

    Args:
        x_BCDHW: Map (B, groups * C, ...).
        weight: Weights (outputs, C, *kernel).
        groups: Number of groups.

    Returns:
        Map (B, outputs, ...) with the same sides.
    """
    if x_BCDHW.ndim == 5 and weight.shape[3:] == (1, 1) and x_BCDHW.device.type == "cpu":
        y_BCDV = grouped_convolution(x_BCDHW.flatten(3), weight.flatten(3), groups)
        return y_BCDV.unflatten(3, x_BCDHW.shape[3:])
    convolve = F.conv3d if x_BCDHW.ndim == 5 else F.conv2d
    padding = tuple(length // 2 for length in weight.shape[2:])
    return convolve(x_BCDHW, weight, padding=padding, groups=groups)


def at_once(x_BCDHW: torch.Tensor) -> bool:
    """Return whether one grouped convolution over all edges is faster than one convolution per edge.

    Args:
        x_BCDHW: Map like those of the edges.

    Returns:
        True for small maps on a CPU.
    """
    if x_BCDHW.device.type != "cpu":
        return False
    bf16 = x_BCDHW.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if len(x_BCDHW) == 1 and not bf16:
        return slow_alone(x_BCDHW)
    return math.prod(x_BCDHW.shape[2:]) <= MAX_GROUPED_VOXELS


class Node(nn.Module):
    """A node of the supernet: for each edge a change of resolution, then all operations on all edges.

    Args:
        plan: Sizes of the networks.
        sources: Levels that the edges read.
        target: Level of the node.
    """

    def __init__(self, plan: Plan, sources: tuple[int, ...], target: int) -> None:
        super().__init__()
        self.level = sources.index(target)  # position of the edge from the same level
        self.changes = nn.ModuleList(resolution_change(plan, source, target) for source in sources)
        kernels = [OPERATIONS[plan.dims][name] for name in plan.operations]
        width = plan.width(target)
        # the first operation, the skip, has no parameters
        self.operations = nn.ModuleList(GroupedOperation(row, len(sources), width) for row in kernels if row)

    def forward(self, share_EK: torch.Tensor, *maps: torch.Tensor, lean: bool = False) -> torch.Tensor:
        """Compute the node's map.

        Args:
            share_EK: Weight of each operation on each edge.
            *maps: Map that each edge reads.
            lean: If True, rectified maps are recomputed in the backward pass instead of stored.

        Returns:
            Map (B, C, ...).
        """
        compute = self._at_once if at_once(maps[self.level]) else self._in_turn
        return compute(share_EK, [change(x) for change, x in zip(self.changes, maps, strict=True)], lean)

    def _in_turn(self, share_EK: torch.Tensor, maps: list[torch.Tensor], lean: bool) -> torch.Tensor:
        """Compute one edge after the other. maps: (B, C, ...) each, after the changes of resolution."""
        skips = share_EK[:, 0].to(maps[0].dtype)
        out_BCDHW = maps[0] * skips[0]
        for x_BCDHW, share in zip(maps[1:], skips[1:], strict=True):
            out_BCDHW = torch.addcmul(out_BCDHW, x_BCDHW, share)
        for edge, x_BCDHW in enumerate(maps):
            relu_BCDHW = rectified(x_BCDHW)
            with computed_again(x_BCDHW, relu_BCDHW) if lean else nullcontext():
                for number, operation in enumerate(self.operations, start=1):
                    share = share_EK[edge, number]
                    out_BCDHW = out_BCDHW + cast(GroupedOperation, operation).of_edge(edge, relu_BCDHW, share)
        return out_BCDHW

    def _at_once(self, share_EK: torch.Tensor, maps: list[torch.Tensor], lean: bool) -> torch.Tensor:
        """Compute all edges concatenated. maps: as in `_in_turn`."""
        x_BECDHW = torch.stack(maps, dim=1)
        x_BCDHW = x_BECDHW.flatten(1, 2)
        relu_BCDHW = rectified(x_BCDHW)
        # a product with a row of shares sums over the edges without a weighted copy of each map
        out_BCDHW = (share_EK[:, 0].to(x_BECDHW.dtype) @ x_BECDHW.flatten(2)).view_as(x_BECDHW[:, 0])
        with computed_again(x_BCDHW, relu_BCDHW) if lean else nullcontext():
            for number, operation in enumerate(self.operations, start=1):
                out_BCDHW = out_BCDHW + operation(relu_BCDHW, share_EK[:, number])
        return out_BCDHW
