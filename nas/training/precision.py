"""bf16 autocast, and what the CPU needs beside it: its convolutions over a few voxels as matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

LARGEST_GROWTH = 4  # a product's matrix may hold this many times the convolution's weights


@contextmanager
def autocast(device: torch.device, bf16: bool, small_convolutions: bool = True) -> Iterator[None]:
    """bf16 or plain fp32; parameters, losses and optimiser states are fp32 in any case. small_convolutions: treat them
    apart on a CPU, which bf16 needs there and torch.compile cannot follow."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        if device.type == "cpu" and small_convolutions:
            with _SmallConvolutions():
                yield
        else:
            yield


class _SmallConvolutions(TorchFunctionMode):
    """Convolutions whose kernel is at least as long as the volume, computed in fp32 and, where it pays, as a product.

    Right: oneDNN (3.12, in torch 2.13) reads uninitialised memory in the bf16 weight gradient of a 3x3x3 convolution
    over 2x2x2 voxels, and writes out of bounds for 7x7x7 over 4x4x4: gradients that are NaN, or merely wrong.
    Fast: over 2x2x2 voxels every output sees every input, so that one matrix product does it in 40 % of the time.
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
    if not (plain and same and sees_all and voxels**2 <= LARGEST_GROWTH * math.prod(kernel)):
        return torch.conv3d(x_BCDHW, weight_OCDHW, bias, stride, padding, dilation, groups)
    outputs, channels = weight_OCDHW.shape[:2]
    weight_OTC = weight_OCDHW.flatten(2).transpose(1, 2)  # in the channels-last layout a view
    matrix = weight_OTC.index_select(1, _taps(sides, kernel)).view(outputs, voxels, voxels, channels).transpose(0, 1)
    x_BM = x_BCDHW.permute(0, 2, 3, 4, 1).reshape(len(x_BCDHW), voxels * channels)
    y_BM = F.linear(x_BM, matrix.reshape(voxels * outputs, voxels * channels))
    y_BODHW = y_BM.view(len(x_BCDHW), *sides, outputs).permute(0, 4, 1, 2, 3)
    return y_BODHW if bias is None else y_BODHW + bias.view(1, -1, 1, 1, 1)


@lru_cache(maxsize=64)
def _taps(sides: tuple[int, ...], kernel: tuple[int, ...]) -> torch.Tensor:
    """(voxels^2,): for each output voxel and each input voxel the number of the kernel's tap between them."""
    at = torch.cartesian_prod(*[torch.arange(side) for side in sides])
    tap = at[None, :] - at[:, None] + torch.tensor([length // 2 for length in kernel])
    return ((tap[..., 0] * kernel[1] + tap[..., 1]) * kernel[2] + tap[..., 2]).flatten()


def _triple(value: Any) -> tuple[Any, ...]:
    """A convolution's argument per axis; a padding given by a word ("same") fits no number."""
    return (value,) * 3 if isinstance(value, int | str) else tuple(value)


def _to_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
