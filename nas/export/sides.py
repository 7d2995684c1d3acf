"""The input sides that a network takes, found by trying."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from nas.errors import NASError
from nas.inference.model_spec import Sides

STEPS = (1, 2, 4, 8, 16, 32, 64)  # the sides of an input may have to be multiples of one of these
REFUSALS = (NASError, RuntimeError, ValueError, TypeError)  # exceptions of networks for unsupported sides


def free_sides(model: nn.Module, input_shape: Sequence[int]) -> Sides:
    """Find the sides that a network takes by running a copy without data (meta device).

    Args:
        model: The network.
        input_shape: Shape of an input that the network takes: (C, D, H, W), in 2D (C, H, W).

    Returns:
        The rule for its sides.
    """
    channels, *sides = input_shape
    # deepcopy finds every tensor in this memo, so that no weights are copied
    ghost = copy.deepcopy(model, {id(tensor): _without_data(tensor) for tensor in tensors_of(model)}).eval()
    for step in STEPS:
        if any(side % step for side in sides) or _refuses(ghost, (channels, *(side + step for side in sides))):
            continue
        smaller = range(step, min(sides), step)
        least = next((side for side in smaller if not _refuses(ghost, (channels, *[side] * len(sides)))), max(sides))
        return Sides(multiple_of=step, at_least=least)
    return Sides(fixed=tuple(sides))


def _refuses(ghost: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a network on the meta device does not take a shape."""
    try:
        with torch.no_grad():
            ghost(torch.empty(1, *shape, device="meta"))
    except REFUSALS:
        return True
    return False


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    """Return parameters and buffers.

    Args:
        model: The network.

    Returns:
        The tensors, not copied.
    """
    return [*model.parameters(), *model.buffers()]


def _without_data(tensor: torch.Tensor) -> torch.Tensor:
    ghost = torch.empty_like(tensor, device="meta")
    return nn.Parameter(ghost, requires_grad=False) if isinstance(tensor, nn.Parameter) else ghost
