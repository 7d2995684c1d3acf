"""Intervals and paired differences of trainings over patients and seeds, from predictions.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.comparison.groups import Group
from nas.comparison.statistics import Difference
from nas.metrics.bootstrap import GroupBootstrap
from nas.metrics.hierarchical import Draws, interval_of_mean
from nas.retraining.pooled import NoScoresError, read_pooled
from nas.tasks.base import Task, task_of

Seeds = tuple[int, ...]


@dataclass(frozen=True)
class OverPatients:
    """Trainings on the same bootstrap samples of patients and, where a group has several, of seeds.

    Attributes:
        intervals: Label of a group -> metric -> 95 % interval of the mean over its seeds.
        differences: Label of every further group -> score minus that of the first group.
        reason: Why both are empty; else an empty text.
    """

    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    differences: Mapping[str, Difference]
    reason: str = ""


def over_patients(
    groups: Sequence[Group], allow: Sequence[str] = (), resamples: int = 2000, seed: int = 0
) -> OverPatients:
    """Measure groups of trainings on the same bootstrap samples of patients, and compare them with the first one.

    A group of several seeds is a sample of trainings: its seeds are drawn with replacement as its patients are
    (`nas.metrics.hierarchical.interval_of_mean`). Differences are paired by patient and by seed.

    Args:
        groups: The groups of trainings.
        allow: Packages beside VoxNAS that may define the task.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        Intervals and differences, or the reason why there are none.

    Raises:
        NASError: If a file is missing or damaged, or the task is of a package that is not allowed.
    """
    first = next(iter(groups[0].jobs.values())).training
    assert first is not None
    if first.task and type(task_of(first.task, allow)).from_columns is Task.from_columns:
        return OverPatients({}, {}, "predictions.csv of this task does not hold what its metrics need")
    try:
        read = {
            group.label: {
                seeds: read_pooled(job.training.name, [job.folder], allow, job.network or None)
                for seeds, job in group.jobs.items()
                if job.training is not None
            }
            for group in groups
        }
    except NoScoresError as error:
        return OverPatients({}, {}, str(error.got))
    every = [pooled for members in read.values() for pooled in members.values()]
    if not all(np.array_equal(pooled.cases, every[0].cases) for pooled in every):
        return OverPatients({}, {}, "the trainings were tested on different patients")
    bootstrap = GroupBootstrap(every[0].groups, np.zeros(len(every[0].cases), dtype=int), resamples, seed)
    draws = {
        label: {seeds: [pooled.scores.over(rows) for rows in bootstrap.rows] for seeds, pooled in members.items()}
        for label, members in read.items()
    }
    intervals = {label: interval_of_mean(list(members.values()), True, seed) for label, members in draws.items()}
    patients, unit, score = len(np.unique(every[0].groups)), str(first.split["unit"]), first.columns[0].name
    own = groups[0].label
    values = {
        label: {seeds: pooled.scores.over().get(score, np.nan) for seeds, pooled in members.items()}
        for label, members in read.items()
    }
    differences = {}
    for group in groups[1:]:
        pairs = _pairs(list(draws[group.label]), list(draws[own]))
        mean = float(np.mean([values[group.label][a] - values[own][b] for a, b in pairs]))
        apart = [_minus(draws[group.label][a], draws[own][b], score) for a, b in pairs]
        seeds = len({a for a, _ in pairs})
        low, high = interval_of_mean(apart, True, seed).get(score, (float("nan"),) * 2)
        differences[group.label] = Difference(mean, low, high, patients, unit=f"{unit}s", seeds=seeds)
    return OverPatients(intervals, differences)


def _pairs(own: Sequence[Seeds], its: Sequence[Seeds]) -> list[tuple[Seeds, Seeds]]:
    """Pair seeds with themselves, or, without a common one, in their order."""
    common = [seeds for seeds in own if seeds in its]
    if common:
        return [(seeds, seeds) for seeds in common]
    return list(zip(own, its, strict=False))


def _minus(own: Draws, its: Draws, score: str) -> list[dict[str, float]]:
    return [{score: a[score] - b[score]} if a and b else {} for a, b in zip(own, its, strict=True)]
