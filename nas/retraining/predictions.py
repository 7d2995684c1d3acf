"""predictions.csv: the prediction of every system for every tested sample."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from nas.retraining.scoring import Scorer, System

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
    columns: dict[str, list[str]] = {"sample": list(store.names[rows]), store.unit: list(store.groups[rows])}
    for heading, values in scorer.scores(systems[0]).truth(store.classes).items():
        columns[heading] = [_cell(value) for value in values]
    for system in systems:
        for heading, values in scorer.scores(system).columns(store.classes).items():
            columns[f"{system.name}: {heading}"] = [_cell(value) for value in values]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _cell(value: object) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    return f"{value:.6f}" if np.isfinite(value) else ""
