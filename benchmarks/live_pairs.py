"""Paired searches with real trainings: a strategy against random search, by the protocol of a benchmark table.

    python -m benchmarks.live_pairs dints_hippocampus --root /path/to/Task04_Hippocampus --pairs 10 --evaluations 25
    python -m benchmarks.live_pairs unet_hippocampus --root /path/to/Task04_Hippocampus --objectives dice macs --start 5

Both searches of a pair begin with the same random networks. Random search continues with further random networks, all
of them trained before, because they are networks of the table; the strategy continues with its own proposals, which are
trained now by the same code, seeds and data (benchmarks/make_table.py). A search sees one replicate of each network.
The networks that both choose are then judged by the test cases of the other replicates; with two objectives the
networks of both fronts, by the hypervolume of their true quality and MACs, and the strategy ends when its trainings
have taken as many CPU seconds as those of random search. Trainings are kept in a file, so that the same command
continues after a kill.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.baselines import Continued
from benchmarks.common import RESULTS, machine
from benchmarks.compare_strategies import strategy_of
from benchmarks.make_table import TABLES, Row, Trainings, rows_of, table_of
from benchmarks.replays import interval
from benchmarks.table_recipes import recipes
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.multiobjective.hypervolume import hypervolume
from nas.simulator import simulate
from nas.trials_table import SECONDS, read_h5, write_h5
from nas.utils.files import write_text

SCORE = "dice"
WORDS = {"truth": "test Dice", "area": "the hypervolume of the front"}
LONGER = 4  # times as many networks, at most, of a search that has the time of another


class Evaluations:
    """Results of one replicate, looked up in the table or trained now.

    Args:
        made: The trainings of the recipe.
        known: Trainings of the table.
        path: File of the trainings that are made now.
        objectives: Objectives of the searches.
        replicate: The replicate that a search sees.
    """

    def __init__(
        self, made: Trainings, known: Sequence[Row], path: Path, objectives: Sequence[str], replicate: int = 0
    ) -> None:
        self.made, self.path, self.objectives, self.replicate = made, path, objectives, replicate
        self.continues = False
        self.space = made.recipe.space
        self.own = rows_of(read_h5(path), made, path) if path.exists() else []
        self._rows = {(row.trial.arch.genes, row.trial.replicate): row for row in (*known, *self.own)}

    def history(self) -> History:
        """Return an empty history with the band of MACs of the recipe as constraints."""
        cost = self.made.problem.cost
        low, high = self.made.recipe.macs[0], self.made.recipe.macs[-1]
        limits = (Constraint("macs", low, at_most=False), Constraint("macs", high, at_most=True))
        ways = {name: "maximize" if name == SCORE else "minimize" for name in self.objectives}
        return History((), ways, cost, "macs", limits, {"macs": cost})

    def outcome(self, proposal: Proposal) -> tuple[float, dict[str, object]]:
        """Return seconds, state and metrics of a network, which is trained if it was not before."""
        trial = self.row(proposal.arch, self.replicate).trial
        return trial.metrics.get(SECONDS, 0.0), {"state": trial.state, "metrics": trial.metrics}

    def row(self, arch: Architecture, replicate: int) -> Row:
        """Return a training, looked up or made now."""
        key = arch.genes, replicate
        if key not in self._rows:
            row = self.made.run(len(self.own), arch, replicate)
            self._rows[key] = row
            self.own.append(row)
            write_h5(self.path, table_of(self.own, self.made, {**self.made.facts(), "name": self.path.stem}))
        return self._rows[key]

    def truth(self, arch: Architecture) -> float:
        """Return the mean Dice of the test cases over the replicates that the search does not see."""
        others = [number for number in range(self.made.recipe.replicates) if number != self.replicate]
        cases = [self.row(arch, number).cases.get("test/dice") for number in others]
        dice = [float(np.nanmean(one)) for one in cases if one is not None]
        if not dice:
            raise NASError(
                f"network {arch.id}, all of whose other replicates failed", "one that trains", "leave it out"
            )
        return float(np.mean(dice))

    def area(self, front: Sequence[Trial], worst: float, most_macs: float) -> float:
        """Return the hypervolume of the true qualities and MACs of a front, as benchmarks/replays.py measures it."""
        points_F2 = np.array([[self.truth(one.arch), -one.metrics["macs"] / most_macs] for one in front])
        return hypervolume(points_F2, np.array([worst, -1.0]))


def pair(made: Trainings, known: Sequence[Row], path: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run both searches of a pair.

    Args:
        made: The trainings of the recipe.
        known: Trainings of the table.
        path: File of the trainings that are made now.
        seed: Number of the pair.
        options: Strategy, objectives, and numbers of networks of the command.

    Returns:
        Chosen network, its score and its true quality, of each search.
    """
    name, evaluations, fronts = options.strategy, options.evaluations, len(options.objectives) > 1
    results = Evaluations(made, known, path, options.objectives, seed % made.recipe.replicates)
    worst = min(float(np.nanmean(row.cases["test/dice"])) for row in known if "test/dice" in row.cases)
    most_macs = max(row.trial.metrics["macs"] for row in known)
    archs = list(dict.fromkeys(row.trial.arch for row in known if row.trial.replicate == results.replicate))
    order = np.random.default_rng([made.recipe.seed, seed, 2018]).permutation(len(archs))
    listed = [archs[number] for number in order[:evaluations]]
    found: dict[str, Any] = {"pair": seed, "replicate": results.replicate}
    until = float("inf")
    for label, strategy in {"random": None, name: strategy_of(name)}.items():
        most = evaluations if strategy is None or not fronts else LONGER * evaluations
        simulation = simulate(Continued(listed, options.start, strategy), results, most, seed, until=until)
        in_time = tuple(trial for trial in simulation.history if trial.finished <= until)
        history = replace(simulation.history, records=in_time)
        if fronts:
            until = float(simulation.time_T[-1])
        best = history.best
        assert best is not None
        found[label] = {
            "chosen": best.arch.id,
            "score": best.metrics[SCORE],
            "truth": results.truth(best.arch),
            **({"area": results.area(history.front(), worst, most_macs)} if fronts else {}),
            "trials": len(history),
            "cpu_seconds": sum(trial.metrics.get(SECONDS, 0.0) for trial in history),
            "failed": sum(trial.state is not State.COMPLETE for trial in history),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=recipes())
    parser.add_argument("--root", type=Path, required=True, help="folder of the data")
    parser.add_argument("--cache", type=Path, default=Path("outputs/data"), help="folder of the prepared data")
    parser.add_argument("--strategy", default="predictor,strategy.model=linear")
    parser.add_argument("--objectives", nargs="+", default=[SCORE], help="the score, or the score and costs")
    parser.add_argument("--pairs", type=count_type, default=10)
    parser.add_argument("--evaluations", type=count_type, default=25, help="networks of each search")
    parser.add_argument("--start", type=count_type, default=10, help="random networks that both searches begin with")
    parser.add_argument("--hours", type=number_type(float, 0), default=float("inf"), help="after which no pair begins")
    parser.add_argument("--trainings", type=Path, default=None, help="file of the trainings that are made now")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    made = Trainings(recipes()[options.name], options.root, options.cache)
    table_path = TABLES / f"{options.name}.h5"
    known = rows_of(read_h5(table_path), made, table_path)
    networks = len({row.trial.arch for row in known})
    if not options.start < options.evaluations <= networks:
        raise NASError(
            f"--start {options.start} --evaluations {options.evaluations}",
            f"fewer random networks than evaluations, and at most the {networks} networks of the table",
            "change one of them",
        )
    if options.strategy == "random":
        raise NASError("--strategy random", "a strategy that is compared with random search", "name another one")
    path = options.trainings or TABLES / f"{options.name}_live.h5"
    until, pairs = time.time() + 3600 * options.hours, list[dict[str, Any]]()
    for seed in range(options.pairs):
        if time.time() > until:
            break
        pairs.append(pair(made, known, path, seed, options))
        print(json.dumps(pairs[-1]), flush=True)
        judged = "area" if len(options.objectives) > 1 else "truth"
        difference_P = np.array([each[options.strategy][judged] - each["random"][judged] for each in pairs])
        content = {
            "name": f"live_pairs_{options.name}",
            "machine": machine(),
            "table": table_path.name,
            "strategy": options.strategy,
            "objectives": options.objectives,
            "judged": judged,
            "evaluations": options.evaluations,
            "start": options.start,
            "difference": float(difference_P.mean()),
            "interval": interval(difference_P),
            "better": int((difference_P > 0).sum()),
            "pairs": pairs,
        }
        write_text(options.out / f"live_pairs_{options.name}.json", json.dumps(content, indent=1) + "\n")
    if pairs:
        low, high = interval(difference_P)
        print(
            f"difference from random search: {difference_P.mean():+.4f} [{low:+.4f}, {high:+.4f}] in {WORDS[judged]}, "
            f"better in {(difference_P > 0).sum()} of {len(pairs)} pairs of {options.evaluations} evaluations"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
