"""Classification of whole volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import nn

from nas.baselines.base import Baseline
from nas.errors import NASError, TrialFailed
from nas.metrics.bootstrap import binary_metrics
from nas.metrics.metric import Metric, Scores
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, TestedCases, evaluation_mode
from nas.tasks.degenerate import never_answered
from nas.utils.annotations import Channels, Dims, Expected, OneOf
from nas.utils.checked import checked

METRICS = (
    Metric("auc", "AUC", meaning="area under the ROC curve", chance=0.5),
    Metric("accuracy", "accuracy", meaning="share of cases whose most probable class is right"),
    Metric("balanced_accuracy", "balanced accuracy", in_tables=False, meaning="mean share of each class that is found"),
    Metric("sensitivity", "sens.", meaning="share of the positive cases that are found"),
    Metric("specificity", "spec.", meaning="share of the negative cases that are recognised"),
    Metric("f1", "F1", meaning="harmonic mean of precision and sensitivity"),
    Metric(
        "log_loss",
        "log loss",
        direction="minimize",
        in_tables=False,
        meaning="mean negative logarithm of the probability of the true class",
    ),
)
RARELY = 0.1  # recall of a class below which a network hardly ever answers it
SCORES = tuple(metric.name for metric in METRICS if metric.direction == "maximize")


@checked("task")
class Classification(Task):
    """Cross entropy on logits in training; class probabilities (N, K) as predictions.

    Metrics: auc (one-vs-rest macro mean for more than two classes), accuracy, balanced_accuracy, sensitivity (recall of
    class 1; macro mean), specificity (macro mean), f1 (of class 1; macro mean), log_loss (smaller is better).

    Args:
        in_channels: Channels of the images.
        outputs: Number of classes, at least 2.
        dims: Spatial dimensions of the images, 2 or 3.
        score: Name of the metric by which the best epoch is chosen.

    Raises:
        NASError: For fewer than two classes or an unknown metric.
    """

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Expected("at least two classes")] = 2,
        dims: Dims = 3,
        score: Annotated[str, OneOf(*SCORES)] = "auc",
    ) -> None:
        self.spec = TaskSpec("classification", dims, in_channels, outputs)
        self.metrics = tuple(sorted(METRICS, key=lambda metric: metric.name != score))

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"score": self.score_name}

    def output(self, input_shape: Sequence[int]) -> tuple[str, str, tuple[int | str, ...]]:
        return "probabilities", "BK", ("batch", self.spec.outputs)

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.float(), y)

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K) in fp32; the model's mode is restored."""
        with evaluation_mode(model), torch.inference_mode():
            return model(x_BCDHW).float().softmax(dim=1)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        """Measure class probabilities.

        Args:
            prediction: Class probabilities (N, K).
            target: Classes (N,).
            spacing_mm: Not used.
            quick: Not used: all metrics are fast.

        Returns:
            The scores; over cases without one of the classes they are empty.

        Raises:
            NASError: If a class is missing from the target.
            TrialFailed: If a probability is not finite.
        """
        if not np.isfinite(prediction).all():
            raise TrialFailed("the network's probabilities are not finite")
        present, classes = len(np.unique(target)), prediction.shape[1]
        if present < classes:
            raise NASError(
                f"a split with {present} of {classes} classes",
                "every class on every side of a split",
                "use fewer folds or more data",
            )
        return ClassificationScores(prediction, target)

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scores:
        others = np.column_stack([columns[name].astype(np.float64) for name in classes[1:]])
        number = {name: index for index, name in enumerate(classes)}
        label_N = np.array([number[name] for name in columns["label"]])
        return self.score(np.column_stack([1 - others.sum(axis=1), others]), label_N)

    def degenerate(self, prediction: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        found = super().degenerate(prediction, target, classes)
        if found:
            return found
        guess = prediction.argmax(axis=1)
        lost = never_answered(guess, target, classes, "predicts")
        for number in np.unique(target).tolist():
            recall = float((guess[target == number] == number).mean())
            if 0 < recall < RARELY:
                lost.append(f"predicts {classes[number]} for {100 * recall:.0f} % of its cases only")
        return lost

    def baselines(self) -> tuple[Baseline, ...]:
        from nas.baselines.simple import FEATURES, VOLUME  # here, as the models take long to import

        return (VOLUME, FEATURES)

    def sections(self, cases: TestedCases) -> list[str]:
        from nas.html.classification import classification_sections  # here, as plots take long to import

        return classification_sections(
            cases.target, cases.prediction, cases.group, cases.classes, cases.others, cases.unit
        )


@dataclass(frozen=True)
class ClassificationScores(Scores):
    """Scores of class probabilities.

    Attributes:
        prob_NK: Class probabilities (N, K).
        label_N: Classes (N,), each of which occurs.
    """

    prob_NK: np.ndarray
    label_N: np.ndarray

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        if rows is None:
            return _metrics(self.prob_NK, self.label_N)
        prob_NK, label_N = self.prob_NK[rows], self.label_N[rows]
        classes = prob_NK.shape[1]
        if len(np.unique(label_N)) < classes:
            return {}
        return binary_metrics(prob_NK, label_N) if classes == 2 else _metrics(prob_NK, label_N)

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the probability of every class but the first."""
        return dict(zip(classes[1:], self.prob_NK.T[1:], strict=True))

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the name of the true class."""
        return {"label": np.array(classes)[self.label_N]}


def _metrics(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Compute all metrics from probabilities (N, K) and classes (N,), each of which occurs."""
    from sklearn import metrics as sk

    classes = prediction.shape[1]
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
