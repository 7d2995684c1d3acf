"""Profile of one network on the meta device: parameters, MACs, bytes and memory of activations."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import NASError
from nas.network_traits import takes_target
from nas.tasks.base import evaluation_mode


@dataclass(frozen=True, slots=True)
class Profile:
    """Exact costs of one forward pass.

    Attributes:
        params: Number of trainable parameters.
        macs: Multiply-accumulates of convolutions and matrix products.
        bytes: Size of parameters and buffers.
        activation_bytes: Largest sum of live tensors in inference, input included.
    """

    params: int
    macs: int
    bytes: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations, two per multiply-accumulate."""
        return 2 * self.macs


class _LiveBytes(TorchDispatchMode):
    """Track the storages that operators allocate and the largest sum alive at one time."""

    def __init__(self, known: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._live: dict[int, int] = {}
        self.peak = 0

    def hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known or key in self._live:
            return
        self._live[key] = storage.nbytes()
        weakref.finalize(storage, self._live.pop, key, None)
        self.peak = max(self.peak, sum(self._live.values()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.hold(leaf)
        return out


def profile(model: nn.Module, input_shape: Sequence[int]) -> Profile:
    """Count the costs of a forward pass in evaluation mode, on the meta device; the model is not changed.

    MACs are half of the operations counted by torch's FlopCounterMode.

    Args:
        model: Network to profile.
        input_shape: (B, C, D, H, W).

    Returns:
        The costs for the whole batch.

    Raises:
        NASError: If the network does not accept the shape.
    """
    on_meta = all(parameter.is_meta for parameter in model.parameters())
    ghost = model if on_meta else copy.deepcopy(model).to("meta")
    state = [*ghost.parameters(), *ghost.buffers()]
    counter, live = FlopCounterMode(display=False), _LiveBytes(state)
    with evaluation_mode(ghost), torch.no_grad():
        x = torch.empty(tuple(input_shape), device="meta")
        live.hold(x)
        with _shape_errors(model, input_shape), live, counter:
            ghost(x)
    return Profile(
        params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=counter.get_total_flops() // 2,
        bytes=sum(t.numel() * t.element_size() for t in state),
        activation_bytes=live.peak,
    )


def training_bytes(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Count the bytes that autograd saves in one fp32 forward pass in training mode.

    A training step needs them in addition to weights, gradients and the optimiser's state. The input requires a
    gradient too. Shared storages count once, parameters and buffers not at all. Counted on a copy without data.

    Args:
        model: Network to profile.
        input_shape: (B, C, D, H, W).

    Returns:
        Bytes for the whole batch.

    Raises:
        NASError: If the network does not accept the shape.
    """
    ghost = copy.deepcopy(model).to("meta").train()
    own = {tensor.untyped_storage()._cdata for tensor in (*ghost.parameters(), *ghost.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}  # holds the storages, so that no address is used a second time

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            saved[storage._cdata] = storage
        return tensor

    x = torch.empty(tuple(input_shape), device="meta", requires_grad=True)
    target = (torch.zeros(len(x), dtype=torch.long, device="meta"),) if takes_target(ghost) else ()
    with _shape_errors(model, input_shape), saved_tensors_hooks(pack, lambda tensor: tensor):
        ghost(x, *target)
    return sum(storage.nbytes() for storage in saved.values())


@contextmanager
def _shape_errors(model: nn.Module, input_shape: Sequence[int]) -> Iterator[None]:
    """Raise NASError instead of torch's errors for a wrong input shape."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        raise NASError(
            f"input_shape={tuple(input_shape)} for {type(model).__name__} ({error})",
            "a shape (B, C, D, H, W) that the network accepts",
            "change the number of channels or the size of the images",
        ) from error
