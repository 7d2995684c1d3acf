"""Batch normalisation with ReLU of maps with few channels, for training on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from search_spaces.layers.rows import as_rows, channels_of_rows, each_voxel, on_cpu_rows

MAX_CHANNELS = 15  # PyTorch's own kernels for channels-last maps are fast from 16 channels on


def norm_relu(x_BCDHW: torch.Tensor, norm: nn.Module, relu: nn.Module) -> torch.Tensor:
    """Compute relu(norm(x)), in the training of a map with few channels by one function for both.

    Args:
        x_BCDHW: Map (B, C, D, H, W).
        norm: Normalisation; only `nn.BatchNorm3d` in training is replaced.
        relu: The ReLU.

    Returns:
        Map of the same shape and layout, up to rounding that of the two layers.
    """
    few = x_BCDHW.shape[1] <= MAX_CHANNELS
    if type(norm) is not nn.BatchNorm3d or not (few and norm.training and norm.affine and on_cpu_rows(x_BCDHW)):
        return relu(norm(x_BCDHW))
    if norm.momentum is None:
        return relu(norm(x_BCDHW))
    y_BCDHW, mean_C, variance_C = _NormReLU.apply(x_BCDHW, norm.weight, norm.bias, norm.eps)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        count = x_BCDHW.numel() // x_BCDHW.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(mean_C, norm.momentum)
            norm.running_var.lerp_(variance_C * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
    return y_BCDHW


class _NormReLU(torch.autograd.Function):
    """PyTorch's kernels on rows of voxels, whose W x C channels fill the registers, with statistics of C channels.

    In evaluation mode these kernels take given statistics; the gradient through the statistics is added.
    """

    @staticmethod
    def forward(
        ctx: Any, x_BCDHW: torch.Tensor, weight_C: torch.Tensor, bias_C: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        channels, side = len(weight_C), x_BCDHW.shape[-1]
        x = as_rows(x_BCDHW)
        unused = weight_C.new_zeros(2, side * channels)  # running statistics; their type is that of the result
        mean, variance = (
            part.view(side, channels) for part in torch.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
        )
        mean_C = mean.mean(dim=0)
        variance_C = (variance + (mean - mean_C).square()).mean(dim=0)
        given = [each_voxel(part, side) for part in (mean_C, variance_C, weight_C, bias_C)]
        y = torch.batch_norm(x, given[2], given[3], given[0], given[1], False, 0.0, eps, False).relu_()
        ctx.save_for_backward(x, y, *given[:3])
        ctx.eps, ctx.channels = eps, channels
        y_BCDHW = channels_of_rows(y, channels)
        ctx.mark_non_differentiable(mean_C, variance_C)
        return y_BCDHW, mean_C, variance_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BCDHW: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, y, mean, variance, weight = ctx.saved_tensors
        side, channels = len(weight) // ctx.channels, ctx.channels
        dy = torch.ops.aten.threshold_backward(as_rows(dy_BCDHW), y, 0)
        wanted = [True, True, True]
        dx, *parts = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, ctx.eps, wanted
        )
        dweight_C, dbias_C = (part.view(side, channels).sum(dim=0) for part in parts)
        scale = weight * (variance + ctx.eps).rsqrt() / (x.numel() // channels)
        through = [-scale * each_voxel(part, side) for part in (dweight_C, dbias_C)]
        dx += torch.batch_norm(x, through[0], through[1], mean, variance, False, 0.0, ctx.eps, False)
        return channels_of_rows(dx, channels), dweight_C, dbias_C, None
