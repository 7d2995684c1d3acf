"""Overhead of the study: time per trial without training, and parallel efficiency of eight workers.

    python -m benchmarks.bench_study                                     # SQLite, Journal, and PostgreSQL if installed
    python -m benchmarks.bench_study --overhead journal --trials 1000 10000

Overhead: a study of the full NAS-Lung space (101,529 networks) is filled with finished trials, then one worker
continues with an evaluator that takes no time; reported is the median duration of an iteration of its loop. The floor
of SQLite, measured after each iteration in the same folder, is the time in which Python's sqlite3 alone writes the rows
of a trial in two transactions, the claim and the outcome, which no durable store that others can read can do without.
Efficiency:
eight worker processes are compared with one, with an evaluator that sleeps for a second; the rate is the number of
trials divided by the time from the first start to the last end, without the start of Python.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState

from benchmarks.common import write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.context import RunContext, ignore
from nas.cost.model import CostModel
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.problem import Problem
from nas.search import SearchJob, search
from nas.strategies.base import Strategy
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.random import RandomSearch
from nas.study.lease import ATTEMPT, BEAT, OWNER, WORKER
from nas.study.reader import BUDGET, GENES, METRICS
from nas.study.study import CLAIM, Study
from nas.study.url import database_path
from nas.tasks.classification import Classification
from search_spaces.naslung import NASLungSpace
from tests.faults.farm import store_of

OBJECTIVES = {"score": "maximize", "macs": "minimize"}
INPUT = (1, 16, 16, 16)
TURNS = 30
STRATEGIES = {"random": RandomSearch(), "pop": PartialOrderPruning(patience=0)}
WORKERS, TRIALS_EACH = 8, 16
COLUMNS = {  # of a trial, in Optuna's tables
    "trial_params": "param_name, param_value, distribution_json",
    "trial_user_attributes": "key, value_json",
    "trial_values": "objective, value, value_type",
}


class Fast(Evaluator):
    """Evaluator with a noisy score that grows with the network, immediately or after a sleep."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        if self.seconds:  # a sleep of 0 s gives the core away
            time.sleep(self.seconds)
        return {"score": score(proposal.arch.genes)}


def score(genes: Sequence[int]) -> float:
    return float(np.tanh(sum(genes) / 40) + 0.05 * np.random.default_rng(list(genes)).normal())


def attach(url: str, name: str) -> Study:
    space, task = NASLungSpace(), Classification()
    return Study(url, name, Problem(space, task, CostModel(space, task.spec, INPUT, "macs"), OBJECTIVES), {})


def run(study: Study, strategy: Strategy, seconds: float, trials: int, worker: int = 0, on_trial: Any = None) -> None:
    nothing: Any = None
    context = RunContext(nothing, nothing, Path("."), torch.device("cpu"), 0)
    job = SearchJob(study.problem, strategy, Fast(seconds), context, trials)
    search(job, study, worker=worker, on_history=on_trial or ignore)


def fill(study: Study, trials: int) -> None:
    """Write finished trials of distinct networks."""
    every = study.problem.space.enumerate()
    assert every is not None
    cost = study.problem.cost
    rows = every[np.random.default_rng(0).permutation(len(every))[:trials]]
    for number, (genes, macs) in enumerate(zip(rows.tolist(), cost(rows).tolist(), strict=True)):
        metrics = {"score": score(genes), "macs": macs}
        attrs = {
            GENES: genes,
            BUDGET: 0,
            CLAIM: str(number),
            OWNER: {**study.owner, ATTEMPT: 0, WORKER: "0"},
            BEAT: [0, 0],
            f"{METRICS}:0": metrics,
        }
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            values=list(metrics.values()),
            params={gene.name: gene.choices[i] for gene, i in zip(study.problem.space.genes, genes, strict=True)},
            distributions=study._distributions,
            user_attrs=attrs,
        )
        study.store._storage.create_new_trial(study.store._study_id, trial)


def overhead(url: str, kind: str, sizes: Sequence[int], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for trials in sizes:
        for name in names:
            strategy = STRATEGIES[name]
            study = attach(url, f"{name}-{trials}")
            fill(study, trials)
            floor = Floor(url, study) if kind == "sqlite" else None
            gaps_ms = 1000 * turn_times(study, strategy, trials + TURNS, floor)[2:]  # the first fill caches
            study.close()
            yield {
                "store": kind,
                "strategy": name,
                "trials": trials,
                "median_ms": round(float(statistics.median(gaps_ms)), 2),
                "largest_ms": round(float(gaps_ms.max()), 2),
                **(floor.row(float(statistics.median(gaps_ms))) if floor else {}),
            }


def turn_times(study: Study, strategy: Strategy, trials: int, floor: Floor | None = None) -> np.ndarray:
    """Return the durations in seconds of the iterations of the worker's loop, without those of the floor."""
    ends: list[tuple[float, float]] = []

    def note(history: Any) -> None:
        reached = time.perf_counter()
        if floor:
            floor.write()
        ends.append((reached, time.perf_counter()))

    run(study, strategy, 0.0, trials, on_trial=note)
    return np.array([later[0] - earlier[1] for earlier, later in pairwise(ends)])


class Floor:
    """Writes copies of a finished trial to a database of its own beside the store."""

    def __init__(self, url: str, study: Study) -> None:
        path = database_path(url)
        assert path is not None
        with closing(sqlite3.connect(path)) as source:
            tables = [sql for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
            trial_id = source.execute("SELECT max(trial_id) FROM trials").fetchone()[0]
            self._rows = {
                table: source.execute(f"SELECT {columns} FROM {table} WHERE trial_id = ?", (trial_id,)).fetchall()
                for table, columns in COLUMNS.items()
            }
        copy = path.with_name(f"floor-{study.name}.db")
        self._database = sqlite3.connect(copy, isolation_level=None)
        for sql in tables:
            self._database.execute(sql)
        self._times: list[float] = []

    def write(self) -> None:
        start = time.perf_counter()
        query = self._database.execute
        query("BEGIN IMMEDIATE")
        number = query("SELECT count(*) FROM trials").fetchone()[0]
        now = "2026-01-01 00:00:00.000000"
        trial_id = query(
            "INSERT INTO trials (number, study_id, state, datetime_start) VALUES (?, 1, 'RUNNING', ?)", (number, now)
        ).lastrowid
        outcome = [row for row in self._rows["trial_user_attributes"] if row[0].startswith(METRICS)]
        self._insert("trial_params", trial_id, self._rows["trial_params"])
        claim = [row for row in self._rows["trial_user_attributes"] if row not in outcome]
        self._insert("trial_user_attributes", trial_id, claim)
        query("COMMIT")
        query("BEGIN IMMEDIATE")
        query("UPDATE trials SET state = 'COMPLETE', datetime_complete = ? WHERE trial_id = ?", (now, trial_id))
        self._insert("trial_user_attributes", trial_id, outcome)
        self._insert("trial_values", trial_id, self._rows["trial_values"])
        query("COMMIT")
        self._times.append(time.perf_counter() - start)

    def _insert(self, table: str, trial_id: int | None, rows: Sequence[tuple[Any, ...]]) -> None:
        columns = COLUMNS[table]
        marks = ", ".join("?" * (2 + columns.count(",")))
        rows = [(trial_id, *row) for row in rows]
        self._database.executemany(f"INSERT INTO {table} (trial_id, {columns}) VALUES ({marks})", rows)

    def row(self, median_ms: float) -> dict[str, float]:
        floor_ms = 1000 * float(statistics.median(self._times))
        self._database.close()
        return {"floor_ms": round(floor_ms, 2), "ratio": round(median_ms / floor_ms, 2)}


def sleep_worker(url: str, name: str, trials: int, worker: int) -> None:
    torch.set_num_threads(1)
    run(attach(url, name), RandomSearch(), 1.0, trials, worker)


def efficiency(url: str, kind: str) -> dict[str, Any]:
    rates = {}
    for workers in (1, WORKERS):
        name, trials = f"sleep-{workers}", workers * TRIALS_EACH
        attach(url, name).close()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.worker", "search_spaces.naslung"])
        processes = [context.Process(target=sleep_worker, args=(url, name, trials, n)) for n in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        records = attach(url, name).records()
        # from the start of the last worker's second trial, to leave out the start of Python and reading the space
        begun = max(sorted(r.started for r in records if r.worker == str(n))[1] for n in range(workers))
        later = [record for record in records if record.started >= begun]
        rates[workers] = len(later) / (max(r.finished for r in later) - begun)
    return {
        "store": kind,
        "workers": WORKERS,
        "trials_per_s_of_one": round(rates[1], 3),
        "trials_per_s": round(rates[WORKERS], 3),
        "times_one": round(rates[WORKERS] / rates[1], 2),
    }


@contextmanager
def opened(kind: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, store_of(kind, Path(folder)) as (url, _):
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overhead", nargs="*", default=["sqlite", "journal"], help="stores to fill")
    parser.add_argument("--efficiency", nargs="*", default=["journal", "postgresql"], help="stores to share")
    parser.add_argument("--trials", type=count_type, nargs="+", default=[1000, 10_000])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    rows = []
    for kind in options.overhead:
        with opened(kind) as url:
            rows += list(overhead(url, kind, options.trials, options.strategies))
    if rows:
        write_results("bench_study", rows, options.out)
    rows = []
    for kind in options.efficiency:
        with opened(kind) as url:
            rows.append(efficiency(url, kind))
    if rows:
        write_results("bench_study_workers", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
