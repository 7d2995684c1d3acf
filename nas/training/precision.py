"""bf16 autocast, with the convolutions that the CPU's library computes wrongly kept in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


@contextmanager
def autocast(device: torch.device, bf16: bool) -> Iterator[None]:
    """bf16 where it is safe, or plain fp32. Parameters, losses and optimiser states are fp32 in any case."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        if bf16 and device.type == "cpu":
            with _SmallConvolutionsInFp32():
                yield
        else:
            yield


class _SmallConvolutionsInFp32(TorchFunctionMode):
    """Convolutions whose kernel is as long as the volume, or longer, leave autocast.

    oneDNN (3.12, in torch 2.13) reads uninitialised memory in the bf16 weight gradient of a 3x3x3 convolution over
    2x2x2 voxels and writes out of bounds for 7x7x7 over 4x4x4: gradients that are NaN, or merely wrong. fp32 is
    right, and at these sizes costs nothing.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in CONVOLUTIONS and _is_small(args[0], args[1]):
            with torch.autocast("cpu", enabled=False):
                return func(
                    *(_to_fp32(value) for value in args), **{key: _to_fp32(value) for key, value in kwargs.items()}
                )
        return func(*args, **kwargs)


def _is_small(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return any(side <= length for side, length in zip(x.shape[2:], weight.shape[2:], strict=True))


def _to_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
