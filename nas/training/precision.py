"""bf16 autocast, with convolutions over a few voxels or with few channels as faster operations on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nas.training.convolutions import folded_conv3d, is_small, small_conv3d


@contextmanager
def autocast(device: torch.device, bf16: bool, small_convolutions: bool = True) -> Iterator[None]:
    """Run the body in bf16 or fp32. Parameters, losses and optimiser states are fp32 in both cases.

    Args:
        device: Device of the computation.
        bf16: If True, use bf16.
        small_convolutions: If True, compute small convolutions on a CPU in fp32, which correct bf16 gradients need, and
            those with few channels in a faster form. torch.compile does not support it.

    Yields:
        None.
    """
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        if device.type == "cpu" and small_convolutions:
            with _FastConvolutions():
                yield
        else:
            yield


class _FastConvolutions(TorchFunctionMode):
    """Compute convolutions on a CPU by the operation that is right, and fastest.

    Correctness: oneDNN (3.12, in torch 2.13) reads uninitialised memory in the bf16 weight gradient of a 3x3x3
    convolution over 2x2x2 voxels, and writes out of bounds for 7x7x7 over 4x4x4: gradients are NaN or wrong. Those with
    a kernel at least as long as the volume are computed in fp32.
    Speed: over 2x2x2 voxels every output depends on every input, and one matrix product takes 40 % of the time. Those
    with few channels are folded.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.conv3d:
            return func(*args, **kwargs)
        if is_small(args[0], args[1]):
            with torch.autocast("cpu", enabled=False):
                return small_conv3d(*map(_to_fp32, args), **{name: _to_fp32(value) for name, value in kwargs.items()})
        folded = folded_conv3d(*args, **kwargs)
        return func(*args, **kwargs) if folded is None else folded


def _to_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value
