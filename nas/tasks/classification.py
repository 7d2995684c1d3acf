"""Classification of whole volumes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Len, Lt
from torch import nn

from nas.baselines.base import Baseline
from nas.errors import NASError, TrialFailed
from nas.metrics.bootstrap import best_threshold, binary_metrics, chosen_classes
from nas.metrics.calibration import tempered_threshold
from nas.metrics.metric import Metric, Scores
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, TestedCases, evaluation_mode
from nas.tasks.degenerate import NEAR_CHANCE, never_answered
from nas.tasks.temperature import ON_VALIDATION, Temperature, at_temperature, fitted, scaled
from nas.tasks.views import averaged_over_views, require_turnable, require_views
from nas.utils.annotations import MOST, Channels, Count, Dims, Expected, Flips, OneOf, Planes, PositiveFloat, Text
from nas.utils.checked import checked

if TYPE_CHECKING:
    from nas.data.store import VolumeStore

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
THRESHOLD = "decision threshold"  # column of predictions.csv
RARELY = 0.1  # recall of a class below which a network hardly ever answers it
SCORES = tuple(metric.name for metric in METRICS if metric.direction == "maximize")


@checked("task")
class Classification(Task):
    """Cross entropy on logits in training; class probabilities (N, K) as predictions.

    Metrics: auc (one-vs-rest macro mean for more than two classes), accuracy, balanced_accuracy, sensitivity (recall of
    the positive class; macro mean), specificity (macro mean), f1 (of the positive class; macro mean), log_loss (smaller
    is better).

    Args:
        in_channels: Channels of the images.
        outputs: Number of classes, at least 2.
        dims: Spatial dimensions of the images, 2 or 3.
        score: Name of the metric by which the best epoch is chosen.
        positive: Of two classes, the name of the positive one, whose sensitivity, specificity and F1 the metrics give.
            If None, the second.
        class_weights: Weight of each class in the training loss, above 0; only their ratios count. "auto" weights
            classes by the inverse of their frequency in the training part. If None, all samples count equally.
        threshold: Of two classes, the probability of the positive one from which a case is called positive, in (0, 1).
            "validation" chooses the one with the largest balanced accuracy on the validation part of each trained
            network. If None, the more probable class is called. AUC and log loss do not depend on it.
        flips: Axes (0 = D, 1 = H, 2 = W; in 2D H, W) along which images are also predicted mirrored, in every
            combination; the probabilities are averaged. A training refuses axes that `training.augment.flip` lacks.
        rotations: Planes ("DH", "DW", "HW"; in 2D "HW") in which images are also predicted turned by 90, 180 and 270
            degrees. Its sides must be equal and its voxels squares. A training refuses planes that
            `training.augment.turns` lacks, unless `training.augment.rotate` is 90 or more.
        temperature: Temperature by which the logits behind predictions are divided (Guo et al., ICML 2017), 0.05 to 20.
            "validation" fits it on the validation part of each trained network. If None, predictions are not scaled.

    Raises:
        NASError: For fewer than two classes, an unknown metric, weights of another number of classes, and settings for
            two classes with more.
    """

    def __init__(
        self,
        in_channels: Channels = 1,
        outputs: Annotated[int, Ge(2), Le(MOST), Expected("at least two classes")] = 2,
        dims: Dims = 3,
        score: Annotated[str, OneOf(*SCORES)] = "auc",
        positive: Text | Count | None = None,
        class_weights: Annotated[str, OneOf("auto")] | Annotated[Sequence[PositiveFloat], Len(2)] | None = None,
        threshold: Annotated[float, Gt(0), Lt(1)] | Annotated[str, OneOf("validation")] | None = None,
        flips: Flips = (),
        rotations: Planes = (),
        temperature: Temperature = ON_VALIDATION,
    ) -> None:
        self.spec = TaskSpec("classification", dims, in_channels, outputs)
        self.metrics = tuple(sorted(METRICS, key=lambda metric: metric.name != score))
        self.positive = None if positive is None else str(positive)
        listed = class_weights is not None and not isinstance(class_weights, str)
        self.class_weights = tuple(class_weights or ()) if listed else class_weights
        self.threshold, self.temperature = threshold, temperature
        self.flips, self.rotations = tuple(flips), tuple(rotations)
        require_views(dims, self.flips, self.rotations)
        for name, value in (("positive", positive), ("threshold", threshold)):
            if value is not None and outputs != 2:
                raise NASError(f"task.{name}={value} for {outputs} classes", "two classes", f"set task.{name} to null")
        if isinstance(self.class_weights, tuple) and len(self.class_weights) != outputs:
            raise NASError(
                f"task.class_weights={list(self.class_weights)} for {outputs} classes",
                "one weight for each class",
                "set task.class_weights to auto, or to a list of that length",
            )
        self._positive: int | None = 1 if positive is None else None
        self._weight_K: torch.Tensor | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        own = {name: getattr(self, name) for name in ("positive", "class_weights", "threshold")}
        own = {"score": self.score_name, **{name: value for name, value in own.items() if value is not None}}
        # earlier versions did not record the default of the temperature
        temperature = {} if self.temperature == ON_VALIDATION else {"temperature": self.temperature}
        return {**own, **temperature, **self._views}

    @property
    def _views(self) -> dict[str, list[Any]]:
        """Mirrored and turned views, if there are any; earlier versions had none."""
        own: dict[str, list[Any]] = {"flips": list(self.flips), "rotations": list(self.rotations)}
        return {name: value for name, value in own.items() if value}

    def require_data(self, store: VolumeStore) -> None:
        super().require_data(store)
        require_turnable(store, self.rotations, any_sides=False)

    @property
    def inference(self) -> Mapping[str, Any]:
        temperature = None if isinstance(self.temperature, str) else self.temperature
        decided = {"positive": self.positive, "threshold": self._decision, "temperature": temperature}
        return {**{name: value for name, value in decided.items() if value is not None}, **self._views}

    def for_classes(self, classes: Sequence[str]) -> Classification:
        if self.positive is None:
            return self
        if self.positive not in classes:
            raise NASError(
                f"task.positive={self.positive}", f"one of the classes {', '.join(classes)}", "correct task.positive"
            )
        found = copy.copy(self)
        found._positive = list(classes).index(self.positive)
        return found

    def for_training(self, label_N: np.ndarray) -> Classification:
        if self.class_weights is None:
            return self
        count_K = np.bincount(label_N, minlength=self.spec.outputs).astype(np.float64)
        if isinstance(self.class_weights, str):
            weight_K = 1 / np.maximum(count_K, 1)
        else:
            weight_K = np.array(self.class_weights, dtype=np.float64)
        # 1 on average over the training part
        weight_K = weight_K * count_K.sum() / max((weight_K * count_K).sum(), 1e-12)
        found = copy.copy(self)
        found._weight_K = torch.tensor(weight_K, dtype=torch.float32)
        return found

    def chosen_on(self, predict: Callable[[], np.ndarray], target: np.ndarray) -> Classification:
        if ON_VALIDATION not in (self.threshold, self.temperature):
            return self
        prob_NK = predict()
        temperature = fitted(self.temperature, lambda: prob_NK, target)
        found = at_temperature(self, temperature)
        if self.threshold != ON_VALIDATION:
            return found
        threshold = best_threshold(prob_NK[:, self._number], target == self._number)
        return found.deciding([tempered_threshold(threshold, temperature or 1.0)])  # decisions stay the same

    def deciding(self, thresholds: Sequence[float | None]) -> Classification:
        known = [one for one in thresholds if one is not None]
        if not known:
            return self
        found = copy.copy(self)
        found.threshold = float(np.mean(known))
        return found

    def positive_class(self, classes: Sequence[str]) -> str | None:
        return classes[self._number] if len(classes) == 2 else None

    @property
    def _number(self) -> int:
        """Number of the positive class."""
        if self._positive is None:
            raise NASError(
                f"task.positive={self.positive} without the names of the classes", "names", "call for_classes first"
            )
        return self._positive

    @property
    def _decision(self) -> float | None:
        return self.threshold if isinstance(self.threshold, float) else None

    def output(self, input_shape: Sequence[int]) -> tuple[str, str, tuple[int | str, ...]]:
        return "probabilities", "BK", ("batch", self.spec.outputs)

    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self._weight_K is None:
            return F.cross_entropy(output.float(), y)
        # the mean over samples, not over weights, so that processes with other classes in their share agree
        return (F.cross_entropy(output.float(), y, reduction="none") * self._weight_K.to(y.device)[y]).mean()

    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K) in fp32; the model's mode is restored."""
        with evaluation_mode(model), torch.inference_mode():
            if not self._views:
                return scaled(model(x_BCDHW).float().softmax(dim=1), self.temperature)

            def probabilities(x_NCDHW: torch.Tensor) -> torch.Tensor:
                return model(x_NCDHW).float().softmax(dim=1)

            # the mean over views is scaled, so that the temperature changes no answer
            mean_BK = averaged_over_views(probabilities, x_BCDHW, self.flips, self.rotations)
            return scaled(mean_BK, self.temperature)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> ClassificationScores:
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
        return ClassificationScores(prediction, target, self._number if classes == 2 else 1, self._decision)

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> ClassificationScores:
        others = np.column_stack([columns[name].astype(np.float64) for name in classes[1:]])
        number = {name: index for index, name in enumerate(classes)}
        label_N = np.array([number[name] for name in columns["label"]])
        scores = self.for_classes(classes).score(np.column_stack([1 - others.sum(axis=1), others]), label_N)
        if THRESHOLD not in columns:
            return scores
        return replace(scores, threshold=columns[THRESHOLD].astype(np.float64))

    def degenerate(self, prediction: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        found = super().degenerate(prediction, target, classes)
        if found:
            return found
        guess = chosen_classes(prediction, self._number if len(classes) == 2 else 1, self._decision)
        lost = never_answered(guess, target, classes, "predicts")
        for number in np.unique(target).tolist():
            recall = float((guess[target == number] == number).mean())
            if 0 < recall < RARELY:
                lost.append(f"predicts {classes[number]} for {100 * recall:.0f} % of its cases only")
        return lost

    def collapsed(self, prediction: np.ndarray, metrics: Mapping[str, float]) -> str:
        if abs(metrics.get("auc", 0.0) - 0.5) < NEAR_CHANCE:
            return "AUC of a guess"
        return super().collapsed(prediction, metrics)

    def baselines(self) -> tuple[Baseline, ...]:
        from nas.baselines.simple import FEATURES, VOLUME  # here, as the models take long to import

        return (VOLUME, FEATURES)

    def sections(self, cases: TestedCases) -> list[str]:
        from nas.html.classification import classification_sections  # here, as plots take long to import

        return classification_sections(
            cases.target,
            cases.prediction,
            cases.group,
            cases.classes,
            cases.others,
            cases.unit,
            self._number if len(cases.classes) == 2 else 1,
            self._decision,
        )


@dataclass(frozen=True)
class ClassificationScores(Scores):
    """Scores of class probabilities.

    Attributes:
        prob_NK: Class probabilities (N, K).
        label_N: Classes (N,), each of which occurs.
        positive: Of two classes, the number of the positive one.
        threshold: Decision threshold, one or (N,), see `Classification`.
    """

    prob_NK: np.ndarray
    label_N: np.ndarray
    positive: int = 1
    threshold: float | np.ndarray | None = None

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        if rows is None:
            return _metrics(self.prob_NK, self.label_N, self.positive, self.threshold)
        prob_NK, label_N = self.prob_NK[rows], self.label_N[rows]
        threshold = self.threshold[rows] if isinstance(self.threshold, np.ndarray) else self.threshold
        classes = prob_NK.shape[1]
        if len(np.unique(label_N)) < classes:
            return {}
        if classes == 2:
            return binary_metrics(prob_NK, label_N, self.positive, threshold)
        return _metrics(prob_NK, label_N)

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the probability of every class but the first, and the decision threshold if there is one."""
        found = dict(zip(classes[1:], self.prob_NK.T[1:], strict=True))
        if self.threshold is not None:
            found[THRESHOLD] = np.broadcast_to(np.asarray(self.threshold, dtype=np.float64), self.label_N.shape)
        return found

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the name of the true class."""
        return {"label": np.array(classes)[self.label_N]}


def _metrics(
    prediction: np.ndarray, target: np.ndarray, positive: int = 1, threshold: float | np.ndarray | None = None
) -> dict[str, float]:
    """Compute all metrics from probabilities (N, K) and classes (N,), each of which occurs."""
    from sklearn import metrics as sk

    classes = prediction.shape[1]
    chosen = chosen_classes(prediction, positive, threshold)
    table = sk.confusion_matrix(target, chosen, labels=range(classes))
    recall = np.diag(table) / table.sum(axis=1)
    negatives = table.sum() - table.sum(axis=1)
    specificity = 1 - (table.sum(axis=0) - np.diag(table)) / negatives
    binary = classes == 2
    return {
        "auc": float(
            sk.roc_auc_score(target == positive, prediction[:, positive])
            if binary
            else sk.roc_auc_score(target, prediction, multi_class="ovr", average="macro", labels=range(classes))
        ),
        "accuracy": float((chosen == target).mean()),
        "balanced_accuracy": float(recall.mean()),
        "sensitivity": float(recall[positive] if binary else recall.mean()),
        "specificity": float(specificity[positive] if binary else specificity.mean()),
        "f1": float(
            sk.f1_score(target, chosen, pos_label=positive, average="binary" if binary else "macro", zero_division=0.0)
        ),
        "log_loss": float(-np.log(prediction[np.arange(len(target)), target].clip(1e-12)).mean()),
    }
