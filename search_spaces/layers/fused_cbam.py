"""The attention of NAS-Lung as one function, for training on a CPU: `PublishedCBAM3D.plain` is its definition.

Large maps are read and written 9 times instead of about 30. Sums, maxima and copies over few channels, which PyTorch
computes one voxel at a time, are matrix products with 0 and 1 and operations on whole rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CACHED = 2**17  # values of a map that are computed together
FEW = 8  # channels, up to which voxels of a row are handled together


def fused_cbam(
    x_BCDHW: torch.Tensor, squeeze: torch.Tensor, excite: torch.Tensor, spatial: torch.Tensor
) -> torch.Tensor:
    """Weigh the voxels of a map.

    Args:
        x_BCDHW: Channels-last map (B, C, D, H, W).
        squeeze: Weight (C // 4, C) of the first linear map.
        excite: Weight (C, C // 4) of the second one.
        spatial: Weight (1, 2, 3, 3, 3) of the convolution.

    Returns:
        Channels-last map of the same shape.
    """
    return _FusedCBAM.apply(x_BCDHW, squeeze, excite, spatial)


def _channel_gate(
    mean_BC: torch.Tensor, most_BC: torch.Tensor, squeeze: torch.Tensor, excite: torch.Tensor
) -> torch.Tensor:
    """Compute the weights of the channels.

    Args:
        mean_BC: Means over the volume.
        most_BC: Maxima over the volume.
        squeeze: Weights (R, C) of the first linear layer.
        excite: Weights (C, R) of the second one.

    Returns:
        (B, C) softmax over channels of the sum of both bottlenecks.
    """
    hidden = F.linear(mean_BC, squeeze), F.linear(most_BC, squeeze)
    return (F.linear(hidden[0], excite) + F.linear(hidden[1], excite)).softmax(dim=1)


class _FusedCBAM(torch.autograd.Function):
    """Gradients of the two small networks are those of autograd; the rest is written out.

    Of equal maxima each gets the same share of the gradient, as `torch.amax` has it. Large maps are computed some
    samples at a time, so that intermediate results stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BCDHW: torch.Tensor, squeeze: torch.Tensor, excite: torch.Tensor, spatial: torch.Tensor
    ) -> torch.Tensor:
        rows = _Rows(x_BCDHW)
        x = rows.of(x_BCDHW)
        exact = torch.promote_types(x.dtype, torch.float32)
        mean_BC = torch.cat([rows.summed(some, exact) for some in rows.samples(x)]).div_(rows.voxels).to(x.dtype)
        most_BC = torch.cat([rows.over_places(some.amax(dim=1)).amax(dim=1) for some in rows.samples(x)])
        small = [part.detach().requires_grad_() for part in (mean_BC, most_BC, squeeze, excite, spatial)]
        with torch.enable_grad():
            share_BC = _channel_gate(*small[:4])
        share = rows.each_place(share_BC.detach().to(x.dtype))
        pair = x.new_empty(len(x), rows.voxels, 2)
        for some, weight, out in zip(*map(rows.samples, (x, share, pair)), strict=True):
            weighted = some * weight
            out[..., 0] = rows.most(weighted)
            out[..., 1] = rows.total(weighted)
        pair[..., 1] /= rows.channels
        pair_B2DHW = pair.view(*rows.sides, 2).permute(0, 4, 1, 2, 3).requires_grad_()
        with torch.enable_grad():
            gate_B1DHW = F.conv3d(pair_B2DHW, small[4], padding=1).sigmoid()
        gate = gate_B1DHW.detach().reshape(len(x), rows.voxels).to(x.dtype)
        y = torch.empty_like(x)
        for some, own, out in zip(*map(rows.samples, (x, gate, y)), strict=True):
            torch.addcmul(some, some, rows.spread(own), out=out)
        ctx.rows, ctx.small, ctx.graphs = rows, small, (share_BC, pair_B2DHW, gate_B1DHW)
        ctx.save_for_backward(x, gate, share, most_BC)
        return rows.back(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BCDHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, gate, share, most_BC = ctx.saved_tensors
        rows, (mean_leaf, most_leaf, squeeze, excite, spatial) = ctx.rows, ctx.small
        share_BC, pair_B2DHW, gate_B1DHW = ctx.graphs
        exact = torch.promote_types(x.dtype, torch.float32)
        dy = rows.of(dy_BCDHW).to(x.dtype)
        dgate = torch.cat([rows.total(some * own) for some, own in zip(rows.samples(dy), rows.samples(x), strict=True)])
        dgate_B1DHW = dgate.view(*rows.sides, 1).permute(0, 4, 1, 2, 3).to(gate_B1DHW.dtype)
        dpair_B2DHW, dspatial = torch.autograd.grad(gate_B1DHW, (pair_B2DHW, spatial), dgate_B1DHW)
        dpair = dpair_B2DHW.permute(0, 2, 3, 4, 1).reshape(len(x), rows.voxels, 2)
        dx, dshares, counts = torch.empty_like(x), [], []
        parts = (x, share, gate, most_BC, dy, dpair, dx)
        for some, weight, own, peak, dsome, dtwo, out in zip(*map(rows.samples, parts), strict=True):
            weighted = some * weight
            most = rows.most(weighted)
            is_most = torch.eq(weighted, rows.spread(most), out=weighted)
            dmost = dtwo[..., 0] / rows.total(is_most)
            dweighted = is_most.mul_(rows.spread(dmost)).add_(rows.spread(dtwo[..., 1] / rows.channels))
            torch.addcmul(dsome, dsome, rows.spread(own), out=out)
            out.addcmul_(dweighted, weight)
            dshares.append(rows.summed(dweighted.mul_(some), exact))
            counts.append(rows.summed(torch.eq(some, rows.each_place(peak), out=dweighted), exact))
        dshare = torch.cat(dshares).to(share_BC.dtype)
        leaves = (mean_leaf, most_leaf, squeeze, excite)
        dmean, dmost_BC, dsqueeze, dexcite = torch.autograd.grad(share_BC, leaves, dshare)
        even = rows.each_place((dmean / rows.voxels).to(x.dtype))
        at_peak = rows.each_place((dmost_BC / torch.cat(counts)).to(x.dtype))
        for some, peak, add, more, out in zip(*map(rows.samples, (x, most_BC, even, at_peak, dx)), strict=True):
            is_peak = torch.eq(some, rows.each_place(peak), out=torch.empty_like(some))
            out.addcmul_(is_peak, more).add_(add)
        return rows.back(dx), dsqueeze, dexcite, dspatial


class _Rows:
    """Operations on the values (B, places, F) of a channels-last map: F are the channels of one or several voxels."""

    def __init__(self, x_BCDHW: torch.Tensor) -> None:
        batch, self.channels, *sides = x_BCDHW.shape
        self.sides = (batch, *sides)
        self.together = sides[-1] if self.channels <= FEW else 1  # voxels in a row
        self.voxels = sides[0] * sides[1] * sides[2]
        self.at_once = max(1, CACHED // (self.channels * self.voxels))

    def of(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        x_BCDHW = x_BCDHW.contiguous(memory_format=torch.channels_last_3d)
        return x_BCDHW.permute(0, 2, 3, 4, 1).reshape(self.sides[0], -1, self.together * self.channels)

    def back(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*self.sides, self.channels).permute(0, 4, 1, 2, 3)

    def samples(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split a batch."""
        return values.split(self.at_once)

    def summed(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Sum over the voxels, (B, places, F) -> (B, C)."""
        return self.over_places(x.sum(dim=1, dtype=dtype)).sum(dim=1)

    def over_places(self, value: torch.Tensor) -> torch.Tensor:
        """(B, F) -> (B, voxels of a row, C)."""
        return value.view(-1, self.together, self.channels)

    def each_place(self, value_BC: torch.Tensor) -> torch.Tensor:
        """(B, C) -> (B, 1, F)."""
        return value_BC.repeat(1, self.together)[:, None]

    def spread(self, value: torch.Tensor) -> torch.Tensor:
        """Give the value of a voxel (B, V) to its channels: (B, places, F), or (B, V, 1), which broadcasts."""
        if self.together == 1:
            return value[..., None]
        rows = value.reshape(len(value), -1, self.together)
        with torch.autocast("cpu", enabled=False):
            return rows @ _copies(self.together, self.channels, value.dtype)

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Sum over the channels of each voxel, (B, places, F) -> (B, V)."""
        if self.together == 1:
            return x.sum(dim=2)
        with torch.autocast("cpu", enabled=False):
            return (x @ _copies(self.together, self.channels, x.dtype).T).flatten(1)

    def most(self, x: torch.Tensor) -> torch.Tensor:
        """Maximum over the channels of each voxel, (B, places, F) -> (B, V)."""
        if self.together == 1:
            return x.amax(dim=2)
        parts = list(x.unflatten(2, (self.together, self.channels)).unbind(dim=3))
        while len(parts) > 1:
            parts = [
                torch.maximum(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)
            ]
        return parts[0].flatten(1)


@lru_cache(maxsize=32)
def _copies(voxels: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
    """Make the matrix (W, W x C) of 0 and 1 that copies the value of a voxel to its channels."""
    with torch.inference_mode(False):
        return torch.eye(voxels, dtype=dtype).repeat_interleave(channels, dim=1)
