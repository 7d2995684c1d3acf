"""The hook by which a space offers a supernet: all of its networks at once, with weights on their parts.

A differentiable search trains two sets of parameters in turn: the weights of the network, and the parameters that say
how probable each architecture is. It asks the supernet for regularisers and an expected cost, and decodes it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from nas.task_spec import TaskSpec

NEAR = 0.1  # relative difference from a target cost that is called near


@dataclass(frozen=True, slots=True)
class Decoded:
    """An architecture that a supernet answers with. score: larger is better (see the supernet's `decode`)."""

    arch: Architecture
    score: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What networks cost, in one unit. of_genes: genes (N, G) -> (N,), deterministic. of_blocks: the cost of each of
    the space's `blocks` by its key; empty where the space offers none."""

    of_genes: Callable[[np.ndarray], np.ndarray]
    of_blocks: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class HasSupernet(Protocol):
    """A search space with a supernet of its own; for other spaces weights are shared by name and shape."""

    def supernet(self, task: TaskSpec | None = None) -> Supernet:
        """Make the supernet.

        Args:
            task: If None, the space's own numbers of channels and outputs are used.

        Returns:
            All networks of the space at once.
        """


def allowed_costs(target: float | None, budget: float | None) -> tuple[float, float]:
    """(least, most) that an architecture may cost: at most the budget, and near the target where the budget allows it;
    -inf and inf where nothing is said."""
    most = math.inf if budget is None else budget
    if target is None:
        return -math.inf, most
    least, most = (1 - NEAR) * target, min((1 + NEAR) * target, most)
    return (least if least <= most else -math.inf), most


class Supernet(nn.Module, ABC):
    """Image batch -> what a network of the space gives, mixed or drawn with the present probabilities.

    Called as its networks are: with (x,), with (x, y) where `needs_target`.
    """

    needs_target: bool = False
    grows: bool = False  # whether `forward` may make further weights
    # whether activations are computed again in the backward pass instead of kept; None: it has no such choice
    checkpointing: bool | None = None
    decodes_exactly: bool = False  # whether `decode` finds the best of all, not only of those that it looks at
    default_regularisers: Mapping[str, float] = {}  # weights of the `regularisers`, 1 where none is said

    @abstractmethod
    def architecture_parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters that the probabilities follow from, by name."""

    def weight_parameters(self) -> list[nn.Parameter]:
        """All the others: what remains of the network when the architecture is fixed."""
        apart = {id(parameter) for parameter in self.architecture_parameters().values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in apart]

    @abstractmethod
    def regularisers(self) -> Mapping[str, torch.Tensor]:
        """Terms by name, each a scalar >= 0 that falls as the probabilities sharpen to one valid architecture."""

    def architecture_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """What an architecture step minimises, from the task's loss of the last `forward`: here that loss itself."""
        return loss

    @abstractmethod
    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Scalar: the mean cost of an architecture under the present probabilities, differentiable in all of them."""

    def regularisers_and_cost(self, costs: Costs) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        """Both at once, for one backward pass through the two: they may share a graph."""
        return self.regularisers(), self.expected_cost(costs)

    @abstractmethod
    def decode(
        self, k: int = 1, costs: Costs | None = None, budget: float | None = None, target: float | None = None
    ) -> list[Decoded]:
        """The k best architectures, best first, fewer where there are fewer. With a budget or a target, which need
        costs, the first is the best one whose cost is not above the budget, and within 10 % of the target or as near as
        is found; the others are the next best that keep `allowed_costs`, of those that are looked at. Raises NASError
        for a budget below every architecture, and tells the smallest cost."""

    @abstractmethod
    def subnetwork(self, arch: Architecture) -> nn.Module:
        """The network of one architecture, with copies of the weights that it has in the supernet."""

    def picture(self) -> str:
        """The present probabilities as one piece of HTML."""
        rows = [
            f"<tr><td>{escape(name)}</td><td>{', '.join(f'{p:.2f}' for p in row)}</td></tr>"
            for name, alpha in self.architecture_parameters().items()
            for row in alpha.detach().softmax(dim=-1).reshape(-1, alpha.shape[-1]).tolist()
        ]
        return f"<table>{''.join(rows)}</table>"
