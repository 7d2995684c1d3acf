"""Paired differences of trainings over patients, from predictions.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.comparison.groups import Group
from nas.comparison.statistics import Difference
from nas.metrics.bootstrap import mean_of
from nas.metrics.metric import Scores
from nas.retraining.pooled import Pooled, pooled_rows, read_pooled
from nas.tasks.base import Task, task_of


@dataclass(frozen=True)
class MeanOfSeeds:
    """Scores of one network under several seeds: the mean of each metric.

    Attributes:
        members: Scores under each seed, of the same cases.
    """

    members: Sequence[Scores]

    def over(self, rows: np.ndarray | None = None) -> Mapping[str, float]:
        """Compute the metrics over some of the cases.

        Args:
            rows: Positions of cases; if None, every case counts once.

        Returns:
            Metric name -> mean over the seeds; empty if a seed has no metrics on these cases.
        """
        measured = [scores.over(rows) for scores in self.members]
        return mean_of(measured) if all(measured) else {}

    def columns(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return no columns: a mean of metrics has no predictions.

        Args:
            classes: Names of the classes.

        Returns:
            An empty mapping.
        """
        return {}

    def truth(self, classes: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the target's columns.

        Args:
            classes: Names of the classes.

        Returns:
            Those of the first seed.
        """
        return self.members[0].truth(classes)


def paired_over_patients(
    groups: Sequence[Group], allow: Sequence[str] = (), resamples: int = 2000, seed: int = 0
) -> tuple[dict[str, Difference], str]:
    """Compare groups of trainings with the first one on the same bootstrap samples of patients.

    Args:
        groups: Two or more groups of trainings.
        allow: Packages beside VoxNAS that may define the task.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        Label of every further group -> mean over its seeds minus that of the first group, in the score of the task;
        and the reason if there is none, else an empty text.

    Raises:
        NASError: If a file is missing or damaged, or the task is of a package that is not allowed.
    """
    first = next(iter(groups[0].jobs.values())).training
    assert first is not None
    if first.task and type(task_of(first.task, allow)).from_columns is Task.from_columns:
        return {}, "predictions.csv of this task does not hold what its metrics need"
    systems = []
    for group in groups:
        trainings = [(job.training, job.folder) for job in group.jobs.values()]
        read = [read_pooled(result.name, [folder], allow) for result, folder in trainings if result is not None]
        systems.append((group.label, read))
    cases = systems[0][1][0].cases
    every = [pooled for _, read in systems for pooled in read]
    if not all(np.array_equal(pooled.cases, cases) for pooled in every):
        return {}, "the trainings were tested on different patients"
    means = [_mean(label, read) for label, read in systems]
    _, margins = pooled_rows(means, resamples, seed)
    patients, unit = len(np.unique(means[0].groups)), str(first.split["unit"])
    return {
        margin.above: Difference(-margin.value, -margin.ci95[1], -margin.ci95[0], patients, unit=f"{unit}s")
        for margin in margins
    }, ""


def _mean(label: str, read: Sequence[Pooled]) -> Pooled:
    return replace(read[0], name=label, scores=MeanOfSeeds([pooled.scores for pooled in read]))
