"""Rank correlation of cheap scores with trained networks, beside width alone.

    python -m benchmarks.bench_proxies --supernet 3                       # naslung671: a sample of its networks
    python -m benchmarks.bench_proxies --table dints_hippocampus --root /path/to/Task04_Hippocampus
    python -m benchmarks.bench_proxies --table unet_hippocampus --root /path/to/Task04_Hippocampus --supernet 8

For networks of a table, Kendall's tau between each zero-cost score and the truth, with a 90 % bootstrap interval over
networks, and the difference from the tau of `width`, paired over the same samples of networks. The truth of a
benchmark table is the mean Dice of the test cases over its replicates, and that of naslung671 the validation AUC of its
one training. With --supernet EPOCHS an elastic supernet is trained, and the validation Dice with inherited weights is a
score too. CPU seconds are those per network; those of the supernet are given apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.common import write_results
from benchmarks.make_table import TABLES, Trainings
from benchmarks.table_recipes import recipes
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.architecture import Architecture
from nas.context import RunContext, TaskSetup
from nas.data.loading import VolumeSet
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.evaluators.supernet import InheritedWeights
from nas.history import Proposal, State
from nas.problem import Problem
from nas.strategies.elastic import Elastic
from nas.strategies.random import RandomSearch
from nas.tasks.default import default_task
from nas.training.settings import TrainingSettings
from nas.trials_table import TrialsTable, read_h5
from nas.zero_cost import SCORES, zero_cost_scores
from search_spaces import NASLungSpace

CPU = torch.device("cpu")
BOOTSTRAPS = 2000
SHAPES = "naslung671"
DEMO = TrainingSettings(lr=0.01, augment=Augment(shift=1, cutout=0))  # as conf/training/demo.yaml


def tau(score_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Return Kendall's tau-b; 0 if all scores are equal."""
    found = float(kendalltau(score_N, truth_N).statistic)
    return found if found == found else 0.0


def row_of(
    name: str, score_N: np.ndarray, width_N: np.ndarray, truth_N: np.ndarray, seconds: float
) -> dict[str, object]:
    """Return tau, and its difference from that of the width, with 90 % intervals over networks."""
    known = np.isfinite(score_N)
    score_N, width_N, truth_N = score_N[known], width_N[known], truth_N[known]
    rng, count = np.random.default_rng(0), len(truth_N)
    taus, more = [], []
    for _ in range(BOOTSTRAPS):
        rows = rng.integers(count, size=count)
        own = tau(score_N[rows], truth_N[rows])
        taus.append(own)
        more.append(own - tau(width_N[rows], truth_N[rows]))
    (low, high), (least, most) = np.quantile(taus, (0.05, 0.95)), np.quantile(more, (0.05, 0.95))
    return {
        "score": name,
        "networks": count,
        "tau": round(tau(score_N, truth_N), 3),
        "tau_low": round(float(low), 3),
        "tau_high": round(float(high), 3),
        "minus_width_low": round(float(least), 3),
        "minus_width_high": round(float(most), 3),
        "cpu_seconds": round(seconds, 3),
    }


def networks_of(
    table: TrialsTable, truth_R: np.ndarray, most: int, seed: int
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Return genes of at most so many networks, and the mean truth of each over its replicates."""
    found: dict[tuple[int, ...], list[float]] = {}
    for row, state in enumerate(table.states):
        if state is State.COMPLETE and np.isfinite(truth_R[row]):
            found.setdefault(tuple(table.genes_NG[row].tolist()), []).append(float(truth_R[row]))
    genes = list(found)
    if len(genes) > most:
        genes = [genes[at] for at in sorted(np.random.default_rng(seed).permutation(len(genes))[:most])]
    return genes, np.array([np.mean(found[one]) for one in genes])


def lidc_shapes(folder: Path, cache: Path) -> tuple[Problem, RunContext]:
    """Return problem and data of naslung671."""
    store = LidcShapes(cache_dir=cache, size=16, spacing_mm=2.0).prepare()
    setup = TaskSetup(Split(store), default_task(store), CPU)
    space = NASLungSpace(widths=(4, 6, 8, 12, 16, 24, 32), max_depth=4)
    problem = Problem.of(space, store, objectives={"score": "maximize"}, task=setup.task)
    train, valid = (VolumeSet(store, rows, CPU) for rows in setup.split.search)
    return problem, RunContext(train, valid, folder, CPU, 0)


def hippocampus(made: Trainings, folder: Path) -> tuple[Problem, RunContext]:
    """Return problem and data of a benchmark table, in the split of its first replicate."""
    part = made.rounds[0]
    train, valid = (VolumeSet(made.setup.store, rows, CPU) for rows in (part.train, part.valid))
    return made.problem, RunContext(train, valid, folder, CPU, made.recipe.seed)


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """Return a result and the CPU seconds that it took."""
    started = time.process_time()
    return work(), time.process_time() - started


def inherited(
    archs: Sequence[Architecture], problem: Problem, context: RunContext, strategy: Elastic
) -> tuple[np.ndarray, float]:
    """Return the validation score of networks with inherited weights, and the CPU seconds of the supernet."""
    _, seconds = timed(lambda: np.array(strategy.prepare(problem, context)))
    evaluator, name = InheritedWeights(batch_size=8), problem.task.score_name
    return np.array([evaluator.evaluate(Proposal(arch), problem, context)[name] for arch in archs]), seconds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default=SHAPES, help="name of a table, or its file (default: %(default)s)")
    parser.add_argument("--root", type=Path, help="folder of the data of the table")
    parser.add_argument("--cache", type=Path, default=Path("outputs/data"), help="folder of prepared data")
    parser.add_argument("--networks", type=count_type, default=100, help="at most (default: %(default)s)")
    parser.add_argument("--batch", type=count_type, default=16, help="samples of the minibatch (default: %(default)s)")
    parser.add_argument(
        "--supernet", type=number_type(int, 0), default=0, metavar="EPOCHS", help="also train an elastic supernet"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = Path(arguments.table)
    path = path if path.suffix else TABLES / f"{path}.h5"
    table, name = read_h5(path), path.stem
    if name != SHAPES and name not in recipes():
        raise NASError(
            f"--table {name}", f"one of {', '.join((SHAPES, *recipes()))}", "name a table of benchmarks/tables"
        )
    with tempfile.TemporaryDirectory() as folder:
        if name == SHAPES:
            problem, context = lidc_shapes(Path(folder), arguments.cache)
            truth_R, settings = table.metrics["auc"], DEMO
        else:
            made = Trainings(recipes()[name], arguments.root, arguments.cache)
            problem, context = hippocampus(made, Path(folder))
            truth_R, settings = table.mean_over_cases("test/dice"), made.recipe.settings
        genes, truth_N = networks_of(table, truth_R, arguments.networks, 0)
        archs = [problem.space.architecture(one) for one in genes]
        columns = {}
        for score in SCORES:
            found, seconds = timed(
                lambda score=score: zero_cost_scores(
                    problem.space, archs, problem, context, names=[score], batch_size=arguments.batch
                )[score]
            )
            columns[score] = (found, seconds / len(archs))
        if arguments.supernet:
            elastic = Elastic(replace(settings, epochs=arguments.supernet), RandomSearch())
            (found, supernet_s), seconds = timed_pair(lambda: inherited(archs, problem, context, elastic))
            columns[f"inherited weights, supernet of {supernet_s:.0f} s"] = (found, (seconds - supernet_s) / len(archs))
    width_N = columns["width"][0]
    rows = [row_of(score, found, width_N, truth_N, seconds) for score, (found, seconds) in columns.items()]
    write_results(f"bench_proxies_{name}", rows, arguments.out)


def timed_pair(work: Callable[[], tuple[np.ndarray, float]]) -> tuple[tuple[np.ndarray, float], float]:
    """Return a result of two parts and the CPU seconds that it took."""
    started = time.process_time()
    return work(), time.process_time() - started


if __name__ == "__main__":
    sys.exit(run_command(main))
