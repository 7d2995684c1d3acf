"""Compute the rows of a table: commands as processes, functions in this one; finished rows are kept."""

from __future__ import annotations

import contextlib
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from experiments.tables import scores
from experiments.tables.allowed import table_function
from experiments.tables.differences import with_difference
from experiments.tables.plan import Folders, Planned
from experiments.tables.results import Computed, Results, machine, today
from experiments.tables.spec import Table
from nas.errors import NASError, first_line
from nas.utils.files import write_text

LOG, DRAWS, DONE = "log.txt", "draws.npz", "done.txt"
TAIL = 3000  # characters of a log in which the reason of a failure is looked for
TICK_S = 1.0
FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError, OSError, RuntimeError)
Report = Callable[[int, int, str], None]  # number of the row among those to compute, their number, what runs now


class Runner:
    """Computes planned rows and keeps them in table.json.

    Args:
        table: The table.
        folders: Folders of trainings and data.
        results: Rows that were computed before.
        report: Called before each step, and every second while a command runs.
        allow: Packages whose functions the table may call, see `experiments.tables.spec.load`.
    """

    def __init__(
        self,
        table: Table,
        folders: Folders,
        results: Results,
        report: Report,
        allow: Sequence[str] = (),
    ) -> None:
        self.allow = allow
        self.table, self.folders, self.results, self.report = table, folders, results, report
        self.failures: dict[str, str] = {}

    def run(self, rows: Sequence[Planned]) -> dict[str, Computed]:
        """Compute the rows that are missing; one that fails does not end the others.

        Args:
            rows: All rows of ours.

        Returns:
            Key -> row, of the rows that are finished, also of earlier calls.
        """
        found = {row.key: kept for row in rows if (kept := self.results.get(row))}
        by_key = {row.key: row for row in rows}
        to_do = [row for row in in_order(rows) if not row.reason and row.key not in found]
        for number, row in enumerate(to_do):
            if failed := [key for key in row.after if key in self.failures]:
                self.failures[row.key] = f"needs {failed[0]}"
                continue
            started = time.monotonic()
            try:
                computed = self._computed(row, by_key, partial(self.report, number, len(to_do)))
            except NASError as error:
                self.failures[row.key] = str(error)
                continue
            seconds = round(time.monotonic() - started, 1)
            computed = replace(computed, seconds=seconds)
            self.results.put(row, computed)
            found[row.key] = computed
        self._compare(rows, found)
        return found

    def _compare(self, rows: Sequence[Planned], found: dict[str, Computed]) -> None:
        """Take the differences after all rows, kept ones included: a reference may have come or changed since."""
        by_key = {row.key: row for row in rows}

        def draws_of(key: str) -> scores.Draws | None:
            return scores.read(self._draws(by_key[key], found[key])) if key in found else None

        for row in rows:
            if (own := found.get(row.key)) is None:
                continue
            other = found.get(row.against)
            compared = with_difference(own, draws_of(row.key), row, other, draws_of(row.against), self.table.score)
            if compared != own:
                self.results.put(row, compared)
                found[row.key] = compared

    def _computed(self, row: Planned, by_key: Mapping[str, Planned], say: Callable[[str], None]) -> Computed:
        values = [self._run_seed(row, by_key, seed, say) for seed in row.seeds]
        facts: dict[str, Any] = {"identity": row.identity, "data": row.data, "date": today(), "machine": machine()}
        if row.row.call is not None:
            cells = _averaged([one for one in values if one is not None])
            note = str(cells.pop("note", {"value": ""})["value"])
            return Computed(cells=cells, seeds=row.seeds if len(row.seeds) > 1 else (), note=note, **facts)
        say(f"{row.key}: bootstrap over seeds and patients")
        owner = by_key[row.after[0]] if row.row.of else row
        trained = [owner.folder(self.folders, seed) / owner.row.result for seed in row.seeds]
        measured = scores.draws_or_means(trained, row.seeds, row.row.system)
        if isinstance(measured, tuple):
            cells, first = measured
            note = "interval over patients" if len(row.seeds) == 1 else "interval over seeds (Student's t)"
            facts |= {"cases": first.tested.get("samples", 0), "groups": first.tested.get("groups", 0)}
            return Computed(cells=cells, seeds=row.seeds, note=note, **facts)
        draws = measured
        scores.save(draws, self.folders.runs / row.home / DRAWS)
        costs = {**draws.costs, **({} if row.row.system else scores.hours_of(trained))}
        cells = {**scores.means(draws), **{name: {"value": value} for name, value in costs.items()}}
        return Computed(cells=cells, seeds=row.seeds, cases=draws.cases, groups=draws.groups, **facts)

    def _draws(self, row: Planned, computed: Computed) -> Path:
        """File of the draws of a finished row, whose data need not be there now."""
        return self.folders.runs / row.home_with(computed.data) / DRAWS

    def _run_seed(
        self, row: Planned, by_key: Mapping[str, Planned], seed: int, say: Callable[[str], None]
    ) -> Mapping[str, Any] | None:
        """Run the steps of one seed that are not done; return the values of its `call`."""
        folder = row.folder(self.folders, seed)
        result: Mapping[str, Any] | None = None
        steps = row.filled(self.folders, seed)
        for number, step in enumerate(steps):
            done = folder / f"step{number}-{row.identity}.{DONE}"
            returns = row.row.call is not None and number == len(steps) - 1
            if done.is_file() and not returns:
                continue
            text = f"{row.key}, seed {seed}" + (f", step {number + 1} of {len(steps)}" if len(steps) > 1 else "")
            say(text)
            folder.mkdir(parents=True, exist_ok=True)
            if isinstance(step, Mapping):
                value = call(step, self.allow, folder=folder, seed=seed)
                result = _values(step, value) if returns else None
            else:
                with open(folder / LOG, "a", encoding="utf-8") as log:
                    run_command(step, log, folder / LOG, partial(say, text))
            write_text(done, f"{today()}\n")
        return result


def in_order(rows: Sequence[Planned]) -> list[Planned]:
    """Sort rows so that short ones come first, each after those that it needs.

    Args:
        rows: The rows.

    Returns:
        The rows in the order in which they run.
    """
    by_key, ordered = {row.key: row for row in rows}, {}

    def add(row: Planned) -> None:
        for key in row.after:
            if key in by_key and key not in ordered:
                add(by_key[key])
        ordered[row.key] = row

    for row in sorted(rows, key=lambda row: row.minutes):
        add(row)
    return list(ordered.values())


def call(step: Mapping[str, Any], allow: Sequence[str] = (), **given: Any) -> Any:
    """Call a function that a table names.

    Args:
        step: `_target_`, a dotted path, and arguments.
        allow: See `experiments.tables.allowed.table_function`.
        **given: Arguments that it gets if it takes them.

    Returns:
        Its result.

    Raises:
        NASError: If there is no such function, its arguments are wrong, or it fails.
    """
    path = str(step["_target_"])
    function = table_function(path, allow)
    known = inspect.signature(function).parameters
    arguments = {key: value for key, value in step.items() if key != "_target_"}
    arguments |= {key: value for key, value in given.items() if key in known and key not in arguments}
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise NASError(f"{path}: {error}", f"the arguments {', '.join(known)}", "correct the table") from error
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return function(**arguments)
        except FAULTS as error:  # a wrong value of an argument, most often; the other rows go on
            got = f"{path}, which ended with {type(error).__name__}: {first_line(error)}"
            raise NASError(got, "values that it can take", "correct its arguments in the table") from error


def _values(step: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    got = f"{step['_target_']}, which returns {type(value).__name__}"
    raise NASError(got, "a function that returns the values of a row by column", "name it in `steps`, not in `call`")


def run_command(words: Sequence[str], log: TextIO, path: Path, tick: Callable[[], None] = lambda: None) -> None:
    """Run a command of `voxnas` in a process of its own; its output goes to a log.

    Args:
        words: The words after `voxnas`.
        log: The log.
        path: Its file, for messages.
        tick: Called every second.

    Raises:
        NASError: If the command fails, with its last message.
    """
    log.write(f"$ voxnas {' '.join(words)}\n")
    log.flush()
    command = [sys.executable, "-m", "experiments.commands.voxnas", *words]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"})
    try:
        while (code := _code_after(process, TICK_S)) is None:
            tick()
    except BaseException:
        process.terminate()  # the command ends as after Ctrl-C, and resumes
        process.wait()
        raise
    if code:
        raise NASError(f"voxnas {words[0]}, which ended with {code} ({_reason(path)})", "exit code 0", f"see {path}")


def _code_after(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _reason(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["no message"])[-1][:300]


def _averaged(values: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Average numbers over seeds, with a 95 % interval of the mean (Student's t); texts are those of the first seed."""
    cells: dict[str, dict[str, Any]] = {}
    for name, first in values[0].items():
        if isinstance(first, str) or len(values) == 1:
            cells[name] = {"value": first}
            continue
        numbers = [float(value[name]) for value in values]
        mean = sum(numbers) / len(numbers)
        cells[name] = {"value": mean, "ci95": list(scores.t_interval(numbers)), "per_seed": numbers}
    return cells
