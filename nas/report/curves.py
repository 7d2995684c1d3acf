"""curves.csv of a search or a training: tidy, with one row for each metric of each epoch and of each finished trial."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nas.bundle import bundle_folder
from nas.history import History, State, Trial
from nas.supernets.loading import FOLDER
from nas.training.curves import CURVES, read_curves
from nas.utils.files import write_text
from nas.utils.spreadsheet import cell

OF_SEARCH = ("trial", "arch_id", "budget", "epoch", "metric", "value", "seconds")
OF_TRAINING = ("network", "fold", "epoch", "metric", "value")
NO_METRICS = ("epoch", "seconds")
Epochs = Sequence[Mapping[str, float]]


class SearchCurves:
    """The curves of a search, from its trials and from the files that their trainings left.

    They depend on the study and its checkpoints only, so that a resumed search has the same rows as one without a
    break. Files of finished trials are read once.

    Args:
        checkpoints: Folder of the checkpoints of the search.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._epochs: dict[int, Epochs] = {}

    def epochs(self, trial: Trial) -> Epochs:
        """Return the epochs of a finished trial.

        Args:
            trial: The trial.

        Returns:
            Epoch, metrics and, if known, seconds since its start; empty if the evaluator trains nothing or the files
            are gone.
        """
        if trial.number not in self._epochs:
            name = trial.arch.id + (f"-replicate-{trial.replicate}" if trial.replicate else "")
            names = (f"{name}-{trial.budget}-epochs", name)
            read = next((rows for name in names if (rows := _read(self.checkpoints / name))), [])
            # a longer training of the same network continues the file; a repeated one counts the epochs of both
            run = min(trial.metrics.get("epochs", math.inf), trial.budget or math.inf)
            self._epochs[trial.number] = [row for row in read if row["epoch"] <= run]
        return self._epochs[trial.number]

    def rows(self, history: History) -> list[tuple[object, ...]]:
        """Return the rows of curves.csv.

        Args:
            history: The trials of the study.

        Returns:
            Values of OF_SEARCH. Rows of a finished trial as a whole have no epoch; epochs of a supernet have the trial
            "supernet".
        """
        found = [row for rows in _read(self.checkpoints / FOLDER) for row in _of_epoch(("supernet", "", ""), rows)]
        for trial in history:
            if trial.state is not State.COMPLETE:
                continue
            name = (trial.number, trial.arch.id, trial.budget)
            found += [row for rows in self.epochs(trial) for row in _of_epoch(name, rows)]
            seconds = round(trial.finished - trial.started, 3)
            found += [(*name, "", metric, value, seconds) for metric, value in sorted(trial.metrics.items())]
        return found

    def write(self, folder: Path, history: History) -> None:
        """Write curves.csv.

        Args:
            folder: Folder of the file.
            history: The trials of the study.
        """
        _write(folder, OF_SEARCH, self.rows(history))


def write_training_curves(
    folder: Path, networks: Mapping[str, str], folds: Sequence[str], running: Mapping[tuple[str, str], Epochs]
) -> None:
    """Write curves.csv of a training.

    Args:
        folder: Folder of the training.
        networks: Name in tables -> id of the architecture.
        folds: Names of the folds.
        running: (name in tables, fold) -> epochs seen in this run; used while a fold has no bundle.
    """
    rows: list[tuple[object, ...]] = []
    for name, arch_id in networks.items():
        for fold in folds:
            epochs = _read(bundle_folder(folder, arch_id, fold)) or running.get((name, fold), ())
            rows += [row[:-1] for one in epochs for row in _of_epoch((name, fold), one)]
    _write(folder, OF_TRAINING, rows)


def _of_epoch(name: tuple[object, ...], row: Mapping[str, float]) -> list[tuple[object, ...]]:
    """One row for each metric of an epoch, the seconds last."""
    seconds = round(row["seconds"], 3) if "seconds" in row else ""
    return [
        (*name, int(row["epoch"]), metric, value, seconds) for metric, value in row.items() if metric not in NO_METRICS
    ]


def _read(folder: Path) -> Epochs:
    try:
        return read_curves(folder)
    except (OSError, ValueError):  # not there, or being written by an earlier version
        return []


def _write(folder: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) if isinstance(value, str) else value for value in row] for row in rows)
    write_text(folder / CURVES, text.getvalue())
