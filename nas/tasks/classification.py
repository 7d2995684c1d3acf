"""Classification of whole volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from sklearn import metrics as sk
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.metrics.bootstrap import binary_metrics
from nas.task_spec import TaskSpec
from nas.tasks.base import Resampled, Task
from nas.utils.checked import Channels, Dims, Expected, OneOf, checked

SCORES = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1")  # larger is better


@checked("task")
class Classification(Task):
    """Cross entropy on logits; probabilities at inference.

    in_channels: image channels. outputs: number of classes (>= 2). dims: of the images. score: the metric that chooses
    the best epoch.
    Metrics, all larger-is-better except log_loss: auc (one-vs-rest macro mean beyond two classes), accuracy,
    balanced_accuracy, sensitivity (recall of class 1; macro mean), specificity (macro mean), f1 (of class 1; macro).
    """

    METRICS = SCORES

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Expected("at least two classes")] = 2,
        dims: Dims = 3,
        score: Annotated[str, OneOf(*SCORES)] = "auc",
    ) -> None:
        self.spec = TaskSpec("classification", dims, in_channels, outputs)
        self.score = score

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.float(), y)

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K) in fp32; the model's mode is left as it was."""
        training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                return model(x_BCDHW).float().softmax(dim=1)
        finally:
            model.train(training)

    def metrics(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None
    ) -> Mapping[str, float]:
        """prediction (N, K) probabilities, target (N,) classes. Raises NASError where a class is missing from the
        target, TrialFailed for probabilities that are not finite."""
        if not np.isfinite(prediction).all():
            raise TrialFailed("the network's probabilities are not finite")
        classes = prediction.shape[1]
        if len(np.unique(target)) < classes:
            raise NASError(
                f"a split with {len(np.unique(target))} of {classes} classes",
                "every class on every side of a split",
                "use fewer folds or more data",
            )
        chosen = prediction.argmax(axis=1)
        table = sk.confusion_matrix(target, chosen, labels=range(classes))
        recall = np.diag(table) / table.sum(axis=1)
        negatives = table.sum() - table.sum(axis=1)
        specificity = 1 - (table.sum(axis=0) - np.diag(table)) / negatives
        binary = classes == 2
        return {
            "auc": float(
                sk.roc_auc_score(target, prediction[:, 1])
                if binary
                else sk.roc_auc_score(target, prediction, multi_class="ovr", average="macro", labels=range(classes))
            ),
            "accuracy": float((chosen == target).mean()),
            "balanced_accuracy": float(recall.mean()),
            "sensitivity": float(recall[1] if binary else recall.mean()),
            "specificity": float(specificity[1] if binary else specificity.mean()),
            "f1": float(sk.f1_score(target, chosen, average="binary" if binary else "macro", zero_division=0.0)),
            "log_loss": float(-np.log(prediction[np.arange(len(target)), target].clip(1e-12)).mean()),
        }

    def resampled(self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None) -> Resampled:
        classes = prediction.shape[1]
        of = binary_metrics if classes == 2 else self.metrics

        def statistic(rows: np.ndarray) -> Mapping[str, float]:
            complete = len(np.unique(target[rows])) == classes
            return of(prediction[rows], target[rows]) if complete else {}

        return statistic
