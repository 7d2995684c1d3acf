"""Base class of supernets: all networks of a space in one module with shared weights.

A differentiable search alternates between two sets of parameters: the weights of the networks, and the architecture
parameters, which define the probability of each architecture. The supernet provides regularisers, an expected cost, and
decodes the best architectures.
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

NEAR = 0.1  # tolerance of a target cost, as a relative deviation


@dataclass(frozen=True, slots=True)
class Decoded:
    """Architecture decoded from a supernet.

    Args:
        arch: The architecture.
        score: Larger is better; its scale depends on the supernet.
    """

    arch: Architecture
    score: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of networks in one unit.

    Args:
        of_genes: Deterministic cost of genes, (N, G) -> (N,).
        of_blocks: Cost of each block of the space by its key; empty if the space offers no blocks.
    """

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
    """Return the range of allowed costs.

    Args:
        target: Desired cost, or None.
        budget: Maximum cost, or None.

    Returns:
        Lower and upper limit: at most the budget, and within NEAR of the target unless that exceeds the budget. Without
        a target and a budget, -inf and inf.
    """
    most = math.inf if budget is None else budget
    if target is None:
        return -math.inf, most
    least, most = (1 - NEAR) * target, min((1 + NEAR) * target, most)
    return (least if least <= most else -math.inf), most


class SharedWeights(nn.Module, ABC):
    """One set of weights that all networks of a space share.

    Attributes:
        recalibrated: Whether the statistics of batch normalisation have to be measured for each network.
    """

    recalibrated: bool = False

    @abstractmethod
    def subnetwork(self, arch: Architecture) -> nn.Module:
        """Return the network of one architecture.

        Args:
            arch: Architecture of the space.

        Returns:
            The network with copies of its weights in the supernet.
        """


class Supernet(SharedWeights):
    """Network that mixes or samples the networks of a space with the current probabilities.

    `forward` takes an image batch (B, C, D, H, W), and the targets as well if `needs_target`, and returns the output of
    a network of the space.

    Attributes:
        needs_target: Whether `forward` takes the targets.
        depends_on_length: Whether the training depends on its number of steps, see `nas.space.depends_on_length`.
        grows: Whether `forward` may add weights.
        checkpointing: Whether activations are recomputed in the backward pass. None if it is not supported.
        decodes_exactly: Whether `decode` finds the optimum over the whole space.
        default_regularisers: Weights of the regularisers; 1 if missing.
    """

    needs_target: bool = False
    depends_on_length: bool = False
    grows: bool = False
    checkpointing: bool | None = None
    decodes_exactly: bool = False
    default_regularisers: Mapping[str, float] = {}

    @abstractmethod
    def architecture_parameters(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters that define the probabilities.

        Returns:
            Parameters by name.
        """

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return the weights of the networks.

        Returns:
            All parameters except those of the architecture.
        """
        excluded = {id(parameter) for parameter in self.architecture_parameters().values()}
        return [parameter for parameter in self.parameters() if id(parameter) not in excluded]

    @abstractmethod
    def regularisers(self) -> Mapping[str, torch.Tensor]:
        """Return terms that fall as the probabilities concentrate on one valid architecture.

        Returns:
            Scalars of at least 0 by name.
        """

    def architecture_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss of an architecture step.

        Args:
            loss: Task loss of the last `forward`, a scalar.

        Returns:
            A scalar to minimise; by default `loss`.
        """
        return loss

    @abstractmethod
    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Return the mean cost of an architecture under the current probabilities.

        Args:
            costs: Costs of the networks.

        Returns:
            A scalar, differentiable in all architecture parameters.
        """

    def regularisers_and_cost(self, costs: Costs) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        """Return regularisers and expected cost, which may share a graph for one backward pass.

        Args:
            costs: Costs of the networks.

        Returns:
            The results of `regularisers` and `expected_cost`.
        """
        return self.regularisers(), self.expected_cost(costs)

    @abstractmethod
    def decode(
        self, k: int = 1, costs: Costs | None = None, budget: float | None = None, target: float | None = None
    ) -> list[Decoded]:
        """Return the best architectures in descending order of score.

        With a budget or a target, the first architecture is the best one with a cost within the budget, and within
        NEAR of the target or as close to it as possible. The next ones are the best within `allowed_costs`.

        Args:
            k: Maximum number of architectures.
            costs: Costs of the networks; needed with a budget or a target.
            budget: Maximum cost.
            target: Desired cost.

        Returns:
            Up to `k` architectures.

        Raises:
            NASError: If every architecture costs more than the budget; the message gives the smallest cost.
        """

    def picture(self) -> str:
        """Render the current probabilities.

        Returns:
            HTML.
        """
        rows = [
            f"<tr><td>{escape(name)}</td><td>{', '.join(f'{p:.2f}' for p in row)}</td></tr>"
            for name, alpha in self.architecture_parameters().items()
            for row in alpha.detach().softmax(dim=-1).reshape(-1, alpha.shape[-1]).tolist()
        ]
        return f"<table>{''.join(rows)}</table>"
