"""predictions.csv: the prediction of every system for every tested sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from nas.retraining.scoring import Scorer, System
from nas.utils.spreadsheet import cell

PREDICTIONS = "predictions.csv"


def predictions_csv(scorer: Scorer, systems: Sequence[System]) -> str:
    """Write the predictions as a table.

    Args:
        scorer: Scores on the tested samples.
        systems: The systems of the table.

    Returns:
        CSV with one line for each tested sample: its name, its patient, the target's columns, and the columns of each
        system as "<system>: <column>". A value that is undefined is empty.
    """
    store, rows = scorer.store, scorer.rows
    columns: dict[str, list[str]] = {"sample": _cells(store.names[rows]), cell(store.unit): _cells(store.groups[rows])}
    for heading, values in scorer.scores(systems[0]).truth(store.classes).items():
        columns[cell(heading)] = _cells(values)
    for system in systems:
        for heading, values in scorer.scores(system).columns(store.classes).items():
            columns[cell(f"{system.name}: {heading}")] = _cells(values)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _cells(values: Iterable[object]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: object) -> str:
    if not isinstance(value, float | np.floating):
        return cell(str(value))
    return f"{value:.6f}" if np.isfinite(value) else ""
