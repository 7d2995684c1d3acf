"""One table over several test folds: each patient once, tested by a network whose search and training never saw it.

voxnas pooled 'searched=outputs/train/searched-fold*' 'U-Net=outputs/train/unet-fold*'

The runs are those of `run_train.py` with another split.test_fold each, of a segmentation.
"""

from __future__ import annotations

import argparse
import csv
import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.errors import NASError
from nas.metrics.bootstrap import GroupBootstrap
from nas.retraining.result import TrainResult
from nas.retraining.tables import Row, markdown
from nas.tasks.segmentation import METRICS

COSTS = ("params", "macs", "bytes")


@dataclass(frozen=True)
class Pooled:
    """A system on the cases of all its folds, in the order of their names.

    cases, groups (N,): sample and patient. values_NK: metric -> values of each case and class, NaN where the case does
    not count for the class. costs: params, macs and bytes, means over the folds.
    """

    name: str
    folds: int
    data: tuple[str, str]
    cases: np.ndarray
    groups: np.ndarray
    values_NK: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    costs: Mapping[str, float]

    def metrics(self, rows: np.ndarray) -> dict[str, float]:
        """As Segmentation gives them: of each class the mean over the cases that count, then the mean over classes."""
        found: dict[str, float] = {}
        for metric, values_NK in self.values_NK.items():
            mean_K = np.nanmean(values_NK[rows], axis=0)
            found[metric] = float(mean_K.mean())
            found |= {f"{metric}_{number}": float(value) for number, value in enumerate(mean_K, start=1)}
        return found


def read_pooled(name: str, folders: Sequence[Path]) -> Pooled:
    """Raises NASError for no folder, one without a segmentation, runs that share a case, and runs on other data."""
    if not folders:
        raise NASError(f"no folder for {name}", "folders that run_train.py wrote", "check the path")
    results = [TrainResult.load(folder / "result.json") for folder in folders]
    data = {(result.data["sha256"], result.data["name"]) for result in results}
    if len(data) > 1:
        raise NASError(f"runs of {name} on {len(data)} data sets", "one", "mend the paths")
    lines = [_lines(folder, result.name) for folder, result in zip(folders, results, strict=True)]
    case, group, numbers = (
        np.concatenate([getattr(part, key) for part in lines]) for key in ("case", "group", "values")
    )
    if len(np.unique(case)) < len(case):
        raise NASError(
            f"runs of {name} that tested a case twice", "another test fold each", "one run a split.test_fold"
        )
    if len({part.columns for part in lines}) > 1:
        raise NASError(f"runs of {name} with other metrics or classes", "the same in all", "mend the paths")
    columns = lines[0].columns
    order = np.argsort(case)
    values = {
        metric: numbers[order][:, [index for index, (other, _) in enumerate(columns) if other == metric]]
        for metric in dict.fromkeys(metric for metric, _ in columns)
    }
    classes = tuple(dict.fromkeys(label for _, label in columns))
    costs = {key: float(np.mean([result.costs[key] for result in results])) for key in COSTS}
    return Pooled(name, len(folders), data.pop(), case[order], group[order], values, classes, costs)


@dataclass(frozen=True)
class _Lines:
    case: np.ndarray
    group: np.ndarray
    values: np.ndarray
    columns: tuple[tuple[str, str], ...]


def _lines(folder: Path, system: str) -> _Lines:
    """The columns of one system in predictions.csv, whose first two are the case and what the split keeps together."""
    try:
        with open(folder / "predictions.csv", newline="") as file:
            table = list(csv.DictReader(file))
        keys = list(table[0])
        own = [key for key in keys if key.startswith(f"{system}: ") and ", " in key[len(system) + 2 :]]
        values = np.array([[float(line[key] or "nan") for key in own] for line in table])
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise _no_predictions(f"{folder / 'predictions.csv'} ({error})") from error
    if not own:
        raise _no_predictions(f"{folder / 'predictions.csv'} without metrics of {system}")
    columns = [key[len(system) + 2 :].split(", ", 1) for key in own]
    case, group = (np.array([line[key] for line in table]) for key in keys[:2])
    return _Lines(case, group, values, tuple((metric, label) for metric, label in columns))


def _no_predictions(got: str) -> NASError:
    return NASError(got, "the predictions of a segmentation that run_train.py wrote", "check the path")


@dataclass(frozen=True)
class Margin:
    """By how much mean Dice the first system is above another one, and its 95 % interval."""

    above: str
    dice: float
    ci95: tuple[float, float]


def pooled_rows(systems: Sequence[Pooled], resamples: int = 2000, seed: int = 0) -> tuple[list[Row], list[Margin]]:
    """Rows of the table, and the margins of the first system over the others, all over the same resamples of patients.

    Raises NASError for systems that tested other cases."""
    first = systems[0]
    for other in systems[1:]:
        if other.data != first.data or not np.array_equal(other.cases, first.cases):
            raise NASError(
                f"{other.name} on {len(other.cases)} cases of {other.data[1]}",
                f"the {len(first.cases)} cases of {first.name}",
                "the same test folds for every system",
            )
    bootstrap = GroupBootstrap(first.groups, np.zeros(len(first.cases), dtype=int), resamples, seed)
    everything = np.arange(len(first.cases))
    rows, margins = [], []
    for system in systems:
        rows.append(Row(system.name, system.metrics(everything), bootstrap.interval(system.metrics), system.costs))
        if system is not first:
            margins.append(_margin(first, system, bootstrap, everything))
    return rows, margins


def _margin(first: Pooled, other: Pooled, bootstrap: GroupBootstrap, everything: np.ndarray) -> Margin:
    def difference(rows: np.ndarray) -> dict[str, float]:
        return {"dice": first.metrics(rows)["dice"] - other.metrics(rows)["dice"]}

    return Margin(other.name, difference(everything)["dice"], bootstrap.interval(difference)["dice"])


def pooled_table(systems: Sequence[Pooled]) -> str:
    """Markdown: the table, the Dice of each class, and how far the first system is above each other one."""
    rows, margins = pooled_rows(systems)
    first = systems[0]
    patients = len(np.unique(first.groups))
    folds = f"{first.folds} test fold{'s' * (first.folds > 1)}, {len(first.cases)} cases of {patients}"
    caption = f"{first.data[1]} ({first.data[0][:8]}), {folds}; [95 % interval, bootstrap over these]"
    text = markdown(rows, caption, METRICS)
    text += "\n| Dice | " + " | ".join(first.classes) + " |\n| --- |" + " ---: |" * len(first.classes) + "\n"
    for row in rows:
        cells = []
        for number in range(1, len(first.classes) + 1):
            low, high = row.ci95[f"dice_{number}"]
            cells.append(f"{row.metrics[f'dice_{number}']:.3f} [{low:.3f}, {high:.3f}]")
        text += f"| {row.system} | {' | '.join(cells)} |\n"
    for margin in margins:
        low, high = margin.ci95
        text += f"\n{first.name} above {margin.above}: {margin.dice:+.4f} Dice [{low:+.4f}, {high:+.4f}]\n"
    return text


def run(options: argparse.Namespace) -> None:
    """Print the table as Markdown."""
    systems = []
    for text in options.systems:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise NASError(text, "NAME=FOLDERS", "for example 'searched=outputs/train/fold*'")
        systems.append(read_pooled(name, [Path(path) for path in sorted(glob.glob(pattern))]))
    print(pooled_table(systems), end="")
