"""The contract between a task, a network and the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.metrics.ensemble import mean_probability
from nas.task_spec import TaskSpec

Resampled = Callable[[np.ndarray], Mapping[str, float]]  # positions of samples, perhaps repeated -> metrics over them


class Task(ABC):
    """Loss, inference and metrics. A network may set `needs_target = True`: it is then called as
    `model(x_BCDHW, y_B)` in training, so that a margin head (SphereFace) can see the label.

    Targets are what the store keeps for the task's kind: labels (N,), masks (N, D, H, W), or boxes (N, M, 2n + 1), see
    nas/tasks/detection.py. A constructor takes what the data decide, in_channels, outputs and dims, and whatever
    settings the task has.
    """

    spec: TaskSpec
    score: str  # the validation metric by which the best epoch is chosen, larger is better

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def any_size(self) -> bool:
        """Whether `predict` takes volumes of any sides, whatever the networks need."""
        return False

    @property
    def inference(self) -> Mapping[str, Any]:
        """Settings that a prediction depends on, by the names of constructor arguments, as JSON values.

        Model cards record them; `nas.bundle` builds the task of a trained network from them.
        """
        return {}

    @abstractmethod
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Scalar training loss from what the network returned (e.g. logits_BK) and the target."""

    @abstractmethod
    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Inference on one batch, in fp32: class probabilities (B, K), of a segmentation (B, K, D, H, W); of a
        detection as many boxes for each, see nas/tasks/detection.py."""

    @abstractmethod
    def metrics(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None
    ) -> Mapping[str, float]:
        """Metrics over a whole split, from concatenated predictions and targets.

        spacing_mm: (N, 3) voxel sizes, in 2D (N, 2), for metrics that are lengths; None: lengths are in voxels.
        """

    def pooled(self, predictions: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and predictions of several networks -> all rows in rising order, and one prediction for each: by
        default the mean over the networks that predicted it."""
        return mean_probability(predictions)

    def validate(self, prediction: np.ndarray, target: np.ndarray) -> Mapping[str, float]:
        """The metrics after each epoch, `score` among them: all of them, unless they take long."""
        return self.metrics(prediction, target)

    def validation_metrics(self) -> frozenset[str]:
        """The names of what `validate` gives, from one sample of each class, or one that holds each class once."""
        classes = np.arange(self.spec.outputs)
        prediction_NK = np.eye(self.spec.outputs)
        if self.kind != "segmentation":
            return frozenset(self.validate(prediction_NK, classes))
        ones = (1,) * (self.spec.dims - 1)
        prediction = prediction_NK.reshape(1, len(classes), len(classes), *ones)
        return frozenset(self.validate(prediction, classes.reshape(1, -1, *ones)))

    def resampled(self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None) -> Resampled:
        """The metrics as a function of the samples drawn, for a bootstrap that asks thousands of times. It gives {}
        where no metric is defined on the draw."""
        return lambda rows: self.metrics(
            prediction[rows], target[rows], None if spacing_mm is None else spacing_mm[rows]
        )
