"""What multi-fidelity rules save on a table of trained networks, and whether they find the same network.

    python -m benchmarks.bench_fidelity --table benchmarks/tables/dints_hippocampus.h5 --truth test/dice

Each replay has some networks of the table, drawn at random, and one of their replicates. A rule trains all of them, in
a random order and with one worker; a training that goes on costs its further epochs alone. Columns: the time as a share
of that of complete trainings; the share of replays whose answer is that of complete trainings; the truth of the answer,
the mean over the other replicates, minus that of the answer of complete trainings, with its 95 % interval over replays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import Continued
from benchmarks.common import write_results
from benchmarks.replays import interval, means_over_trials, split_replicates
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.history import State
from nas.simulator import simulate
from nas.space import SearchSpace
from nas.strategies import ASHA, CurveStop, Fidelity, Hyperband, MultiFidelity
from nas.trials_table import TrialsTable, read_h5

MOST_STEPS = 100  # of the training of one network


def rules(epochs: int) -> dict[str, Fidelity]:
    """Return rules with budgets from a half and from a quarter of a whole training."""
    half, quarter = epochs // 2, epochs // 4
    return {
        f"curve_stop from {half}": CurveStop(1.5, half, epochs),
        f"curve_stop in single epochs from {half}": CurveStop(1.01, half, epochs),
        f"asha {half}/{epochs}": ASHA(2, half, epochs),
        f"asha {quarter}/{half}/{epochs}": ASHA(2, quarter, epochs),
        f"hyperband {half}/{epochs}": Hyperband(2, half, epochs),
        f"hyperband {quarter}/{half}/{epochs}": Hyperband(2, quarter, epochs),
    }


def drawn(table: TrialsTable, networks: int, seed: int) -> TrialsTable:
    """Return the trials of some networks."""
    genes_NG, number_N = np.unique(table.genes_NG, axis=0, return_inverse=True)
    taken = np.random.default_rng(seed).permutation(len(genes_NG))[:networks]
    return table.rows(np.flatnonzero(np.isin(number_N.ravel(), taken)))


def played(rule: Fidelity | None, seen: TrialsTable, space: SearchSpace, seed: int) -> tuple[float, tuple[int, ...]]:
    """Return the simulated seconds of a search of all networks, and the genes of its answer."""
    order_NG = np.random.default_rng(seed).permutation(np.unique(seen.genes_NG, axis=0))
    listed = Continued([space.architecture(genes) for genes in order_NG.tolist()])
    simulation = simulate(
        MultiFidelity(listed, rule) if rule else listed, seen, MOST_STEPS * len(seen), seed, space=space
    )
    return float(simulation.time_T[-1]), simulation.history.front()[0].arch.genes


def row_of(name: str, rule: Fidelity, table: TrialsTable, truth: str, networks: int, seeds: int) -> dict[str, Any]:
    """Replay a rule and return its row."""
    space = table.space.build()
    shares, same, gains = [], [], []
    for seed in range(seeds):
        seen, unseen = split_replicates(drawn(table, networks, seed), seed)
        truths = means_over_trials(unseen, truth)
        seconds, answer = played(rule, seen, space, seed)
        whole_s, whole = played(None, seen, space, seed)
        shares.append(seconds / whole_s)
        same.append(answer == whole)
        gains.append(truths[answer] - truths[whole])
    low, high = interval(np.array(gains))
    return {
        "rule": name,
        "replays": seeds,
        "time": round(float(np.mean(shares)), 3),
        "same_answer": round(float(np.mean(same)), 3),
        "truth": round(float(np.mean(gains)), 5),
        "truth_low": round(low, 5),
        "truth_high": round(high, 5),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--truth", required=True, help="values of single cases in the table, such as test/dice")
    parser.add_argument("--networks", type=count_type, default=40, help="of each replay (default: %(default)s)")
    parser.add_argument("--seeds", type=count_type, default=90, help="replays of each rule (default: %(default)s)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    table = read_h5(options.table)
    done = table.rows(np.flatnonzero([state is State.COMPLETE for state in table.states]))
    score = next(name for name, way in done.objectives.items() if way == "maximize")
    done = replace(done, objectives={score: done.objectives[score]})
    named = rules(int(done.budgets_N.max()))
    rows = [row_of(*item, done, options.truth, options.networks, options.seeds) for item in named.items()]
    write_results(f"bench_fidelity_{options.table.stem}", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
