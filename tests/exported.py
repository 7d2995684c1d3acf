"""Networks to export: with lively statistics, and an input that they take, whatever their space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from nas.errors import NASError

SIDES = (8, 16, 32, 64, 128)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
T = TypeVar("T")


class OfUnitSize(nn.Module):
    """A network whose outputs are divided by a number: logits of about 1, whatever its weights are at the start."""

    def __init__(self, network: nn.Module, size: float) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x_BCDHW: torch.Tensor) -> Any:
        return tree_map(lambda out: out / self.size, self.network(x_BCDHW))


def lively(network: nn.Module, shape: tuple[int, ...] | None = None) -> nn.Module:
    """In inference, with statistics of batch normalisation as after a training and outputs of about 1: with its first
    statistics a deep network says nearly the same of everything, and a fault would not be seen."""
    shape = shape or smallest_input(network.eval())
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
    if not layers:
        return network.eval()
    for layer in layers:
        layer.momentum = None  # the mean over all batches seen from now on
        layer.reset_running_stats()
        layer.train()
    generator = torch.Generator().manual_seed(0)
    x_BCDHW = torch.randn(2, *shape, generator=generator)
    with torch.no_grad():
        network(torch.randn(6, shape[0], 2 * shape[1], *shape[2:], generator=generator))
        for layer in layers:  # over so few values some channels hardly vary, and would be blown up on others
            layer.running_var.clamp_(min=float(layer.running_var.mean()))  # type: ignore[union-attr]
        said = tree_leaves(network.eval()(x_BCDHW[:2]))
    size = max(float(out.abs().max()) for out in said)
    assert max(float((out[0] - out[1]).abs().max()) for out in said) > 0.01 * size, "it says the same of everything"
    return OfUnitSize(network, size).eval()


def smallest_input(network: nn.Module) -> tuple[int, ...]:
    return next(inputs(network))


def inputs(network: nn.Module) -> Iterator[tuple[int, ...]]:
    """(C, D, H, W), in 2D (C, H, W), of the cubes that the network takes, the smallest first. (Not of smaller boxes:
    instance normalisation over the two voxels that these leave at the bottom blows rounding errors up.)"""
    first = next(layer for layer in network.modules() if isinstance(layer, CONVOLUTIONS))
    for side in SIDES:
        shape = (first.in_channels, *[side] * (first.weight.ndim - 2))
        try:
            with torch.inference_mode():
                network(torch.zeros(1, *shape))
        except (NASError, RuntimeError, ValueError):
            continue
        yield shape


def at_the_smallest_size(network: nn.Module, work: Callable[[nn.Module, tuple[int, ...]], T]) -> T:
    """`work` on the network, made lively, and the smallest input for which ONNX has all of its layers."""
    for shape in inputs(network.eval()):
        try:
            return work(lively(network, shape), shape)
        except NASError as error:
            if "a layer that ONNX lacks" not in str(error):
                raise
    raise AssertionError(f"{type(network).__name__} takes no cube of {SIDES} that ONNX has layers for")
