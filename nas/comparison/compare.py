"""The comparison of finished searches and trainings of one data set and one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.comparison.groups import Group, groups_of
from nas.comparison.jobs import SEARCH, TRAINING, Job
from nas.comparison.of_searches import HYPERVOLUME, Searches, compare_searches
from nas.comparison.patients import OverPatients, over_patients
from nas.comparison.record import FINISHED
from nas.comparison.rows import metrics_of
from nas.comparison.searches import OF_TRAINING, SECONDS
from nas.comparison.statistics import Difference, Estimate, from_first, over_seeds
from nas.errors import NASError
from nas.found import warnings_of_search
from nas.metrics.metric import Metric
from nas.metrics.names import COSTS, TRAINING_MACS, Names
from nas.retraining.verdict import Verdict


@dataclass(frozen=True)
class Trainings:
    """A comparison of trainings.

    Attributes:
        groups: Trainings that differ in their seed only.
        metrics: The metrics as the task declares them, the score first.
        estimates: Label of a group -> metric or cost -> mean over seeds, with its interval over patients and seeds; if
            `no_patients`, over seeds.
        by_seed: Label of every group but the first -> score minus that of the first group, paired by seed.
        by_patient: The same over patients and seeds.
        no_patients: Reason if `by_patient` is empty.
    """

    groups: Sequence[Group]
    metrics: tuple[Metric, ...]
    estimates: Mapping[str, Mapping[str, Estimate]]
    by_seed: Mapping[str, Difference]
    by_patient: Mapping[str, Difference]
    no_patients: str = ""


@dataclass(frozen=True)
class Comparison:
    """Searches and trainings beside each other.

    Attributes:
        jobs: All jobs, also those without a result.
        data: Name and hash of the data set.
        kind: Kind of the task, for example "classification"; empty if it was not recorded.
        searches: Comparison of the searches; None without one.
        trainings: Comparison of the trainings; None without one.
        names: Names and formats of metrics and costs.
    """

    jobs: Sequence[Job]
    data: tuple[str, str]
    kind: str
    searches: Searches | None
    trainings: Trainings | None
    names: Names

    @property
    def verdicts(self) -> list[str]:
        """One sentence for each score and for the hypervolume: which differences are beyond noise."""
        found = []
        if self.searches is not None:
            score = self.searches.score
            label, sign = f"validation {self.names.unit(score).name}", self.searches.sign
            found.append(verdict(self.searches.groups, label, sign, self.searches.differences))
            if self.searches.hypervolume is not None and len(self.searches.groups) > 1:
                found.append(verdict(self.searches.groups, HYPERVOLUME, 1.0, self.searches.hypervolume.differences))
        if self.trainings is not None:
            metric = self.trainings.metrics[0]
            both = [self.trainings.by_patient, self.trainings.by_seed]
            found.append(verdict(self.trainings.groups, f"test {metric.label}", metric.sign, *both))
        return found

    @property
    def differences(self) -> list[str]:
        """Every paired difference from the first group, one line each, also those within noise."""
        found = []
        if self.searches is not None:
            unit = self.names.unit(self.searches.score)
            by_seed = {f"validation {unit.name}": self.searches.differences}
            found += _difference_lines(self.searches.groups, by_seed, unit.decimals or 3)
        if self.trainings is not None:
            metric = self.trainings.metrics[0]
            tests = [
                (f"test {metric.label}", found_by) for found_by in (self.trainings.by_patient, self.trainings.by_seed)
            ]
            for label, of_group in tests:
                found += _difference_lines(self.trainings.groups, {label: of_group}, metric.digits)
        return found

    @property
    def warnings(self) -> list[str]:
        """Warnings about the numbers of single jobs, one sentence each."""
        found = []
        for job in self.jobs:
            texts = job.training.warnings if job.training is not None else ()
            if job.search is not None:
                texts = tuple(warnings_of_search(job.search.history, self.names.metrics))
            found += [f"{job.folder.name}: {text}" for text in texts]
        return list(dict.fromkeys(found))


def _difference_lines(groups: Sequence[Group], tests: Mapping[str, Mapping[str, Difference]], digits: int) -> list[str]:
    return [
        f"{group.label} minus {groups[0].label}: {label} {of_group[group.label].text(digits)}, "
        f"{of_group[group.label].counted}"
        for group in groups[1:]
        for label, of_group in tests.items()
        if group.label in of_group
    ]


def compare_jobs(jobs: Sequence[Job], allow: Sequence[str] = (), resamples: int = 2000, seed: int = 0) -> Comparison:
    """Compare searches and trainings.

    Args:
        jobs: The jobs, as `read_jobs` gives them; those without a result are only listed.
        allow: Packages beside VoxNAS that may define the task.
        resamples: Number of bootstrap samples of patients.
        seed: Seed of the bootstrap.

    Returns:
        The comparison.

    Raises:
        NASError: If the jobs differ in data or task, two have equal settings and one seed, or a file is damaged.
    """
    finished = [job for job in jobs if job.state == FINISHED]
    require_one_problem(finished)
    task = next((job.task for job in finished if job.task), {})
    searches, trainings = groups_of(jobs, SEARCH), groups_of(jobs, TRAINING)
    of_trainings = _compare_trainings(trainings, allow, resamples, seed) if trainings else None
    declared = of_trainings.metrics if of_trainings is not None else _metrics_of(str(task.get("kind", "")))
    data = finished[0].data
    assert data is not None
    return Comparison(
        jobs,
        data,
        str(task.get("kind", "")),
        compare_searches(searches) if searches else None,
        of_trainings,
        Names(declared),
    )


def require_one_problem(jobs: Sequence[Job]) -> None:
    """Check that jobs have the same data and the same task.

    Args:
        jobs: Finished jobs.

    Raises:
        NASError: If two of them differ.
    """
    first = jobs[0]
    for job in jobs[1:]:
        assert first.data is not None
        assert job.data is not None
        if job.data[1] != first.data[1]:
            raise NASError(
                f"{job.folder} on {job.data[0]} ({job.data[1][:8]}), {first.folder} on {first.data[0]} "
                f"({first.data[1][:8]})",
                "one data set, prepared with the same settings",
                "compare the folders of each data set on their own",
            )
    with_task = [job for job in jobs if job.task]
    for job in with_task[1:]:
        if dict(job.task) != dict(with_task[0].task):
            raise NASError(
                f"{job.folder} for {_in_words(job.task)}, {with_task[0].folder} for {_in_words(with_task[0].task)}",
                "one task",
                "compare the folders of each task on their own",
            )


def verdict(groups: Sequence[Group], score: str, sign: float, *differences: Mapping[str, Difference]) -> str:
    """State in one sentence which groups differ from the first one by more than noise.

    Args:
        groups: The groups.
        score: Name of the score.
        sign: 1.0 if larger scores are better, else -1.0.
        *differences: Label -> difference from the first group, in one or several ways to pair; a group differs if
            every test that exists agrees, see `Difference.within_noise`.

    Returns:
        The sentence.
    """
    if len(groups) < 2:
        return f"There is one group, {groups[0].label}, and so no difference to test."
    first, apart, tested = groups[0].label, [], False
    for group in groups[1:]:
        known = [found[group.label] for found in differences if group.label in found]
        known = [found for found in known if found.has_interval]
        tested = tested or bool(known)
        signs = {found.mean > 0 for found in known}
        if known and len(signs) == 1 and not any(found.within_noise(len(groups) - 1) for found in known):
            word = (Verdict.BETTER if known[0].mean * sign > 0 else Verdict.WORSE).value
            apart.append(f"{group.label} is {word} than {first} ({_shown(known)})")
    if not tested:
        seeds = max(len(group.jobs) for group in groups)
        why = "one seed per group" if seeds == 1 else "fewer than two seeds that a group shares with the first"
        return f"With {why} no interval over seeds exists, so no difference in {score} can be separated from noise."
    if not apart and len(groups) == 2:
        other = groups[1].label
        known = [found[other] for found in differences if other in found and found[other].has_interval]
        return f"The difference in {score} of {other} and {first} is within noise ({_shown(known)})."
    if not apart:
        pairs = sorted({item.counted for found in differences for item in found.values() if item.has_interval})
        return f"All differences from {first} in {score} are within noise ({', '.join(pairs)})."
    rest = len(groups) - 1 - len(apart)
    others = (
        "" if rest == 0 else "; the other differences are within noise" if rest > 1 else "; the other is within noise"
    )
    return f"In {score}, {', and '.join(apart)}{others}."


def _shown(differences: Sequence[Difference]) -> str:
    return "; ".join(f"{found.text()}, {found.counted}" for found in differences)


def _compare_trainings(groups: Sequence[Group], allow: Sequence[str], resamples: int, seed: int) -> Trainings:
    results = [job.training for group in groups for job in group.jobs.values() if job.training is not None]
    metrics = results[0].columns
    names = [*(metric.name for metric in metrics), *COSTS, *OF_TRAINING]
    score = metrics[0].name
    estimates, scores = {}, {}
    for group in groups:
        measured = [{**metrics_of(job), **_effort(job)} for job in group.jobs.values()]
        known = [name for name in names if all(name in own for own in measured)]
        amounts = (*COSTS, *OF_TRAINING)
        estimates[group.label] = {
            name: over_seeds([own[name] for own in measured], 0.0 if name in amounts else -np.inf) for name in known
        }
        scores[group.label] = {seeds: metrics_of(job)[score] for seeds, job in group.jobs.items()}
    try:
        found = over_patients(groups, allow, resamples, seed)
    except NASError as error:
        if len(groups) > 1:
            raise
        found = OverPatients({}, {}, error.got)  # one group compares nothing: its table does without predictions.csv
    for label, intervals in found.intervals.items():
        for name in set(intervals) & set(estimates[label]):
            low, high = intervals[name]
            estimates[label][name] = replace(estimates[label][name], low=low, high=high)
    return Trainings(groups, metrics, estimates, from_first(scores), found.differences, found.reason)


def _effort(job: Job) -> dict[str, float]:
    """Seconds and MACs of a training, if they are known."""
    measured = {SECONDS: job.seconds, TRAINING_MACS: job.training_macs}
    return {name: value for name, value in measured.items() if math.isfinite(value)}


def _metrics_of(kind: str) -> tuple[Metric, ...]:
    """Metrics of the tasks of VoxNAS, for their names; a search records no task of another package."""
    from nas.tasks import classification, detection, segmentation  # here, as these import torch

    known = {"classification": classification, "detection": detection, "segmentation": segmentation}
    return known[kind].METRICS if kind in known else ()


def _in_words(task: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in task.items())
