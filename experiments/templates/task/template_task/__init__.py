"""A task: classification that is scored by the mean recall of the classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nas import TaskSpec, TrialFailed
from nas.tasks import Metric, Scores, Task, evaluation_mode
from torch import nn
from torch.nn import functional as F


class TemplateTask(Task):
    """Cross entropy with smoothed labels in training; class probabilities (N, K) as predictions.

    Args:
        in_channels: Channels of the images.
        outputs: Number of classes.
        dims: Spatial dimensions of the images, 2 or 3.
        smoothing: Share of a label that is spread over all classes, 0 to 1.
    """

    # the first metric is the score, by which the best epoch is chosen
    metrics = (Metric("recall", "mean recall"), Metric("error", "error rate", "%", "minimize", digits=1))

    def __init__(self, in_channels: int = 1, outputs: int = 2, dims: int = 3, smoothing: float = 0.1) -> None:
        self.spec = TaskSpec("classification", dims, in_channels, outputs)
        self.smoothing = smoothing

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits (B, K) and labels (B,)."""
        return F.cross_entropy(output.float(), y, label_smoothing=self.smoothing)

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Predict class probabilities (B, K)."""
        with evaluation_mode(model), torch.inference_mode():
            return model(x_BCDHW).float().softmax(dim=1)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        """Measure probabilities (N, K) of cases with labels (N,)."""
        if not np.isfinite(prediction).all():
            raise TrialFailed("the probabilities are not finite")
        return TemplateScores(prediction, target)


@dataclass(frozen=True)
class TemplateScores(Scores):
    """The scores of all cases.

    Args:
        prob_NK: Class probabilities.
        label_N: Labels.
    """

    prob_NK: np.ndarray
    label_N: np.ndarray

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        """Compute the metrics over all cases, or over the rows of a bootstrap sample."""
        rows = np.arange(len(self.label_N)) if rows is None else rows
        right_N, label_N = (self.prob_NK.argmax(axis=1) == self.label_N)[rows], self.label_N[rows]
        recalls = [right_N[label_N == label].mean() for label in np.unique(label_N)]
        return {"recall": float(np.mean(recalls)), "error": float(100 * (1 - right_N.mean()))}

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return dict(zip(classes, self.prob_NK.T, strict=True))

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"label": np.array(classes)[self.label_N]}
