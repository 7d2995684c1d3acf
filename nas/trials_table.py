"""The trials of a study as a table for other programs: csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from nas.files import write_text
from nas.history import Record


def write_csv(path: str | Path, records: Sequence[Record]) -> None:
    """One row a trial: number, state, architecture, budget, every metric, seconds, worker, reason."""
    names = sorted({name for record in records for name in record.metrics})
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["number", "state", "arch_id", "genes", "budget", *names, "seconds", "worker", "reason"])
    for record in records:
        seconds = f"{record.finished - record.started:.2f}" if record.finished else ""
        genes = " ".join(map(str, record.arch.genes))
        metrics = [record.metrics.get(name, "") for name in names]
        row = [record.number, record.state.value, record.arch.id, genes, record.budget, *metrics]
        writer.writerow([*row, seconds, record.worker, record.reason])
    write_text(path, text.getvalue())
