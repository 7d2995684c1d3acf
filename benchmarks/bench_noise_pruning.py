"""How much of the true Pareto front partial-order pruning keeps when scores are noisy.

    python -m benchmarks.bench_noise_pruning                                   # naslung671, with a known truth
    python -m benchmarks.bench_noise_pruning --table benchmarks/tables/unet_hippocampus.h5 --truth test/dice

A table with replicates is replayed as it is; the truth of a network is the mean of a metric, or of values of single
cases, over all its replicates.
A table without them gives the shape of the truth: predictions of trees with large leaves, scaled so that the share of
the variance between networks (the intra-class correlation) is the stated one, and noise is drawn for each replicate.
Each search runs until nothing is left or the number of trials is reached. Front kept: the share of the true front that
is not ruled out at the end. Regret: the truth of the best network minus that of the chosen one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.errors import NASError
from nas.history import State
from nas.multiobjective.pareto import front_mask
from nas.simulator import simulate
from nas.space import SearchSpace
from nas.strategies import PartialOrderPruning, RandomSearch
from nas.strategies.partial_order.dominance import PrunedSet
from nas.trials_table import TrialsTable, read_h5

REPO = Path(__file__).resolve().parents[1]
REPLICATES = 2  # that pruning asks for
LEAF = 20  # networks per leaf of the trees
SETTINGS: Mapping[str, PartialOrderPruning | RandomSearch] = {
    "random": RandomSearch(),
    "margin 0": PartialOrderPruning(patience=0),
    "margin 0, 2 witnesses": PartialOrderPruning(patience=0, witnesses=2),
    "margin auto": PartialOrderPruning("auto", patience=0),
    "margin auto, 2 witnesses": PartialOrderPruning("auto", patience=0, witnesses=2),
}
Genes = tuple[int, ...]


def rows_of(table: TrialsTable) -> np.ndarray:
    return np.flatnonzero([state is State.COMPLETE for state in table.states])


def recorded_truth(table: TrialsTable, name: str) -> dict[Genes, float]:
    values_N = table.metrics[name] if name in table.metrics else table.mean_over_cases(name)
    runs: dict[Genes, list[float]] = {}
    for row in rows_of(table):
        runs.setdefault(tuple(table.genes_NG[row].tolist()), []).append(float(values_N[row]))
    return {genes: float(np.mean(values)) for genes, values in runs.items()}


def shape_of(table: TrialsTable, score: str) -> dict[Genes, float]:
    """Return smooth scores with the mean and the deviation of the table's."""
    truth = recorded_truth(table, score)
    genes_NG, score_N = np.array(list(truth)), np.array(list(truth.values()))
    trees = ExtraTreesRegressor(200, min_samples_leaf=LEAF, random_state=0).fit(genes_NG, score_N)
    smooth_N = trees.predict(genes_NG)
    smooth_N = (smooth_N - smooth_N.mean()) / smooth_N.std() * score_N.std() + score_N.mean()
    return dict(zip(truth, smooth_N.tolist(), strict=True))


def with_noise(
    table: TrialsTable, score: str, shape: Mapping[Genes, float], icc: float, seed: int
) -> tuple[TrialsTable, dict[Genes, float]]:
    """Return a table of noisy replicates and the truth that it has."""
    rng, rows = np.random.default_rng([seed, 1]), rows_of(table)
    keys = [tuple(genes) for genes in table.genes_NG[rows].tolist()]
    shape_N = np.array([shape[key] for key in keys])
    truth_N = shape_N.mean() + np.sqrt(icc) * (shape_N - shape_N.mean())
    noise_RN = np.sqrt(1 - icc) * shape_N.std() * rng.normal(size=(REPLICATES, len(rows)))
    every = np.tile(rows, REPLICATES)
    metrics = {name: column[every] for name, column in table.metrics.items()}
    metrics[score] = (truth_N + noise_RN).ravel()
    made = replace(
        table,
        numbers_N=np.arange(len(every)),
        genes_NG=table.genes_NG[every],
        budgets_N=table.budgets_N[every],
        seconds_N=table.seconds_N[every],
        states=(State.COMPLETE,) * len(every),
        reasons=("",) * len(every),
        metrics=metrics,
        replicates_N=np.repeat(np.arange(REPLICATES), len(rows)),
    )
    return made, dict(zip(keys, truth_N.tolist(), strict=True))


def play(table: TrialsTable, truth: Mapping[Genes, float], space: SearchSpace, trials: int, seed: int) -> Iterator[Any]:
    names = list(table.objectives)
    score, cost = names[0], names[1]
    price = dict(zip(map(tuple, table.genes_NG.tolist()), table.metrics[cost].tolist(), strict=True))
    keys = [key for key in truth if price[key] == price[key]]
    values_N2 = np.array([[truth[key], -price[key]] for key in keys])
    front = {key for key, kept in zip(keys, front_mask(values_N2), strict=True) if kept}
    for name, strategy in SETTINGS.items():
        history = simulate(strategy, table, trials, seed, space=space).history
        trained = {record.arch.genes for record in history if record.state is State.COMPLETE}
        ruled_out: set[Genes] = set()
        if isinstance(strategy, PartialOrderPruning):
            pruned = PrunedSet(space, history.cost, strategy.witnesses)
            pruned.update(strategy.cuts(history))
            ruled_out = {tuple(genes) for genes in pruned.genes_NG[pruned.mask].tolist()}
        best = max(history.final(), key=lambda record: record.metrics[score])
        yield {
            "setting": name,
            "trials": len(history),
            "pruned": len((ruled_out - trained) & set(keys)) / len(keys),
            "kept": 1 - len((ruled_out - trained) & front) / len(front),
            "regret": max(truth.values()) - truth[best.arch.genes],
        }


def summary(data: str, found: list[list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for runs in zip(*found, strict=True):
        columns = {name: np.array([run[name] for run in runs]) for name in runs[0] if name != "setting"}
        half = 1.96 * columns["kept"].std(ddof=1) / np.sqrt(len(runs))
        yield {
            "data": data,
            "setting": runs[0]["setting"],
            "trials": float(np.median(columns["trials"])),
            "pruned": round(float(columns["pruned"].mean()), 3),
            "front_kept": round(float(columns["kept"].mean()), 3),
            "ci95": round(float(half), 3),
            "regret": round(float(columns["regret"].mean()), 5),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=REPO / "benchmarks/tables/naslung671.h5")
    parser.add_argument("--truth", default=None, help="metric, or values of cases; its mean is the truth")
    parser.add_argument("--icc", type=number_type(float, 0, 1), nargs="+", default=[0.065, 0.5, 0.9])
    parser.add_argument("--seeds", type=count_type, default=20)
    parser.add_argument("--trials", type=count_type, default=100)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    table = read_h5(options.table)
    if len(table.objectives) != 2:
        raise NASError(f"objectives {', '.join(table.objectives)}", "a score and a cost", "take another table")
    space, score = table.space.build(), next(iter(table.objectives))
    rows: list[dict[str, Any]] = []
    if table.replicates_N.any():
        truth = recorded_truth(table, options.truth or score)
        found = [list(play(table, truth, space, options.trials, seed)) for seed in range(options.seeds)]
        rows += summary(options.table.stem, found)
    else:
        shape = shape_of(table, score)
        for icc in options.icc:
            cases = (with_noise(table, score, shape, icc, seed) for seed in range(options.seeds))
            found = [list(play(*case, space, options.trials, seed)) for seed, case in enumerate(cases)]
            rows += summary(f"{options.table.stem}, ICC {icc:g}", found)
    write_results(f"bench_noise_pruning_{options.table.stem}", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
