"""The contract between a task, a network and the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a search space must know to build a network.

    dims: spatial dimensions (2 or 3). in_channels: image channels. outputs: classes, or channels of a mask.
    """

    kind: str = "classification"
    dims: int = 3
    in_channels: int = 1
    outputs: int = 2


class Task(ABC):
    """Loss, inference and metrics. A network may set `needs_target = True`: it is then called as
    `model(x_BCDHW, y_B)` in training, so that a margin head (SphereFace) can see the label."""

    spec: TaskSpec
    score: str  # the validation metric by which the best epoch is chosen, larger is better

    @abstractmethod
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Scalar training loss from what the network returned (e.g. logits_BK) and the target."""

    @abstractmethod
    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Inference on one batch, in fp32: class probabilities (B, K) for classification."""

    @abstractmethod
    def metrics(self, prediction: np.ndarray, target: np.ndarray) -> Mapping[str, float]:
        """Metrics over a whole split, from concatenated predictions and targets."""
