"""Time of partial-order pruning: in a search, per proposal, and on a space of 10^7 networks.

    python -m benchmarks.bench_pop

Trained networks are simulated: accuracy grows with MACs and is noisy, as in the measurement of the public NAS-Lung
loop, the reference (50 trained networks: 72 CPU seconds of pruning and 22,700 to 30,200 latency forwards of 42 ms,
about 17 minutes). Costs are computed, not simulated, and their set-up is part of the measured time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.cost.model import CostModel
from nas.history import History, State, Trial
from nas.space import SearchSpace
from nas.strategies.partial_order.dominance import PrunedSet
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.task_spec import TaskSpec
from search_spaces.naslung import NASLungSpace

OBJECTIVES = {"auc": "maximize", "macs": "minimize"}
PUBLIC_LOOP_S = 72.0 + 17.0 * 60.0


class Simulation:
    """Study with simulated results."""

    def __init__(self, space: SearchSpace, cost: CostModel, seed: int) -> None:
        self.cost, self.rng = cost, np.random.default_rng(seed)
        self.history = History((), OBJECTIVES, cost, "macs")

    def train(self, arch) -> None:  # type: ignore[no-untyped-def]
        macs = self.cost.of(arch)
        auc = 0.6 + 0.03 * np.log10(macs) + self.rng.normal(0, 0.01)
        number = len(self.history)
        record = Trial(number, arch, 0, State.COMPLETE, {"auc": auc, "macs": macs}, finished=number + 1.0)
        self.history = History((*self.history.records, record), OBJECTIVES, self.cost, "macs")


def whole_search(space: SearchSpace, trials: int, seed: int) -> dict[str, float]:
    """Measure wall and CPU seconds of a search without training, with the bookkeeping of pruned networks."""
    strategy = PartialOrderPruning(patience=0)
    cost = CostModel(space, TaskSpec(), (1, 32, 32, 32))
    start, start_cpu = time.perf_counter(), time.process_time()
    cost(space.encode([space.sample(np.random.default_rng(0))]))
    ready = time.perf_counter()
    simulation = Simulation(space, cost, seed)
    pruned = PrunedSet(space, cost)
    for number in range(trials):
        proposal = strategy.propose(space, simulation.history, np.random.default_rng([seed, number]))
        assert proposal is not None
        simulation.train(proposal.arch)
        pruned.update(strategy.cuts(simulation.history))
    end = time.perf_counter()
    return {
        "seed": seed,
        "trials": trials,
        "cost_setup_s": ready - start,
        "pruning_s": end - ready,
        "cpu_s": time.process_time() - start_cpu,
        "pruned_share": pruned.share,
        "times_faster_than_public_loop": PUBLIC_LOOP_S / (end - ready),
    }


def proposals(space: SearchSpace, sizes: list[int], repeats: int, name: str) -> list[dict[str, float | str]]:
    """Measure the milliseconds per proposal of one strategy on histories of increasing size."""
    strategy, cost = PartialOrderPruning(patience=0), CostModel(space, TaskSpec(), (1, 32, 32, 32))
    simulation, rows = Simulation(space, cost, 0), []
    rng = np.random.default_rng(1)
    for size in sizes:
        while len(simulation.history) < size:
            proposal = strategy.propose(space, simulation.history, rng)
            assert proposal is not None
            simulation.train(proposal.arch)
        times = []
        for repeat in range(repeats):
            start = time.perf_counter()
            strategy.propose(space, simulation.history, np.random.default_rng(repeat))
            times.append(1e3 * (time.perf_counter() - start))
        rows.append({"space": name, "trials": size, "median_ms": float(np.median(times)), "largest_ms": max(times)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--sizes", type=count_type, nargs="+", default=[10, 100, 1000])
    options = parser.parse_args()
    space, large = NASLungSpace(), NASLungSpace(max_depth=18)
    rows: list[dict] = [whole_search(space, 50, seed) for seed in range(3)]
    steps: list[dict] = proposals(space, options.sizes, 5, "101,529 networks")
    count = sum(large.count(depth) for depth in range(large.min_depth, large.max_depth + 1))
    steps += proposals(large, options.sizes, 5, f"{count:,} networks")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    write_results("bench_pop", rows, options.out)
    write_results("bench_pop_proposals", [{**row, "peak_rss_gb": peak} for row in steps], options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
