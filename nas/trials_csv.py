"""Trials of a study as csv, for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.history import History, Trial
from nas.utils.files import write_text
from nas.utils.spreadsheet import cell

WALL = "wall_seconds"  # column of the time from start to end
OVER_REPLICATES = ("score_mean", "score_standard_error", "evaluations")  # columns of trials.csv


def write_csv(path: str | Path, records: Sequence[Trial], history: History | None = None) -> None:
    """Write one row per trial: number, state, architecture, budget, replicate, every metric, seconds, worker, reason.

    Args:
        path: File to write, atomically.
        records: Trials in order of number.
        history: The history of the trials, for the means over replicates; see `rows_of`.
    """
    columns, rows = rows_of(records, history)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    seconds = columns.index(WALL)
    for row in rows:
        row[seconds] = "" if row[seconds] is None else f"{row[seconds]:.2f}"
        writer.writerow(["" if value is None else cell(str(value)) for value in row])
    write_text(path, text.getvalue())


def rows_of(records: Sequence[Trial], history: History | None = None) -> tuple[list[str], list[list[Any]]]:
    """Return one row per trial: number, state, architecture, budget, replicate, every metric, seconds, worker, reason.

    Args:
        records: Trials in order of number.
        history: The history of the trials. If networks have replicates, mean and standard error of the score over those
            of the search or of the confirmation, and their number, follow.

    Returns:
        The columns, and the rows with None for what a trial lacks.
    """
    names = sorted({name for record in records for name in record.metrics})
    rows: list[list[Any]] = []
    for record in records:
        seconds = record.finished - record.started if record.finished else None
        genes = " ".join(map(str, record.arch.genes))
        metrics = [record.metrics.get(name) for name in names]
        row = [record.number, record.state.value, record.arch.id, genes, record.budget, record.replicate, *metrics]
        rows.append([*row, seconds, record.worker, record.reason])
    columns = ["number", "state", "arch_id", "genes", "budget", "replicate", *names, WALL, "worker", "reason"]
    if history is None or not any(record.replicate for record in records):
        return columns, rows
    means = {
        trial.number: part.statistic(trial, history.score)
        for part in (history.searched, history.confirmed)
        for trial in part.complete()
    }
    for record, row in zip(records, rows, strict=True):
        mean = means.get(record.number)
        row += [None, None, None] if mean is None else [mean.mean, _known(mean.standard_error), mean.count]
    return [*columns, *OVER_REPLICATES], rows


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
