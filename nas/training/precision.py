"""bf16 autocast, with convolutions over a few voxels as matrix products on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

MAX_GROWTH = 4  # size limit of the matrix, relative to the weights of the convolution


@contextmanager
def autocast(device: torch.device, bf16: bool, small_convolutions: bool = True) -> Iterator[None]:
    """Run the body in bf16 or fp32. Parameters, losses and optimiser states are fp32 in both cases.

    Args:
        device: Device of the computation.
        bf16: If True, use bf16.
        small_convolutions: If True, compute small convolutions on a CPU in fp32, which correct bf16 gradients need.
            torch.compile does not support it.

    Yields:
        None.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        if device.type == "cpu" and small_convolutions:
            with _SmallConvolutions():
                yield
        else:
            yield


class _SmallConvolutions(TorchFunctionMode):
    """Compute convolutions with a kernel at least as long as the volume in fp32, as matrix products if that is faster.

    Correctness: oneDNN (3.12, in torch 2.13) reads uninitialised memory in the bf16 weight gradient of a 3x3x3
    convolution over 2x2x2 voxels, and writes out of bounds for 7x7x7 over 4x4x4: gradients are NaN or wrong.
    Speed: over 2x2x2 voxels every output depends on every input, and one matrix product takes 40 % of the time.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv3d and _is_small(args[0], args[1]):
            with torch.autocast("cpu", enabled=False):
                return _small_conv3d(*map(_to_fp32, args), **{name: _to_fp32(value) for name, value in kwargs.items()})
        return func(*args, **kwargs)


def _is_small(x_BCDHW: torch.Tensor, weight_OCDHW: torch.Tensor) -> bool:
    sizes = zip(x_BCDHW.shape[-3:], weight_OCDHW.shape[-3:], strict=True)
    return any(1 < length >= side for side, length in sizes)


def _small_conv3d(
    x_BCDHW: torch.Tensor,
    weight_OCDHW: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    sides, kernel = tuple(x_BCDHW.shape[-3:]), tuple(weight_OCDHW.shape[-3:])
    plain = set(_triple(stride)) == set(_triple(dilation)) == {1} and groups == 1 and x_BCDHW.ndim == 5
    same = all(
        isinstance(pad, int) and length == 2 * pad + 1 for length, pad in zip(kernel, _triple(padding), strict=True)
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


def _triple(value: Any) -> tuple[Any, ...]:
    """Argument of a convolution per axis; a padding given as a string ("same") is repeated too."""
    return (value,) * 3 if isinstance(value, int | str) else tuple(value)


def _to_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
