"""The hook by which a space offers a supernet: all of its networks at once, with weights on their parts.

A differentiable search trains two sets of parameters in turn: the weights of the network, and the parameters that say
how probable each architecture is. It asks the supernet for regularisers and an expected cost, and decodes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from nas.architecture import Architecture


@dataclass(frozen=True, slots=True)
class Decoded:
    """An architecture that a supernet answers with. score: larger is better (see the supernet's `decode`)."""

    arch: Architecture
    score: float


class Supernet(nn.Module, ABC):
    """Image batch -> what a network of the space gives, mixed with the present probabilities.

    Costs are told by the keys of the space's `blocks`: {key: parameters, MACs, bytes, or ms of a latency table}.
    """

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

    @abstractmethod
    def expected_cost(self, block_costs: Mapping[str, float]) -> torch.Tensor:
        """Scalar: the mean cost of an architecture under the present probabilities, differentiable in all of them."""

    @abstractmethod
    def largest_cost(self, block_costs: Mapping[str, float]) -> float:
        """The cost of the dearest architecture: a constant to divide the expected cost by."""

    @abstractmethod
    def decode(
        self, k: int = 1, block_costs: Mapping[str, float] | None = None, budget: float | None = None
    ) -> list[Decoded]:
        """The k best architectures, best first; with a budget those whose cost is not above it."""

    @abstractmethod
    def subnetwork(self, arch: Architecture) -> nn.Module:
        """The network of one architecture, with the weights that it has in the supernet."""
