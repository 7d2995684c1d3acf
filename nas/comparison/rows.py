"""One row per job: settings, seed, metrics, costs and seconds, as a table for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.comparison.groups import settings_of
from nas.comparison.jobs import Job
from nas.comparison.searches import EPOCHS, OF_TRAINING, SECONDS
from nas.history import State
from nas.metrics.names import COSTS, TRAINING_MACS
from nas.utils.files import write_text
from nas.utils.spreadsheet import cell


def rows_of(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Return one row per job.

    Args:
        jobs: Searches and trainings.

    Returns:
        Rows with the same keys: kind, state, every varied setting, network (of a training on several), seed, arch_id,
        networks (trained by a search), the metrics (validation metrics of the network that a search chose, test metrics
        of a training), costs, epochs, seconds and training_macs of training, data, folder and reason of a failure.
        Values that are unknown are None; a job without a result has neither metrics nor costs.
    """
    settings = settings_of(jobs)
    keys = list(dict.fromkeys(key for own in settings.values() for key in own))
    measured = {job.key: metrics_of(job) for job in jobs}
    names = dict.fromkeys(name for found in measured.values() for name in found)
    metrics = [name for name in names if name not in COSTS]
    costs = [name for name in COSTS if name in names]
    rows = []
    for job in jobs:
        row: dict[str, Any] = {"kind": job.kind, "state": job.state}
        row |= {key: settings[job.key].get(key) for key in keys}
        row |= {"seed": job.seed, "arch_id": _arch_id(job), "networks": _networks(job)}
        row |= {name: measured[job.key].get(name) for name in (*metrics, *costs)}
        row |= {EPOCHS: _known(job.epochs), SECONDS: _known(job.seconds), TRAINING_MACS: _known(job.training_macs)}
        row |= {"data": job.data[0] if job.data else None, "folder": str(job.folder), "reason": job.reason or None}
        rows.append(row)
    return rows


def metrics_of(job: Job) -> dict[str, float]:
    """Return metrics and costs of a job's network.

    Args:
        job: The job.

    Returns:
        Validation metrics of the chosen network of a search; test metrics of a training, of the mean prediction of
        its networks. Empty without a result. The costs of one network of several are known of the first alone.
    """
    if job.search is not None:
        return {name: value for name, value in job.search.metrics.items() if name not in OF_TRAINING}
    result = job.training
    if result is None:
        return {}
    pooled: Mapping[str, Any] = result.ensembles.get(job.network or result.name, result.mean)
    scores = {name: float(value) for name, value in pooled.items() if name != "ci95"}
    if job.network not in ("", result.name):
        return scores
    costs = {
        name: value.get("median") if isinstance(value, Mapping) else value
        for name, value in result.costs.items()
        if name in COSTS
    }
    return scores | {name: float(value) for name, value in costs.items() if value is not None}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as csv, atomically.

    Args:
        path: The file.
        rows: Rows with the same keys; None is written as an empty cell.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(cell, rows[0]))
    writer.writerows(["" if value is None else cell(str(value)) for value in row.values()] for row in rows)
    write_text(path, text.getvalue())


def _arch_id(job: Job) -> str | None:
    if job.search is not None:
        return job.search.arch_id
    return job.training.arch_id if job.training is not None and job.network in ("", job.training.name) else None


def _networks(job: Job) -> int | None:
    """Return the number of networks that a search trained, however often."""
    if job.search is None:
        return None
    return len({trial.arch for trial in job.search.history.searched if trial.state is State.COMPLETE})


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
