"""Scores of everything in a training's table on the tested samples, with intervals by bootstrap over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas.data.store import VolumeStore
from nas.metrics.bootstrap import GroupBootstrap, intervals
from nas.metrics.hierarchical import interval_of_mean
from nas.metrics.metric import Scores
from nas.retraining.folds import FoldPrediction
from nas.tasks.base import Task, TestedCases


@dataclass(frozen=True)
class System:
    """A network, an ensemble or a baseline: one row of the table.

    Attributes:
        name: Name in the table.
        indices: Rows of the store that were tested, in rising order (N,).
        prediction: Pooled predictions (N, ...), as `Task.pool` gives them.
        tested: Predictions of the single networks behind it, one for each round; empty for a baseline.
        costs: Costs as `nas.cost.benchmark.benchmark` gives them; empty unless it is a single network.
        thresholds: Decision thresholds of the networks of an ensemble of several; else those of `tested` count.
        arch_id: Id of the architecture of a single network; empty for an ensemble of several and a baseline.
    """

    name: str
    indices: np.ndarray
    prediction: np.ndarray
    tested: Sequence[FoldPrediction] = ()
    costs: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Sequence[float | None] = ()
    arch_id: str = ""


class Scorer:
    """Measures systems on the same tested samples; every prediction is measured once.

    Args:
        store: The data.
        task: The task, which measures.
        rows: Rows of the store that were tested, in rising order (N,).
        resamples: Number of bootstrap samples of patients.
        seed: Seed of the bootstrap.

    Attributes:
        target: Targets of the rows (N, ...).
        spacing_mm: Voxel sizes of the rows (N, 3), in 2D (N, 2); None if one is unknown.
        group: Groups (N,), usually patients, that the split keeps together.

    Raises:
        NASError: If there are too few patients for a bootstrap.
    """

    def __init__(self, store: VolumeStore, task: Task, rows: np.ndarray, resamples: int, seed: int) -> None:
        self.store, self.task, self.rows, self.seed = store, task, rows, seed
        self.target = store.targets(rows)
        self.spacing_mm = store.voxel_mm(rows)
        self.group = store.groups[rows]
        self.bootstrap = GroupBootstrap(self.group, store.labels[rows], resamples, seed)
        self._measured: dict[int, tuple[np.ndarray, Scores]] = {}
        self._drawn: dict[tuple[str, int], list[Mapping[str, float]]] = {}

    def scores(self, system: System) -> Scores:
        """Measure the pooled predictions of a system.

        Args:
            system: The system.

        Returns:
            The scores.
        """
        return self._scores(system.prediction, self.rows, self.task_of(system))

    def task_of(self, system: System) -> Task:
        """Return the task with the decisions of a system: those of its networks on average.

        Args:
            system: The system.

        Returns:
            The task.
        """
        return self.task.deciding([one.threshold for one in system.tested] or system.thresholds)

    def over_all(self, system: System) -> dict[str, float]:
        """Measure a system over all tested samples.

        Args:
            system: The system.

        Returns:
            Metric -> value.
        """
        return dict(self.scores(system).over())

    def interval(self, system: System) -> dict[str, tuple[float, float]]:
        """Compute the intervals of a system.

        Args:
            system: The system.

        Returns:
            Metric -> 95 % interval.
        """
        return intervals(self._draws(system))

    def difference(self, system: System, other: System) -> dict[str, dict[str, Any]]:
        """Compare two systems on the same bootstrap samples.

        Args:
            system: The system from whose metrics those of the other are subtracted.
            other: The other system.

        Returns:
            Metric -> {"value": difference over all samples, "ci95": its 95 % interval}.
        """

        def subtracted(own: Mapping[str, float], its: Mapping[str, float]) -> dict[str, float]:
            return {name: own[name] - its[name] for name in own if name in its}

        bounds = intervals(list(map(subtracted, self._draws(system), self._draws(other))))
        over_all = subtracted(self.over_all(system), self.over_all(other))
        return {name: {"value": over_all[name], "ci95": bounds[name]} for name in bounds}

    def folds(self, system: System) -> list[dict[str, Any]]:
        """Measure the single networks of a system.

        Args:
            system: The system.

        Returns:
            One entry for each round: its name, number of test samples, and the metrics of its single network.
        """
        return [{"fold": one.fold, "n": len(one.indices), **self._fold_scores(one).over()} for one in system.tested]

    def interval_of_mean(self, system: System) -> dict[str, tuple[float, float]]:
        """Compute the intervals of the mean over the single networks, with the spread over networks and patients.

        Source: see `nas.metrics.hierarchical.interval_of_mean`. Each network is measured on the patients of its own
        test part.

        Args:
            system: The system.

        Returns:
            Metric -> 95 % interval.
        """
        position = {int(row): number for number, row in enumerate(self.rows)}
        draws = []
        for one in system.tested:
            index = np.full(len(self.rows), -1)
            index[[position[int(row)] for row in one.indices]] = np.arange(len(one.indices))
            scores = self._fold_scores(one)
            draws.append([scores.over(index[rows[index[rows] >= 0]]) for rows in self.bootstrap.rows])
        same_patients = all(np.array_equal(one.indices, system.tested[0].indices) for one in system.tested)
        return interval_of_mean(draws, same_patients, self.seed)

    def cases(self, system: System, others: Sequence[System]) -> TestedCases:
        """Return the test cases of a system for the sections of a report.

        Args:
            system: The system that the report is about.
            others: The other systems.

        Returns:
            The test cases with predictions and targets.
        """

        def image(position: int) -> tuple[str, np.ndarray]:
            row = int(self.rows[position])
            return str(self.store.names[row]), self.store.read([row]).reshape(self.store.sample_shape)[0]

        return TestedCases(
            prediction=system.prediction,
            target=self.target,
            group=self.group,
            classes=self.store.classes,
            image=image,
            unit=self.store.unit,
            others={other.name: other.prediction for other in others},
        )

    def _draws(self, system: System) -> list[Mapping[str, float]]:
        """Measure a system on every bootstrap sample, once; two trainings of one network have the same name."""
        key = system.name, id(system.prediction)
        if key not in self._drawn:
            over = self.scores(system).over  # keeps the prediction, so that its id stays its own
            self._drawn[key] = [over(rows) for rows in self.bootstrap.rows]
        return self._drawn[key]

    def _fold_scores(self, one: FoldPrediction) -> Scores:
        return self._scores(one.prob, one.indices, self.task.deciding([one.threshold]))

    def _scores(self, prediction: np.ndarray, rows: np.ndarray, task: Task) -> Scores:
        """Measure a prediction of some rows on the first call, and return the same scores on later ones."""
        key = id(prediction)
        if key not in self._measured:  # the array is kept beside them, so that its id stays its own
            whole = np.array_equal(rows, self.rows)
            target = self.target if whole else self.store.targets(rows)
            spacing_mm = self.spacing_mm if whole else self.store.voxel_mm(rows)
            if self.store.extents_N3 is None:
                scores = task.score(prediction, target, spacing_mm)
            else:
                extent = self.store.extents_N3[rows, -self.store.dims :]
                scores = task.score_padded(prediction, target, spacing_mm, extent)
            self._measured[key] = prediction, scores
        return self._measured[key][1]
