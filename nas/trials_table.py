"""Trials of a study as a table: csv for other programs, HDF5 for simulated searches."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.history import State, Trial
from nas.utils.files import write_bytes, write_text
from nas.utils.foreign import parse_json, require_regular
from nas.utils.foreign_hdf5 import require_own_content
from nas.utils.spreadsheet import cell

FORMAT = 1
WALL = "wall_seconds"  # column of the time from start to end
SECONDS = "seconds"  # metric with the duration of an evaluation


@dataclass(frozen=True)
class TrialsTable:
    """Trials as arrays in order of number, written by `write_h5` and read by `read_h5`.

    Args:
        space: Facts that rebuild the space.
        objectives: "maximize" or "minimize" by metric.
        spec: Specification that all workers of the study share.
        numbers_N: (N,) int64 numbers of the trials.
        genes_NG: (N, G) int16 gene indices.
        budgets_N: (N,) int64 epochs; 0 for the evaluator's own.
        seconds_N: (N,) float64 durations; NaN for running trials.
        states: State of each trial.
        reasons: Reason of each failure; else empty.
        metrics: (N,) float64 values by name; NaN for trials without the metric.
    """

    space: SpaceFacts
    objectives: Mapping[str, str]
    spec: Mapping[str, Any]
    numbers_N: np.ndarray
    genes_NG: np.ndarray
    budgets_N: np.ndarray
    seconds_N: np.ndarray
    states: tuple[State, ...]
    reasons: tuple[str, ...]
    metrics: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.states)

    @classmethod
    def of(
        cls, records: Sequence[Trial], space: SpaceFacts, objectives: Mapping[str, str], spec: Mapping[str, Any]
    ) -> TrialsTable:
        """Make a table of trials.

        The duration of a trial is its metric `seconds`; without it, the time from start to end.

        Args:
            records: Trials in order of number.
            space: Facts that rebuild the space.
            objectives: "maximize" or "minimize" by metric.
            spec: Specification that all workers of the study share.

        Returns:
            The table.
        """
        names = sorted({name for record in records for name in record.metrics})
        nan = float("nan")
        columns = {name: [record.metrics.get(name, nan) for record in records] for name in names}
        genes = [record.arch.genes for record in records]
        return cls(
            space=space,
            objectives=dict(objectives),
            spec=dict(spec),
            numbers_N=np.array([record.number for record in records], dtype=np.int64),
            genes_NG=np.array(genes, dtype=np.int16).reshape(len(records), len(space.genes)),
            budgets_N=np.array([record.budget for record in records], dtype=np.int64),
            seconds_N=np.array([_seconds(record) for record in records], dtype=np.float64),
            states=tuple(record.state for record in records),
            reasons=tuple(record.reason for record in records),
            metrics={name: np.array(column, dtype=np.float64) for name, column in columns.items()},
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the content; unlike that of the file, it is independent of the version of HDF5."""
        digest = hashlib.sha256(json.dumps([FORMAT, *self._texts()], sort_keys=True).encode())
        for name, array in self._arrays().items():
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def _texts(self) -> list[Any]:
        states = [state.value for state in self.states]
        return [self.space.to_json(), self.objectives, self.spec, states, self.reasons]

    def _arrays(self) -> dict[str, np.ndarray]:
        facts = {"numbers": self.numbers_N, "genes": self.genes_NG, "budgets": self.budgets_N}
        metrics = {f"metrics/{name}": self.metrics[name] for name in sorted(self.metrics)}
        return {**facts, "seconds": self.seconds_N, **metrics}


def write_csv(path: str | Path, records: Sequence[Trial]) -> None:
    """Write one row per trial: number, state, architecture, budget, every metric, seconds, worker, reason.

    Args:
        path: File to write, atomically.
        records: Trials in order of number.
    """
    columns, rows = rows_of(records)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    seconds = columns.index(WALL)
    for row in rows:
        row[seconds] = "" if row[seconds] is None else f"{row[seconds]:.2f}"
        writer.writerow(["" if value is None else cell(str(value)) for value in row])
    write_text(path, text.getvalue())


def rows_of(records: Sequence[Trial]) -> tuple[list[str], list[list[Any]]]:
    """Return one row per trial: number, state, architecture, budget, every metric, seconds, worker, reason.

    Args:
        records: Trials in order of number.

    Returns:
        The columns, and the rows with None for what a trial lacks.
    """
    names = sorted({name for record in records for name in record.metrics})
    rows: list[list[Any]] = []
    for record in records:
        seconds = record.finished - record.started if record.finished else None
        genes = " ".join(map(str, record.arch.genes))
        metrics = [record.metrics.get(name) for name in names]
        row = [record.number, record.state.value, record.arch.id, genes, record.budget, *metrics]
        rows.append([*row, seconds, record.worker, record.reason])
    return ["number", "state", "arch_id", "genes", "budget", *names, WALL, "worker", "reason"], rows


def write_h5(path: str | Path, table: TrialsTable) -> None:
    """Write a table as HDF5, atomically.

    The file has datasets numbers, genes, budgets, seconds, states, reasons and metrics/<name>, and JSON attributes.

    Args:
        path: File to write.
        table: Table to write.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, array in table._arrays().items():
            file.create_dataset(name, data=array, compression="gzip" if array.size else None)
        file.require_group("metrics")
        text = h5py.string_dtype()
        file.create_dataset("states", data=[state.value for state in table.states], dtype=text)
        file.create_dataset("reasons", data=list(table.reasons), dtype=text)
        file.attrs["format"] = FORMAT
        for key in ("objectives", "spec"):
            file.attrs[key] = json.dumps(getattr(table, key))
        file.attrs["space"] = json.dumps(table.space.to_json())
        file.attrs["sha256"] = table.sha256
    write_bytes(path, memory.getvalue())


def read_h5(path: str | Path) -> TrialsTable:
    """Read a table and check its hash.

    Args:
        path: File that `write_h5` wrote.

    Returns:
        The table.

    Raises:
        NASError: If the file is missing, has another format, or was edited.
    """
    try:
        require_regular(path)
        with h5py.File(path, "r") as file:
            require_own_content(file)
            if int(file.attrs["format"]) != FORMAT:
                raise ValueError(f"format {file.attrs['format']}")
            table = TrialsTable(
                space=SpaceFacts.from_json(parse_json(file.attrs["space"])),
                objectives=parse_json(file.attrs["objectives"]),
                spec=parse_json(file.attrs["spec"]),
                numbers_N=file["numbers"][:],
                genes_NG=file["genes"][:],
                budgets_N=file["budgets"][:],
                seconds_N=file["seconds"][:],
                states=tuple(State(word) for word in file["states"].asstr()[:]),
                reasons=tuple(file["reasons"].asstr()[:]),
                metrics={name: column[:] for name, column in file["metrics"].items()},
            )
            sha256 = file.attrs["sha256"]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = "no such file" if not Path(path).exists() else " ".join(str(error).split())[:200]
        raise NASError(
            f"{path} ({reason})",
            f"a table of trials, format {FORMAT}",
            "write a table with `voxnas study export <store> <study> --out trials.h5`",
        ) from error
    if table.sha256 != sha256:
        raise NASError(
            f"{path} with sha256={table.sha256}",
            f"sha256={sha256}, as recorded in the file",
            "export the table again with `voxnas study export`",
        )
    return table


def _seconds(record: Trial) -> float:
    if SECONDS in record.metrics:
        return record.metrics[SECONDS]
    return record.finished - record.started if record.finished else float("nan")
