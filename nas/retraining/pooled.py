"""One table over several test folds: each patient once, tested by a network whose search and training never saw it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.errors import NASError
from nas.inference.model_spec import EVALUATION, RESULT
from nas.metrics.bootstrap import PERCENTILES, GroupBootstrap, intervals
from nas.metrics.hierarchical import expanded_percentiles, nested_rows
from nas.metrics.metric import Metric, Scores
from nas.retraining.predictions import PREDICTIONS
from nas.retraining.result import SIZES, Bounds, TrainResult
from nas.retraining.tables import Row, markdown
from nas.retraining.verdict import PairedDifference
from nas.tasks.base import task_of
from nas.tasks.segmentation import Segmentation
from nas.utils.foreign import MOST_CSV_BYTES, require_regular
from nas.utils.markdown_text import markdown_row, markdown_text
from nas.utils.spreadsheet import text_of

EXPECTED = "the predictions that run_train.py wrote"


class NoScoresError(NASError):
    """The scores of a task cannot be computed from a predictions.csv, as of one of an earlier version."""


@dataclass(frozen=True)
class Pooled:
    """A system on the cases of all its folds, in the order of their names.

    Attributes:
        name: Name of the system.
        folds: Number of folds.
        data: Hash and name of the data set.
        cases: Names of the samples (N,).
        groups: Groups (N,), usually patients, that the split keeps together.
        networks: Number of the training (of its fold) that tested each sample (N,).
        scores: Scores of the samples.
        metrics: The metrics as the task declares them.
        classes: Names of the classes.
        costs: params, macs and bytes, means over the folds; empty for a system that a training compares with.
        unit: Name of a group.
    """

    name: str
    folds: int
    data: tuple[str, str]
    cases: np.ndarray
    groups: np.ndarray
    networks: np.ndarray
    scores: Scores
    metrics: tuple[Metric, ...]
    classes: tuple[str, ...]
    costs: Mapping[str, float]
    unit: str = "patient"


def read_pooled(name: str, folders: Sequence[Path], allow: Sequence[str] = (), system: str | None = None) -> Pooled:
    """Read the trainings of one system, each with another test fold.

    Args:
        name: Name of the system in the table.
        folders: Output folders of run_train.py.
        allow: Packages beside VoxNAS that may define the task.
        system: Name of the system in predictions.csv. If None, the network that each training is about.

    Returns:
        The system on all its test cases.

    Raises:
        NASError: If there is no folder, a file is missing, a case was tested twice, data or columns differ, or the
            scores of the task cannot be computed from predictions.csv.
    """
    if not folders:
        raise NASError(f"no folder for {name}", "folders that run_train.py wrote", "check the path")
    results = [TrainResult.load(folder / RESULT) for folder in folders]
    data = {(result.data["sha256"], result.data["name"]) for result in results}
    if len(data) > 1:
        raise NASError(f"runs of {name} on {len(data)} data sets", "one", "give folders of one data set")
    systems = [result.name if system is None else system for result in results]
    tables = [_columns(folder / PREDICTIONS, its) for folder, its in zip(folders, systems, strict=True)]
    if len({tuple(table) for table in tables}) > 1:
        raise NASError(f"runs of {name} with other metrics or classes", "the same in all", "give folders of one task")
    columns = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}
    case, group = list(columns)[:2]
    if len(folders) > 1 and len(np.unique(columns[case])) < len(columns[case]):
        raise NASError(
            f"runs of {name} that tested a case twice", "another test fold each", "give one run per split.test_fold"
        )
    order = np.argsort(columns[case], kind="stable")
    networks = np.repeat(np.arange(len(tables)), [len(table[case]) for table in tables])[order]
    columns = {key: values[order] for key, values in columns.items()}
    try:
        classes = tuple(results[0].data["classes"])
        # earlier versions recorded no task, and pooled segmentations only
        task = task_of(results[0].task, allow) if results[0].task else Segmentation(outputs=len(classes))
        of_program = all(result.protocol == EVALUATION and not result.costs for result in results)
        sizes = SIZES if system is None and not of_program else ()
        costs = {key: float(np.mean([result.costs[key] for result in results])) for key in sizes}
    except (KeyError, TypeError, ValueError) as error:
        raise NASError(
            f"{folders[0] / RESULT} without task, classes or costs ({error})",
            "a result.json that run_train.py wrote",
            "copy the file again, or run the training again",
        ) from error
    try:
        scores = task.from_columns(columns, classes)
    except (KeyError, ValueError) as error:
        got = f"{folders[0] / PREDICTIONS} without scores of {systems[0]} ({error})"
        raise NoScoresError(got, EXPECTED, "run the training again: an earlier version wrote other columns") from error
    where = columns[case], columns[group], networks
    return Pooled(name, len(folders), data.pop(), *where, scores, task.metrics, classes, costs, group)


def cases_of_result(folder: Path) -> list[str]:
    """Return the names of the cases that a training or an evaluation tested.

    Args:
        folder: Its folder.

    Returns:
        The names, in the order of predictions.csv.

    Raises:
        NASError: If there is no predictions.csv, or it is damaged.
    """
    result = TrainResult.load(folder / RESULT)
    return [str(name) for name in _columns(folder / PREDICTIONS, result.name)["sample"]]


def _columns(path: Path, system: str) -> dict[str, np.ndarray]:
    """Read the columns of the samples, the target and one system, without the name of the system."""
    try:
        require_regular(path, MOST_CSV_BYTES)
        with open(path, newline="", encoding="utf-8") as file:
            heading, *lines = (list(map(text_of, line)) for line in csv.reader(file))
        table = dict(zip(heading, np.array(lines, dtype=str).T, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise _no_predictions(f"{path} ({error})") from error
    own = {key.removeprefix(f"{system}: "): values for key, values in table.items() if key.startswith(f"{system}: ")}
    if not own:
        raise _no_predictions(f"{path} without columns of {system}")
    return {key: values for key, values in table.items() if ": " not in key} | own


def _no_predictions(got: str) -> NASError:
    return NASError(got, EXPECTED, "check the path")


@dataclass(frozen=True)
class Margin:
    """By how much the first system is above another one in the first metric.

    Attributes:
        above: Name of the other system.
        value: The difference over all cases.
        ci95: Its 95 % interval.
    """

    above: str
    value: float
    ci95: Bounds


def pooled_rows(systems: Sequence[Pooled], resamples: int = 2000, seed: int = 0) -> tuple[list[Row], list[Margin]]:
    """Compare systems on the same bootstrap samples.

    Each fold has a search and a training of its own: the samples draw folds, and patients of each, so that intervals
    hold the spread of both (`nas.metrics.hierarchical`). With one fold, or systems of other folds, they draw patients.

    Args:
        systems: The systems, all with the same cases.
        resamples: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Returns:
        Rows of the table, and the margins of the first system over the others.

    Raises:
        NASError: If a system tested other cases.
    """
    first = systems[0]
    for other in systems[1:]:
        if other.data != first.data or not np.array_equal(other.cases, first.cases):
            raise NASError(
                f"{other.name} on {len(other.cases)} cases of {other.data[1]}",
                f"the {len(first.cases)} cases of {first.name}",
                "the same test folds for every system",
            )
    percentiles, samples = PERCENTILES, []
    if of_folds(systems):
        percentiles = expanded_percentiles(first.folds)
        samples = nested_rows(first.networks, first.groups, resamples, seed)
    else:
        samples = GroupBootstrap(first.groups, np.zeros(len(first.cases), dtype=int), resamples, seed).rows
    score, rows, margins = first.metrics[0].name, [], []
    draws = [[system.scores.over(sample) for sample in samples] for system in systems]
    for system, drawn in zip(systems, draws, strict=True):
        rows.append(Row(system.name, system.scores.over(), intervals(drawn, percentiles), system.costs))
        if system is not first:
            both = zip(draws[0], drawn, strict=True)
            apart = intervals([{score: own[score] - its[score]} for own, its in both if own and its], percentiles)
            margins.append(Margin(system.name, rows[0].metrics[score] - rows[-1].metrics[score], apart[score]))
    return rows, margins


def of_folds(systems: Sequence[Pooled]) -> bool:
    """Check whether a bootstrap can draw folds: there are several, and every system has the same ones.

    Args:
        systems: Systems with the same cases.

    Returns:
        True if it can.
    """
    alike = all(np.array_equal(system.networks, systems[0].networks) for system in systems)
    return systems[0].folds > 1 and alike


def pooled_table(systems: Sequence[Pooled]) -> str:
    """Write the table of several systems.

    Args:
        systems: The systems, all with the same cases.

    Returns:
        Markdown: the table, the first metric of each class if the task declares it, and the margins of the first
        system.

    Raises:
        NASError: If a system tested other cases.
    """
    rows, margins = pooled_rows(systems)
    first, score = systems[0], systems[0].metrics[0]
    patients = len(np.unique(first.groups))
    folds = f"{first.folds} test fold{'s' * (first.folds > 1)}, {len(first.cases)} cases of {patients}"
    over = f"folds (their searches and trainings) and {first.unit}s" if of_folds(systems) else "these"
    caption = f"{first.data[1]} ({first.data[0][:8]}), {folds}; [95 % interval, bootstrap over {over}]"
    text = markdown(rows, caption, [metric for metric in first.metrics if metric.in_tables])
    of_class = {
        label: f"{score.name}_{number}"
        for number, label in enumerate(first.classes)
        if f"{score.name}_{number}" in rows[0].metrics
    }
    if of_class:
        text += f"\n{markdown_row([score.label, *of_class])}\n| --- |" + " ---: |" * len(of_class) + "\n"
        for row in rows:
            cells = [_cell(row, name) for name in of_class.values()]
            text += f"{markdown_row([row.system, *cells])}\n"
    for margin in margins:
        line = PairedDifference(score, margin.value, margin.ci95).line(first.name, margin.above)
        text += f"\n{markdown_text(line)}\n"
    return text


def _cell(row: Row, metric: str) -> str:
    low, high = row.ci95[metric]
    return f"{row.metrics[metric]:.3f} [{low:.3f}, {high:.3f}]"
