"""The contract between a task, a network, the training loop, tables and reports."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from nas.baselines.base import Baseline, Prediction
from nas.errors import NASError
from nas.metrics.ensemble import mean_probability
from nas.metrics.metric import Metric, Scores
from nas.task_spec import TaskSpec
from nas.tasks.degenerate import same_for_every_case
from nas.utils.identity import identity_of, public_path
from nas.utils.locate import locate

if TYPE_CHECKING:
    from nas.data.store import VolumeStore


@dataclass(frozen=True)
class TestedCases:
    """The test cases of a training, from which a task makes the sections of its report.

    Attributes:
        prediction: Predictions of the network that the report is about, (N, ...) as `Task.predict` gives them.
        target: Targets (N, ...) as the store gives them.
        group: Groups (N,), usually patients, that the split keeps together.
        classes: Names of the classes.
        unit: Name of a group, for example "patient".
        others: Predictions of the other systems by name.
        image: Called with the position of a case; returns its name and its first channel, (D, H, W) or (H, W).
    """

    __test__ = False  # no test class, although its name begins like one

    prediction: np.ndarray
    target: np.ndarray
    group: np.ndarray
    classes: Sequence[str]
    image: Callable[[int], tuple[str, np.ndarray]]
    unit: str = "patient"
    others: Mapping[str, np.ndarray] = field(default_factory=dict)


class Task(ABC):
    """Loss, inference and metrics of one kind of prediction, and how its results are shown.

    A new task sets `spec` and `metrics` and implements `loss`, `predict` and `score`. Its constructor takes the
    properties of the data (in_channels, outputs, dims) and settings of its own. Targets come from
    `VolumeStore.targets`: labels (N,), masks (N, D, H, W), boxes (N, M, 2n + 1) or real numbers (N,).

    A network may set `needs_target = True`: it is then called as `model(x_BCDHW, y_B)` in training, so that a margin
    head (SphereFace) can see the label.

    Attributes:
        spec: Kind of data, dimensions, channels and outputs; a search space builds networks from it.
        metrics: All metrics that `score` measures. The first is the score: the best epoch is chosen by it.
    """

    spec: TaskSpec
    metrics: tuple[Metric, ...]

    @abstractmethod
    def loss(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Compute the training loss.

        Args:
            output: Output of the network for a batch, for example logits (B, K).
            y: Targets of the batch.

        Returns:
            A scalar.
        """

    @abstractmethod
    def predict(self, model: nn.Module, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Predict one batch in fp32, with the model in evaluation mode; its mode is restored.

        Args:
            model: A network of the task.
            x_BCDHW: Images (B, C, D, H, W), in 2D (B, C, H, W).

        Returns:
            Predictions (B, ...), for example class probabilities (B, K).
        """

    @abstractmethod
    def score(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None = None, *, quick: bool = False
    ) -> Scores:
        """Measure predictions, each case once.

        Args:
            prediction: Predictions (N, ...), as `predict` gives them.
            target: Targets (N, ...).
            spacing_mm: Voxel sizes (N, 3), in 2D (N, 2). If None, lengths are in voxels.
            quick: Measure only the metrics that declare `quick`, as after each epoch.

        Returns:
            Scores, whose mappings have the names in `metrics` as keys.

        Raises:
            NASError: If the metrics are undefined on this target.
            TrialFailed: If a prediction is not finite.
        """

    def score_padded(
        self, prediction: np.ndarray, target: np.ndarray, spacing_mm: np.ndarray | None, extent: np.ndarray
    ) -> Scores:
        """Measure predictions of volumes that were padded to one shape.

        Args:
            prediction: Predictions (N, ...), background in the padding.
            target: Targets (N, ...).
            spacing_mm: Voxel sizes (N, 3), in 2D (N, 2). If None, lengths are in voxels.
            extent: Sides (N, 3) in voxels before padding, in 2D (N, 2).

        Returns:
            The scores; by default those of `score`, for metrics that do not depend on the size of the image.
        """
        return self.score(prediction, target, spacing_mm)

    def score_cases(self, cases: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Scores:
        """Measure predictions of single cases, which a segmentation may have on grids of their own.

        Args:
            cases: Prediction, target and voxel size in mm (None if unknown) of each case. The prediction of a
                segmentation is a label map (D, H, W), as a file holds it; of other tasks it is that of `predict`.

        Returns:
            The scores; by default those of `score` on the stacked cases, without voxel sizes.

        Raises:
            NASError: If the metrics are undefined on these cases.
        """
        predictions, targets, _ = zip(*cases, strict=True)
        return self.score(np.stack(predictions), np.stack(targets))

    def pool(self, predictions: Sequence[Prediction]) -> Prediction:
        """Combine the predictions of several networks.

        Args:
            predictions: Of each network, rows of the store (N,) and predictions (N, ...).

        Returns:
            All rows in rising order, and one prediction for each; by default the mean over the networks that
            predicted it.
        """
        return mean_probability(predictions)

    def degenerate(self, prediction: np.ndarray, target: np.ndarray, classes: Sequence[str]) -> list[str]:
        """Describe predictions without information, whatever their metrics are.

        Args:
            prediction: Predictions (N, ...) of one network.
            target: Targets (N, ...).
            classes: Names of the classes.

        Returns:
            One text for each fault, which follows the name of the network; by default "answers every case alike".
        """
        return ["answers every case alike"] if same_for_every_case(prediction) else []

    def collapsed(self, prediction: np.ndarray, metrics: Mapping[str, float]) -> str:
        """Say why a training collapsed: its network carries no information on the cases or on one of the classes.

        Args:
            prediction: Predictions (N, ...) of the validation part.
            metrics: Validation metrics of these predictions.

        Returns:
            The reason in a few words, empty if the training did not collapse; by default only a constant output is one.
        """
        return "constant output" if same_for_every_case(prediction) else ""

    def baselines(self) -> tuple[Baseline, ...]:
        """Return the simple models that networks for this task are compared with.

        Returns:
            The baselines in the order of the table; none by default.
        """
        return ()

    def sections(self, cases: TestedCases) -> list[str]:
        """Return sections of the training report, as HTML.

        Args:
            cases: The test cases with predictions and targets.

        Returns:
            Sections made by `nas.html.page.section`, in the order in which the report shows them.
        """
        return []

    def from_columns(self, columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> Scores:
        """Restore scores from columns of predictions.csv, so that several trainings are compared without their data.

        Args:
            columns: Columns as `Scores.columns` and `Scores.truth` name them -> texts (N,).
            classes: Names of the classes.

        Returns:
            The scores of these samples.

        Raises:
            NASError: If the metrics cannot be computed from the columns, as by default.
            KeyError: If a column is missing.
            ValueError: If a column holds a text in place of a number.
        """
        raise NASError(
            f"predictions.csv of a {self.spec.kind}",
            "a task whose metrics are functions of its columns",
            "compare the trainings with `voxnas compare`",
        )

    @property
    def score_name(self) -> str:
        """Name of the metric by which the best epoch is chosen."""
        return self.metrics[0].name

    @property
    def quick_metrics(self) -> frozenset[str]:
        """Names of the metrics that are measured after each validated epoch."""
        return frozenset(metric.name for metric in self.metrics if metric.quick)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The constructor's arguments besides in_channels, outputs and dims; by default attributes of the same name."""
        of_data = ("self", "in_channels", "outputs", "dims")
        names = [name for name in inspect.signature(type(self).__init__).parameters if name not in of_data]
        return {name: getattr(self, name) for name in names}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Class, data and settings, as a study records them."""
        return {"class": public_path(type(self)), "spec": identity_of(self.spec), **identity_of(self.settings)}

    def output(self, input_shape: Sequence[int]) -> tuple[str, str, tuple[int | str, ...]]:
        """Describe the predictions of `predict`, for the specification of a trained network.

        Args:
            input_shape: Shape (C, D, H, W) of a sample, in 2D (C, H, W).

        Returns:
            Name, axes as letters, and shape; "batch" and other names stand for sizes that vary.
        """
        return "prediction", "BK", ("batch", self.spec.outputs)

    @property
    def any_size(self) -> bool:
        """Whether `predict` accepts volumes of any sides, whatever the network needs."""
        return False

    @property
    def inference(self) -> Mapping[str, Any]:
        """Settings that a prediction depends on, by the names of constructor arguments, as JSON values.

        Model specifications record them; `nas.bundle` builds the task of a trained network from them.
        """
        return {}

    def for_classes(self, classes: Sequence[str]) -> Task:
        """Return the task with its settings that name classes resolved.

        Args:
            classes: Names of the classes of the data, in the order of their numbers.

        Returns:
            The task; by default this one.

        Raises:
            NASError: If a setting names a class that is not there.
        """
        return self

    def for_training(self, label_N: np.ndarray) -> Task:
        """Return the task with its settings that depend on the training part resolved, such as weights of classes.

        Args:
            label_N: Classes (N,) of the training samples; 0 for samples with masks, boxes or numbers.

        Returns:
            The task; by default this one.
        """
        return self

    def chosen_on(self, predict: Callable[[], np.ndarray], target: np.ndarray) -> Task:
        """Return the task with its settings that are chosen on the validation part, after a training.

        Args:
            predict: Called for the predictions (N, ...) of the validation part, if they are needed.
            target: Targets (N, ...).

        Returns:
            The task; by default this one.
        """
        return self

    def deciding(self, thresholds: Sequence[float | None]) -> Task:
        """Return the task with the decisions of an ensemble.

        Args:
            thresholds: The decision threshold of each network; None if it has none.

        Returns:
            The task; by default this one.
        """
        return self

    def positive_class(self, classes: Sequence[str]) -> str | None:
        """Return the class whose sensitivity, specificity and F1 the metrics give.

        Args:
            classes: Names of the classes.

        Returns:
            Its name; None if there is no single one, as by default.
        """
        return None

    def require_data(self, store: VolumeStore) -> None:
        """Check that the samples of a store have the targets that this task is trained with.

        Args:
            store: The data.

        Raises:
            NASError: If the store is for another kind of task.
        """
        if self.spec.kind != store.kind:
            raise NASError(
                f"a task of {self.spec.kind} with {store.name}, whose samples are for {store.kind}",
                "task and data of one kind",
                f"task={store.kind}, or other data",
            )


def task_of(record: Mapping[str, Any], allow: Sequence[str] = ()) -> Task:
    """Build the task that a file records.

    Args:
        record: Class, spec and settings in the form of `Task.identity`.
        allow: Packages beside VoxNAS that may define the class.

    Returns:
        The task.

    Raises:
        NASError: If the class is missing or of a package that is not trusted.
        ValueError: If the record is incomplete, or its settings are not those of the class.
    """
    try:
        path, spec = str(record["class"]), {name: record["spec"][name] for name in ("in_channels", "outputs", "dims")}
    except (KeyError, TypeError) as error:
        raise ValueError(f"a task without {error}") from error
    cls = locate(path, Task, allow=allow)
    settings = {name: value for name, value in record.items() if name not in ("class", "spec")}
    try:
        return cls(**spec, **settings)
    except (TypeError, ValueError, NASError) as error:
        raise ValueError(f"other settings than those of {cls.__name__}") from error


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and restore its mode at the end.

    Args:
        model: The network.

    Yields:
        None.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
