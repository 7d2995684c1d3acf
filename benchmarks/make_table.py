"""Tables of really trained networks, for searches that are replayed without training.

    python -m benchmarks.make_table dints_hippocampus --root /path/to/Task04_Hippocampus
    python -m benchmarks.make_table dints_hippocampus --root /path/to/Task04_Hippocampus --networks 150

Each network of a recipe (benchmarks/table_recipes.py) is trained with several replicates by `nas.evaluators.Train`:
network 1 with replicates 0, 1, 2, then network 2, and so on, so that an unfinished table is complete for its networks.
A replicate has seeds and a validation fold of its own, the same for all networks; the test fold is always the same.
Kept are the metrics of the validation part after each epoch, the Dice of every validation and test case for the weights
of the best epoch, CPU and wall seconds, and costs. Nothing is chosen by the test part, which no training reads.

The table is written after every few trainings. The same command continues from the table that it finds at --out, also
one that another machine has made: trainings that the table has are not repeated. With --scores it trains nothing, but
gives the networks of the table the scores that need no training (nas/zero_cost/), as metrics "scores/<name>".
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.common import machine
from benchmarks.table_recipes import Recipe, recipes
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.architecture import Architecture
from nas.artifact import SpaceFacts
from nas.context import RunContext, TaskSetup, versions
from nas.data.loading import VolumeSet
from nas.data.splits import Split
from nas.errors import NASError, TrialFailed
from nas.evaluators.train import Train
from nas.history import Proposal, State, Trial
from nas.metrics.surface import dice
from nas.problem import Problem
from nas.training.curves import read_curves
from nas.training.loop import predict
from nas.trials_table import SCORES, SECONDS, TrialsTable, read_h5, write_h5
from nas.utils.config_diff import first_difference
from nas.zero_cost.measure import OF_NETWORKS, zero_cost_scores

TABLES = Path(__file__).resolve().parent / "tables"
CPU = torch.device("cpu")
COSTS = ("params", "macs", "bytes")
OWN_SCORES, SCORED = tuple(OF_NETWORKS), 16  # scores beside the costs, and the samples of their minibatch
WALL = "wall_seconds_of_training"


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        trial: Network, replicate, metrics of the best epoch and costs, or the reason of a failure.
        curves: Name -> values after each epoch.
        cases: "part/metric" -> values (cases, classes - 1).
    """

    trial: Trial
    curves: Mapping[str, np.ndarray]
    cases: Mapping[str, np.ndarray]


class Trainings:
    """The trainings of a recipe on a data set.

    Args:
        recipe: The recipe.
        root: Folder of the data.
        cache: Folder of the prepared store.
    """

    def __init__(self, recipe: Recipe, root: Path, cache: Path) -> None:
        self.recipe = recipe
        store = recipe.source(root, cache).prepare()
        split = Split(store, seed=recipe.seed)
        task = recipe.task(store.shape[0], len(store.classes))
        self.setup = TaskSetup(split, task, CPU)
        self.problem = Problem.of(
            recipe.space, store, task=task, objectives={"dice": "maximize", "macs": "minimize"}, cost="macs"
        )
        self.rounds = split.holdout_rounds()  # other validation folds, one test fold
        self.test = VolumeSet(store, split.test, CPU)
        self.not_tested = np.setdiff1d(np.arange(len(store)), split.test)
        self.evaluator = Train(recipe.settings)

    @property
    def spec(self) -> dict[str, Any]:
        """Facts that decide the numbers of the table; two tables are one if it is the same."""
        split = self.setup.split
        return {
            "data": {"name": self.setup.store.name, "sha256": self.setup.store.sha256},
            "split": split.sha256,
            "rotate_folds": True,
            "task": dict(self.problem.task.identity),
            "training": {**self.recipe.settings.identity, "seeds": self.evaluator.identity["seeds"]},
            "cost": dict(self.problem.cost.identity),
            "seed": self.recipe.seed,
        }

    def facts(self) -> dict[str, Any]:
        """Return what is recorded beside the numbers.

        Returns:
            JSON values.
        """
        names = self.setup.store.names
        return {
            "name": self.recipe.name,
            "networks": self.recipe.networks,
            "replicates": self.recipe.replicates,
            "macs": [edge if np.isfinite(edge) else None for edge in self.recipe.macs],
            "data": {**self.recipe.data, "classes": list(self.setup.store.classes), "licence": self.recipe.licence},
            "cases": {"valid": names[self.not_tested].tolist(), "test": names[self.test.indices].tolist()},
            "seconds": "CPU seconds of a training with its validations, one thread",
            "versions": versions(),
            "machine": machine(),
        }

    def wanted(self, networks: int) -> Iterator[tuple[int, Architecture, int]]:
        """List the trainings in their order.

        Args:
            networks: Number of networks.

        Yields:
            Number of the training, network, replicate.
        """
        archs = islice(self.recipe.networks_in_order(self.problem.cost), networks)
        for number, arch in enumerate(archs):
            for replicate in range(self.recipe.replicates):
                yield number * self.recipe.replicates + replicate, arch, replicate

    def run(self, number: int, arch: Architecture, replicate: int) -> Row:
        """Train a network once and measure every case.

        Args:
            number: Number of the training.
            arch: The network.
            replicate: Which of its trainings.

        Returns:
            The row of the table.
        """
        epochs, clock = self.recipe.settings.epochs, [time.process_time(), time.time()]
        ends: list[float] = []
        part = self.rounds[replicate % len(self.rounds)]
        train, valid = (VolumeSet(self.setup.store, rows, CPU) for rows in (part.train, part.valid))
        proposal, nan = Proposal(arch, epochs, replicate), np.full(epochs, np.nan, dtype=np.float32)
        trial = Trial(number, arch, epochs, State.FAILED, started=clock[1], replicate=replicate)
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(
                train,
                valid,
                Path(folder),
                CPU,
                self.recipe.seed,
                on_epoch=lambda epoch, of: ends.append(time.process_time() - clock[0]),
            )
            try:
                metrics = dict(self.evaluator.evaluate(proposal, self.problem, context))
            except TrialFailed as failure:
                return Row(replace(trial, reason=str(failure), finished=time.time()), {}, {})
            metrics |= {WALL: metrics[SECONDS], SECONDS: time.process_time() - clock[0]}
            history = read_curves(self.evaluator.folder_of(proposal, self.problem, context))
            model = self.evaluator.network(proposal, self.problem, context)
        curves = {SECONDS: nan.copy(), **{name: nan.copy() for name in history[-1] if name not in ("epoch", "lr")}}
        for row, end in zip(history, ends, strict=True):
            for name in curves:
                curves[name][int(row["epoch"]) - 1] = {**row, SECONDS: end}.get(name, np.nan)
        scaled = train.normalised_like(train)
        valid_CK, test_CK = (self._dice(model, data.normalised_like(scaled)) for data in (valid, self.test))
        every_CK = np.full((len(self.not_tested), valid_CK.shape[1]), np.nan, dtype=np.float32)
        every_CK[np.searchsorted(self.not_tested, valid.indices)] = valid_CK
        cases = {"valid/dice": every_CK, "test/dice": test_CK}
        metrics |= self.problem.cost.all_of(arch, COSTS)
        trial = replace(trial, state=State.COMPLETE, metrics=metrics, finished=time.time())
        return Row(trial, curves, cases)

    def _dice(self, model: nn.Module, data: VolumeSet) -> np.ndarray:
        """Dice of each case and class but the background, (N, K - 1); NaN for a class that neither side has."""
        guess = predict(model, self.problem.task, data, self.recipe.settings.batch_size).argmax(axis=1)
        return dice(guess, data.targets, self.problem.task.spec.outputs).astype(np.float32)


def table_of(rows: Sequence[Row], made: Trainings, facts: Mapping[str, Any]) -> TrialsTable:
    """Make the table of trainings.

    Args:
        rows: At least one training.
        made: Where they come from.
        facts: Facts of the table.

    Returns:
        The table, in order of number.
    """
    rows = sorted(rows, key=lambda row: row.trial.number)
    table = TrialsTable.of(
        [row.trial for row in rows], SpaceFacts.of(made.recipe.space), made.problem.objectives, made.spec
    )

    def stacked(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        shapes = {name: array.shape for part in parts for name, array in part.items()}
        return {
            name: np.stack([part.get(name, np.full(shape, np.nan)) for part in parts]).astype(np.float32)
            for name, shape in sorted(shapes.items())
        }

    return replace(
        table, curves=stacked([row.curves for row in rows]), cases=stacked([row.cases for row in rows]), facts=facts
    )


def rows_of(table: TrialsTable, made: Trainings, path: Path) -> list[Row]:
    """Read the trainings of a table back.

    Args:
        table: The table.
        made: The trainings that it has to belong to.
        path: File of the table, for messages.

    Returns:
        Its rows.

    Raises:
        NASError: If it was made by another recipe, on other data or by other code.
    """
    own = {"space": made.recipe.space.fingerprint, **made.spec}
    recorded = {"space": table.space.fingerprint, **table.spec}
    if _plain(own) != _plain(recorded):
        name, theirs, ours = first_difference(_plain(recorded), _plain(own))
        raise NASError(
            f"{path} of trainings with {name}={theirs}", f"{name}={ours}", "write to another file with --out"
        )
    rows = []
    for row in range(len(table)):
        metrics = {name: float(column[row]) for name, column in table.metrics.items() if np.isfinite(column[row])}
        arch = made.recipe.space.architecture(tuple(table.genes_NG[row].tolist()))
        done = table.states[row] is State.COMPLETE
        trial = Trial(
            int(table.numbers_N[row]),
            arch,
            int(table.budgets_N[row]),
            table.states[row],
            metrics if done else {},
            table.reasons[row],
            replicate=int(table.replicates_N[row]),
        )
        parts = [{name: array[row] for name, array in group.items()} for group in (table.curves, table.cases)]
        rows.append(Row(trial, *(parts if done else ({}, {}))))
    return rows


def make_table(
    made: Trainings,
    path: Path,
    networks: int,
    every: int = 3,
    say: Callable[[str], None] = print,
    until: float = float("inf"),
) -> TrialsTable:
    """Train what a table lacks, and write it after every few trainings.

    Args:
        made: The trainings.
        path: File of the table, which is continued if it exists.
        networks: Networks of the table.
        every: Trainings between two writes of the file.
        say: Gets one line per training.
        until: Time (seconds since the epoch) after which no training begins.

    Returns:
        The table.
    """
    facts, rows = made.facts(), list[Row]()
    if path.exists():
        before = read_h5(path)
        rows = rows_of(before, made, path)
        facts["machine"] = before.facts.get("machine", facts["machine"])  # where most of it was made
    known = {(row.trial.arch.genes, row.trial.replicate) for row in rows}
    unwritten = 0
    for number, arch, replicate in made.wanted(networks):
        if (arch.genes, replicate) in known:
            continue
        if time.time() > until:
            break
        row = made.run(number, arch, replicate)
        rows.append(row)
        unwritten += 1
        if unwritten >= every:
            write_h5(path, table_of(rows, made, facts))
            unwritten = 0
        score = row.trial.metrics.get("dice", float("nan"))
        spent = row.trial.metrics.get(SECONDS, float("nan"))
        say(f"{number} {arch.id} replicate {replicate}: Dice {score:.4f}, {spent:.1f} s {row.trial.reason}")
    if unwritten or not path.exists():
        write_h5(path, table_of(rows, made, facts))
    return read_h5(path)


def add_scores(made: Trainings, path: Path) -> TrialsTable:
    """Score the networks of a table before their training, and write the scores beside the metrics.

    Args:
        made: The trainings of the table.
        path: File of the table.

    Returns:
        The table. Networks that were scored before keep their scores.
    """
    table = read_h5(path)
    rows = rows_of(table, made, path)
    archs = {
        row.trial.arch.genes: row.trial.arch
        for row in rows
        if not any(name.startswith(SCORES) for name in row.trial.metrics)
    }
    train, valid = (VolumeSet(made.setup.store, part, CPU) for part in (made.rounds[0].train, made.rounds[0].valid))
    context = RunContext(train, valid, path.parent, CPU, made.recipe.seed)
    found = zero_cost_scores(
        made.recipe.space, list(archs.values()), made.problem, context, names=OWN_SCORES, batch_size=SCORED
    )
    of_arch = {
        genes: {
            f"{SCORES}{name}": float(value_N[number])
            for name, value_N in found.items()
            if value_N[number] == value_N[number]
        }
        for number, genes in enumerate(archs)
    }
    scored = []
    for row in rows:
        more = of_arch.get(row.trial.arch.genes, {}) if row.trial.state is State.COMPLETE else {}
        scored.append(replace(row, trial=replace(row.trial, metrics={**row.trial.metrics, **more})))
    write_h5(path, table_of(scored, made, table.facts))
    return read_h5(path)


def _plain(value: Any) -> Any:
    """Return JSON values, with lists for tuples."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def main(arguments: Sequence[str] | None = None) -> None:
    known = recipes()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=known)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data")
    parser.add_argument("--networks", type=count_type, default=None, help="if not all of the recipe")
    parser.add_argument("--out", type=Path, default=None, help="file of the table, in benchmarks/tables by default")
    parser.add_argument("--cache", type=Path, default=Path("outputs/data"), help="folder of the prepared data")
    parser.add_argument("--scores", action="store_true", help="score the networks of the table, and train nothing")
    parser.add_argument(
        "--hours", type=number_type(float, 0), default=float("inf"), help="after which no training begins"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = known[options.name]
    made = Trainings(recipe, options.root, options.cache)
    path = options.out or TABLES / f"{recipe.name}.h5"
    until = time.time() + 3600 * options.hours
    if options.scores:
        table = add_scores(made, path)
    else:
        table = make_table(
            made, path, options.networks or recipe.networks, say=lambda text: print(text, flush=True), until=until
        )
    print(f"{path}: {len(table)} trainings, {path.stat().st_size / 1e6:.2f} MB, sha256 {table.sha256[:12]}")


if __name__ == "__main__":
    sys.exit(run_command(main))
