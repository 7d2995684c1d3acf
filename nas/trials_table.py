"""Trials of a study as a table in HDF5, for simulated searches."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.history import State, Trial
from nas.utils.files import write_bytes
from nas.utils.foreign import parse_json, require_regular
from nas.utils.foreign_hdf5 import require_own_content

FORMATS = (1, 2, 3)  # without replicates; with them; also with curves, cases and facts
KNOWN_BEFOREHAND = ("params", "macs", "bytes", "activation_bytes", "training_bytes", "latency_ms")
SCORES = "scores/"  # prefix of metrics that networks have without a training
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
        replicates_N: (N,) int64 numbers of the replicates, from 0.
        curves: (N, E) float32 values after each epoch by name: metrics of the validation part, and `seconds` since the
            start of the training; NaN where there are none. The number of epochs E is the largest budget.
        cases: (N, cases, classes - 1) float32 by "part/metric", such as "test/dice": values of single cases.
        facts: JSON values about the trainings: recipe, names of the cases, versions, machine, licence of the data.
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
    replicates_N: np.ndarray
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    cases: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

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
            replicates_N=np.array([record.replicate for record in records], dtype=np.int64),
        )

    @property
    def format(self) -> int:
        """Version of the file's format: 2 if the table has replicates, 3 if it has curves, cases or facts."""
        return 3 if self.curves or self.cases or self.facts else FORMATS[bool(self.replicates_N.any())]

    @cached_property
    def sha256(self) -> str:
        """Hash of the content; unlike that of the file, it is independent of the version of HDF5."""
        digest = hashlib.sha256(json.dumps([self.format, *self._texts()], sort_keys=True).encode())
        for name, array in self._arrays().items():
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def _texts(self) -> list[Any]:
        states = [state.value for state in self.states]
        facts = [self.facts] if self.format == 3 else []
        return [self.space.to_json(), self.objectives, self.spec, states, self.reasons, *facts]

    def _arrays(self) -> dict[str, np.ndarray]:
        facts = {"numbers": self.numbers_N, "genes": self.genes_NG, "budgets": self.budgets_N}
        metrics = {f"metrics/{name}": self.metrics[name] for name in sorted(self.metrics)}
        replicates = {"replicates": self.replicates_N} if self.replicates_N.any() else {}
        more = {f"curves/{name}": self.curves[name] for name in sorted(self.curves)}
        more |= {f"cases/{name}": self.cases[name] for name in sorted(self.cases)}
        return {**facts, **replicates, "seconds": self.seconds_N, **metrics, **more}

    def mean_over_cases(self, name: str) -> np.ndarray:
        """Average values of single cases: over the cases that count for a class, then over classes.

        Values of the test part are in `cases` alone and not among the metrics, which searches read.

        Args:
            name: "part/metric" of `cases`, such as "test/dice".

        Returns:
            (N,) means; NaN for trials without values.

        Raises:
            NASError: If the table has no such values.
        """
        if name not in self.cases:
            raise NASError(f"no cases {name!r}", f"one of {', '.join(self.cases) or 'none'}", "take another table")
        values_NCK = self.cases[name].astype(np.float64)
        counts_NK = np.isfinite(values_NCK).sum(axis=1)
        sums_NK = np.nansum(values_NCK, axis=1)
        mean_NK = np.divide(sums_NK, counts_NK, out=np.full(sums_NK.shape, np.nan), where=counts_NK > 0)
        return mean_NK.mean(axis=1)

    def by_epoch(self, score: str) -> TrialsTable:
        """Add a trial for each epoch of the curves: what a training that is stopped there reports.

        It reports the metrics of the best epoch so far and the seconds until then. This is no training of so few
        epochs of its own, whose learning rate would fall earlier, unless the schedule is constant.

        Args:
            score: Metric of the curves by which the best epoch is chosen.

        Returns:
            The trials of this table, then those of smaller budgets, with costs and scores that are known without a
            training, but without the metrics of the test part. The table itself if it has no curves.
        """
        if score not in self.curves:
            return self
        sign = -1.0 if self.objectives.get(score) == "minimize" else 1.0
        known = [name for name in self.metrics if name in KNOWN_BEFOREHAND or name.startswith(SCORES)]
        done_N = np.array([state is State.COMPLETE for state in self.states], dtype=bool)
        parts = [self]
        for epoch in range(1, self.curves[score].shape[1]):
            value_NE = sign * self.curves[score][:, :epoch]
            rows_N = np.flatnonzero(done_N & (self.budgets_N > epoch) & np.isfinite(value_NE).any(axis=1))
            best_N = np.where(np.isfinite(value_NE[rows_N]), value_NE[rows_N], -np.inf).argmax(axis=1)
            metrics = {name: np.full(len(rows_N), np.nan) for name in self.metrics}
            metrics |= {name: self.metrics[name][rows_N] for name in known}
            for name in set(self.curves) - {SECONDS}:
                metrics[name] = self.curves[name][rows_N, best_N].astype(np.float64)
            metrics["epochs"] = np.full(len(rows_N), float(epoch))
            seconds_N = np.full(len(rows_N), np.nan)
            if SECONDS in self.curves:
                taken_NE = np.fmax.accumulate(self.curves[SECONDS][rows_N, :epoch], axis=1)  # it may have ended before
                seconds_N = metrics[SECONDS] = taken_NE[:, -1].astype(np.float64)
            budgets_N = np.full(len(rows_N), epoch, dtype=np.int64)
            taken = self.rows(rows_N)
            parts.append(replace(taken, budgets_N=budgets_N, seconds_N=seconds_N, metrics=metrics))
        return joined(parts)

    def rows(self, rows: np.ndarray) -> TrialsTable:
        """Return the table of some trials.

        Args:
            rows: (R,) positions.

        Returns:
            The trials in this order.
        """
        return replace(
            self,
            numbers_N=self.numbers_N[rows],
            genes_NG=self.genes_NG[rows],
            budgets_N=self.budgets_N[rows],
            seconds_N=self.seconds_N[rows],
            states=tuple(self.states[row] for row in rows),
            reasons=tuple(self.reasons[row] for row in rows),
            metrics={name: column_N[rows] for name, column_N in self.metrics.items()},
            replicates_N=self.replicates_N[rows],
            curves={name: values[rows] for name, values in self.curves.items()},
            cases={name: values[rows] for name, values in self.cases.items()},
        )


def joined(parts: Sequence[TrialsTable]) -> TrialsTable:
    """Join tables of one space, without curves, cases and facts.

    Args:
        parts: At least one table.

    Returns:
        The trials of all parts in their order; metrics that a part lacks are NaN.
    """
    names = sorted({name for part in parts for name in part.metrics})
    return replace(
        parts[0],
        numbers_N=np.concatenate([part.numbers_N for part in parts]),
        genes_NG=np.concatenate([part.genes_NG for part in parts]),
        budgets_N=np.concatenate([part.budgets_N for part in parts]),
        seconds_N=np.concatenate([part.seconds_N for part in parts]),
        states=tuple(state for part in parts for state in part.states),
        reasons=tuple(reason for part in parts for reason in part.reasons),
        metrics={
            name: np.concatenate([part.metrics.get(name, np.full(len(part), np.nan)) for part in parts])
            for name in names
        },
        replicates_N=np.concatenate([part.replicates_N for part in parts]),
        curves={},
        cases={},
        facts={},
    )


def write_h5(path: str | Path, table: TrialsTable) -> None:
    """Write a table as HDF5, atomically.

    The file has datasets numbers, genes, budgets, seconds, states, reasons and metrics/<name>, with replicates also
    replicates, and JSON attributes. In format 3 it may have curves/<name>, cases/<part>/<metric> and the attribute
    facts.

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
        file.attrs["format"] = table.format
        for key in ("objectives", "spec", *(["facts"] if table.facts else [])):
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
            if int(file.attrs["format"]) not in FORMATS:
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
                metrics=_arrays_in(file, "metrics"),
                replicates_N=_replicates(file),
                curves=_arrays_in(file, "curves"),
                cases=_arrays_in(file, "cases"),
                facts=parse_json(file.attrs["facts"]) if "facts" in file.attrs else {},
            )
            _require_rows(table)
            sha256 = file.attrs["sha256"]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = "no such file" if not Path(path).exists() else " ".join(str(error).split())[:200]
        raise NASError(
            f"{path} ({reason})",
            f"a table of trials, format {', '.join(map(str, FORMATS[:-1]))} or {FORMATS[-1]}",
            "write a table with `voxnas study export <store> <study> --out trials.h5`",
        ) from error
    if table.sha256 != sha256:
        raise NASError(
            f"{path} with sha256={table.sha256}",
            f"sha256={sha256}, as recorded in the file",
            "export the table again with `voxnas study export`",
        )
    return table


def _replicates(file: h5py.File) -> np.ndarray:
    return file["replicates"][:] if "replicates" in file else np.zeros(len(file["budgets"]), dtype=np.int64)


def _arrays_in(file: h5py.File, name: str) -> dict[str, np.ndarray]:
    """Read the datasets of a group and of the groups in it, by their names below it."""
    found: dict[str, np.ndarray] = {}
    if name in file:
        file[name].visititems(
            lambda key, value: found.update({key: value[:]}) if isinstance(value, h5py.Dataset) else None
        )
    return found


def _require_rows(table: TrialsTable) -> None:
    for name, array in table._arrays().items():
        if array.shape[:1] != (len(table),):
            raise ValueError(f"{name} of shape {array.shape} for {len(table)} trials")


def _seconds(record: Trial) -> float:
    if SECONDS in record.metrics:
        return record.metrics[SECONDS]
    return record.finished - record.started if record.finished else float("nan")
