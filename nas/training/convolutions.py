"""3D convolutions over few voxels or with few channels as other operations that a CPU computes faster."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

MAX_GROWTH = 4  # size limit of the matrix of a small convolution, relative to the weights of the convolution
MAX_CHANNELS = 8  # of a convolution that is folded; wider ones fill the registers of a CPU by themselves
MAX_FOLDED = {False: 64, True: 128}  # channels of a folded convolution in fp32, and in bf16


def is_small(x_BCDHW: torch.Tensor, weight_OCDHW: torch.Tensor) -> bool:
    """Return whether a kernel is at least as long as the volume along an axis.

    Args:
        x_BCDHW: Input of a convolution.
        weight_OCDHW: Its weight.

    Returns:
        True if it is, for a kernel longer than one voxel.
    """
    sizes = zip(x_BCDHW.shape[-3:], weight_OCDHW.shape[-3:], strict=True)
    return any(1 < length >= side for side, length in sizes)


def folded_conv3d(
    x_BCDHW: torch.Tensor,
    weight_OCDHW: torch.Tensor,
    bias_O: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor | None:
    """Compute a convolution with few channels as one over slices, whose channels are the voxels of a row.

    In a channels-last map the channels of a row of W voxels are adjacent, so that it is also a map of W x C channels
    without a third axis. The weight of the convolution over it holds each kernel once for each voxel of the row, and
    zeros: more operations, but full registers.

    Args:
        x_BCDHW: Map (B, C, D, H, W).
        weight_OCDHW: Weight (O, C, kd, kh, kw).
        bias_O: Bias (O,), or None.
        stride: As that of `torch.conv3d`.
        padding: As that of `torch.conv3d`.
        dilation: As that of `torch.conv3d`.
        groups: As that of `torch.conv3d`.

    Returns:
        The map (B, O, D', H', W'), channels-last, as `torch.conv3d` gives it up to rounding; None if the convolution
        cannot be folded or would not be faster.
    """
    if x_BCDHW.ndim != 5 or groups != 1 or set(triple(dilation)) != {1} or isinstance(padding, str):
        return None
    steps, pads = triple(stride), triple(padding)
    outputs, channels, *_, length = weight_OCDHW.shape
    side = x_BCDHW.shape[-1]
    columns = (side + 2 * pads[2] - length) // steps[2] + 1
    most = MAX_FOLDED[torch.is_autocast_enabled("cpu")]
    if length == 1 or max(channels, outputs) > MAX_CHANNELS or max(side * channels, columns * outputs) > most:
        return None
    if not x_BCDHW.is_contiguous(memory_format=torch.channels_last_3d):
        return None
    row_BPDH = x_BCDHW.permute(0, 2, 3, 4, 1).flatten(3).permute(0, 3, 1, 2)
    with torch.autocast("cpu", enabled=False):  # gradients of the copies of a kernel are added in its own type
        place_LJI = _places(side, columns, length, steps[2], pads[2]).to(weight_OCDHW.dtype)
        weight_JOICDH = torch.tensordot(weight_OCDHW, place_LJI, dims=([4], [0])).permute(4, 0, 5, 1, 2, 3)
    weight = weight_JOICDH.flatten(0, 1).flatten(1, 2)
    bias = None if bias_O is None else bias_O.repeat(columns)
    y_BQDH = F.conv2d(row_BPDH, weight, bias, steps[:2], pads[:2])
    y_BDHQ = y_BQDH.permute(0, 2, 3, 1).contiguous()
    return y_BDHQ.unflatten(3, (columns, outputs)).permute(0, 4, 1, 2, 3)


@lru_cache(maxsize=64)
def _places(side: int, columns: int, length: int, step: int, pad: int) -> torch.Tensor:
    """1 where an element of the kernel lies between an output voxel and an input voxel of a row: (length, out, in)."""
    tap = torch.arange(side)[None] - step * torch.arange(columns)[:, None] + pad
    return (torch.arange(length)[:, None, None] == tap[None]).float()


def small_conv3d(
    x_BCDHW: torch.Tensor,
    weight_OCDHW: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """Compute a convolution whose outputs depend on all voxels as one matrix product, others as PyTorch does.

    Args:
        x_BCDHW: Map (B, C, D, H, W).
        weight_OCDHW: Weight (O, C, kd, kh, kw).
        bias: Bias (O,), or None.
        stride: As that of `torch.conv3d`.
        padding: As that of `torch.conv3d`.
        dilation: As that of `torch.conv3d`.
        groups: As that of `torch.conv3d`.

    Returns:
        The map (B, O, D', H', W').
    """
    sides, kernel = tuple(x_BCDHW.shape[-3:]), tuple(weight_OCDHW.shape[-3:])
    plain = set(triple(stride)) == set(triple(dilation)) == {1} and groups == 1 and x_BCDHW.ndim == 5
    same = all(
        isinstance(pad, int) and length == 2 * pad + 1 for length, pad in zip(kernel, triple(padding), strict=True)
    )
    sees_all = all(side - 1 <= length // 2 for side, length in zip(sides, kernel, strict=True))
    voxels = math.prod(sides)
    if not (plain and same and sees_all and voxels**2 <= MAX_GROWTH * math.prod(kernel)):
        return torch.conv3d(x_BCDHW, weight_OCDHW, bias, stride, padding, dilation, groups)
    outputs, channels = weight_OCDHW.shape[:2]
    weight_OTC = weight_OCDHW.flatten(2).transpose(1, 2)  # a view in channels-last layout
    matrix = weight_OTC.index_select(1, _taps(sides, kernel)).view(outputs, voxels, voxels, channels).transpose(0, 1)
    x_BM = x_BCDHW.permute(0, 2, 3, 4, 1).reshape(len(x_BCDHW), voxels * channels)
    y_BM = F.linear(x_BM, matrix.reshape(voxels * outputs, voxels * channels))
    y_BODHW = y_BM.view(len(x_BCDHW), *sides, outputs).permute(0, 4, 1, 2, 3)
    return y_BODHW if bias is None else y_BODHW + bias.view(1, -1, 1, 1, 1)


@lru_cache(maxsize=64)
def _taps(sides: tuple[int, ...], kernel: tuple[int, ...]) -> torch.Tensor:
    """Index (voxels^2,) of the kernel element between each output voxel and each input voxel."""
    position = torch.cartesian_prod(*[torch.arange(side) for side in sides])
    tap = position[None, :] - position[:, None] + torch.tensor([length // 2 for length in kernel])
    return ((tap[..., 0] * kernel[1] + tap[..., 1]) * kernel[2] + tap[..., 2]).flatten()


def triple(value: Any) -> tuple[Any, ...]:
    """Return the argument of a convolution for each axis.

    Args:
        value: A number, a text ("same"), or one value for each axis.

    Returns:
        Three values.
    """
    return (value,) * 3 if isinstance(value, int | str) else tuple(value)
