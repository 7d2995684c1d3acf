"""A metric as its task declares it, and the measured scores of one prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

MM, VOXELS = "mm", "voxels"


@dataclass(frozen=True, slots=True)
class Metric:
    """How one metric is named, shown and compared.

    Attributes:
        name: Key in every mapping of metrics, for example "auc".
        label: Name in tables and reports.
        unit: Unit of the values.
        direction: Whether larger ("maximize") or smaller ("minimize") values are better.
        digits: Decimals in tables and reports.
        in_tables: Whether tables have a column for it.
        quick: Whether it is also measured after each validated epoch, and so known to a search.
        length: Whether it is a length in the image: declared in mm, and in voxels if the voxel size is unknown.
        meaning: What it measures, in a few words without the direction.
        chance: Value of an answer that does not depend on the image; None if there is no fixed one.
    """

    name: str
    label: str
    unit: str = ""
    direction: Literal["maximize", "minimize"] = "maximize"
    digits: int = 3
    in_tables: bool = True
    quick: bool = True
    length: bool = False
    meaning: str = ""
    chance: float | None = None

    @property
    def sign(self) -> float:
        """1.0 if larger values are better, else -1.0."""
        return 1.0 if self.direction == "maximize" else -1.0

    @property
    def heading(self) -> str:
        """Label with the unit in brackets."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


class Scores(Protocol):
    """The metrics of one prediction, measured once for each case."""

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        """Compute the metrics over some of the cases.

        Args:
            rows: Positions of cases, repeated in a bootstrap sample. If None, every case counts once.

        Returns:
            Metric name -> value, NaN for a value that is undefined. Empty if no metric is defined on these cases.
        """

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the prediction's columns of predictions.csv.

        Args:
            classes: Names of the classes.

        Returns:
            Heading -> one value for each case (N,), NaN for an empty cell.
        """

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the target's columns of predictions.csv.

        Args:
            classes: Names of the classes.

        Returns:
            Heading -> one value for each case (N,); {} if a target has no place in a table.
        """


def in_unit_of(metrics: Iterable[Metric], voxel_size_known: bool) -> tuple[Metric, ...]:
    """Replace the unit of lengths by voxels for cases whose voxel size is unknown.

    Args:
        metrics: Metrics as a task declares them.
        voxel_size_known: Whether lengths were measured in mm.

    Returns:
        The metrics with the unit in which they were measured.
    """
    if voxel_size_known:
        return tuple(metrics)
    return tuple(replace(metric, unit=VOXELS) if metric.length else metric for metric in metrics)


def with_class_names(metrics: Iterable[Metric], classes: Sequence[str]) -> tuple[Metric, ...]:
    """Name the classes in the labels of metrics that are declared for each class.

    Args:
        metrics: Metrics as a task declares them; "dice_2" with the label "Dice 2" is that of class 2.
        classes: Names of the classes.

    Returns:
        The metrics, with labels such as "Dice, posterior".
    """
    return tuple(
        metric if number is None or number >= len(classes) else replace(metric, label=f"{label}, {classes[number]}")
        for metric in metrics
        for label, number in [class_of(metric)]
    )


def class_of(metric: Metric) -> tuple[str, int | None]:
    """Find the class that a metric is declared for.

    Args:
        metric: A metric as a task declares it.

    Returns:
        The label without the number of the class, and the number; None for a metric over all classes.
    """
    label, _, number = metric.label.rpartition(" ")
    if label and number.isdecimal() and metric.name.endswith(f"_{number}"):
        return label, int(number)
    return metric.label, None
