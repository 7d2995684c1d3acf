"""Exponential moving average of the weights of a network in training.

Source: Polyak and Juditsky, SIAM Journal on Control and Optimization 30 (1992) 838; with the warm-up of the decay of
TensorFlow's `ExponentialMovingAverage`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

WARM_UP = 10  # the decay after n updates is at most (1 + n) / (WARM_UP + n)


def decay_after(updates: int, decay: float) -> float:
    """Return the decay of an update, which rises so that early weights do not dominate the average.

    Args:
        updates: Updates before this one, at least 0.
        decay: Largest decay, in (0, 1).

    Returns:
        0 for the first update, which copies the weights, then the smaller of `decay` and (1 + n) / (10 + n).
    """
    return min(decay, (1 + updates) / (WARM_UP + updates)) if updates else 0.0


class AveragedWeights:
    """A copy of a network whose weights are an exponential moving average, updated after each optimiser step.

    Floating-point buffers, such as the running statistics of batch normalisation, are averaged like weights; counters
    are copied. The result is that of `torch.optim.swa_utils.AveragedModel` with `use_buffers=True` and the same decay.

    Args:
        model: Network in training, copied.
        decay: Largest decay, in (0, 1).

    Attributes:
        model: The averaged network in evaluation mode.
        updates: Number of updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the present weights to the average.

        Args:
            model: The network in training.
        """
        share = 1 - decay_after(self.updates, self.decay)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        floating = [(mean, new.detach()) for mean, new in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in floating], [new for _, new in floating], share)
        for mean, new in pairs:
            if not mean.is_floating_point():
                mean.copy_(new)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates, for a checkpoint.

        Returns:
            "model" and "updates".
        """
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint.

        Args:
            state: As `state_dict` returned it.
        """
        self.model.load_state_dict(state["model"])
        self.updates = int(state["updates"])


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
