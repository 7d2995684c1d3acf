"""Optional abilities of networks: targets as a second input, a known length of the training, gates of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import nn


def takes_target(network: nn.Module) -> bool:
    """Check whether a network is called with the targets in training, as networks with a margin are.

    Args:
        network: Network of a space. It may set `needs_target = True`; modules without this attribute take images only.

    Returns:
        True if it is called as `network(x_BCDHW, y_B)`.
    """
    return bool(getattr(network, "needs_target", False))


@runtime_checkable
class DependsOnLength(Protocol):
    """A module whose training depends on its length, such as a margin that is annealed relative to it."""

    def set_training_steps(self, steps: int) -> None:
        """Take the length of the training before its first step.

        Args:
            steps: Number of optimiser steps.
        """


def depends_on_length(network: nn.Module) -> bool:
    """Check whether the training of a network depends on its length.

    Args:
        network: Network of a space.

    Returns:
        True if one of its modules is a `DependsOnLength`.
    """
    return any(isinstance(module, DependsOnLength) for module in network.modules())


def announce_length(network: nn.Module, steps: int) -> None:
    """Pass the length of the training to the modules that depend on it.

    Args:
        network: Network of a space.
        steps: Number of optimiser steps of the training.
    """
    for module in network.modules():
        if isinstance(module, DependsOnLength):
            module.set_training_steps(steps)


@runtime_checkable
class HasSpatialGate(Protocol):
    """An attention layer that weighs voxels, whose weights can be shown as a map."""

    def spatial_gate(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the weights of the voxels.

        Args:
            x_BCDHW: Input of the layer (B, C, D, H, W).

        Returns:
            (B, 1, D, H, W) in [0, 1].
        """
