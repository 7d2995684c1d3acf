"""Costs of one network, counted on a copy without data: parameters, MACs, bytes and memory of activations."""

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


@dataclass(frozen=True, slots=True)
class Profile:
    """Exact costs of one forward pass.

    params: trainable parameters. macs: multiply-accumulates of convolutions and matrix products. bytes: parameters
    and buffers as stored. activation_bytes: the largest sum of tensors alive at once in inference, input included.
    """

    params: int
    macs: int
    bytes: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        return 2 * self.macs


class _LiveBytes(TorchDispatchMode):
    """Follows the storages that operators make and tells the largest sum alive at one time."""

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
    """Costs of `model` on an input of `input_shape` (B, C, D, H, W), counted on a copy without data.

    MACs by torch's FlopCounterMode, which counts two operations per multiply-accumulate; the model is left as it was.
    Raises NASError where the model does not accept the shape.
    """
    on_meta = all(parameter.is_meta for parameter in model.parameters())
    ghost = (model if on_meta else copy.deepcopy(model).to("meta")).eval()
    training = model.training
    state = [*ghost.parameters(), *ghost.buffers()]
    counter, live = FlopCounterMode(display=False), _LiveBytes(state)
    with torch.no_grad():
        x = torch.empty(tuple(input_shape), device="meta")
        live.hold(x)
        with _refusing(model, input_shape), live, counter:
            ghost(x)
    model.train(training)
    return Profile(
        params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=counter.get_total_flops() // 2,
        bytes=sum(t.numel() * t.element_size() for t in state),
        activation_bytes=live.peak,
    )


def training_bytes(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Bytes in fp32 of what one forward pass in training mode keeps for the gradients, on an input of `input_shape`
    (B, C, D, H, W) that asks for one too: storages that are shared once, parameters and buffers never.

    It is what a training step needs beside weights, gradients and the optimiser's state. Counted on a copy without
    data. Raises NASError where the model does not accept the shape.
    """
    ghost = copy.deepcopy(model).to("meta").train()
    own = {tensor.untyped_storage()._cdata for tensor in (*ghost.parameters(), *ghost.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # held, lest the address of one that is freed stands for another

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    x = torch.empty(tuple(input_shape), device="meta", requires_grad=True)
    target = (torch.zeros(len(x), dtype=torch.long, device="meta"),) if getattr(ghost, "needs_target", False) else ()
    with _refusing(model, input_shape), saved_tensors_hooks(keep, lambda tensor: tensor):
        ghost(x, *target)
    return sum(storage.nbytes() for storage in kept.values())


@contextmanager
def _refusing(model: nn.Module, input_shape: Sequence[int]) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        raise NASError(
            f"{type(model).__name__} failing on an input of shape {tuple(input_shape)} ({error})",
            "a shape (B, C, D, H, W) that the network accepts",
            "check the channels and sides of the data",
        ) from error
