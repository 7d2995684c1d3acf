"""Figures of a benchmark table: noise, rank correlations, cost, baselines, and its limits.

    python -m benchmarks.table_figures benchmarks/tables/dints_hippocampus.h5
    python -m benchmarks.table_figures benchmarks/tables/unet_hippocampus.h5 --long benchmarks/tables/LONG.h5

Intervals are 90 % percentiles of a bootstrap over networks. The true quality of a network is its mean Dice over
the test cases and replicates; where an evaluation is compared with it, the replicate of that evaluation is left out.
With --long, evaluations are also compared with the long trainings of the same networks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from benchmarks.common import write_results
from experiments.cli import run_command
from nas.errors import NASError
from nas.history import State
from nas.metrics.noise import icc, icc_interval, pooled_deviation, without_replicate_effects
from nas.trials_table import SCORES, SECONDS, TrialsTable, read_h5
from search_spaces.dints.space import DiNTSSpace

RESAMPLES = 1000
WIDTH = f"{SCORES}width"
COLLAPSED = 0.05  # validation Dice of a class below which a training has not learnt it
Figure = Callable[[np.ndarray], float]  # of some networks, given by number


class Complete:
    """The networks of a table whose trainings all finished.

    Args:
        table: The table.

    Attributes:
        genes_NG: Networks.
        rows_NR: Row of each replicate in the table.
        valid_NR: Dice of the validation part.
        test_NR: Dice of the test part.
    """

    def __init__(self, table: TrialsTable) -> None:
        if "dice" not in table.metrics or "test/dice" not in table.cases:
            raise NASError(
                f"a table of {', '.join(table.metrics)}", "one of Dice, with that of test cases", "take another table"
            )
        replicates = sorted(set(table.replicates_N.tolist()))
        found: dict[tuple[int, ...], dict[int, int]] = {}
        for row, genes in enumerate(map(tuple, table.genes_NG.tolist())):
            if table.states[row] is State.COMPLETE:
                found.setdefault(genes, {})[int(table.replicates_N[row])] = row
        whole = {genes: rows for genes, rows in found.items() if len(rows) == len(replicates)}
        self.table = table
        self.genes_NG = np.array(list(whole))
        self.rows_NR = np.array([[rows[replicate] for replicate in replicates] for rows in whole.values()])
        self.valid_NR = table.metrics["dice"][self.rows_NR]
        self.test_NR = table.mean_over_cases("test/dice")[self.rows_NR]

    def __len__(self) -> int:
        return len(self.genes_NG)

    def of(self, metric: str) -> np.ndarray:
        """Return the mean of a metric over replicates, (N,)."""
        return self.table.metrics[metric][self.rows_NR].mean(axis=1)


def tau_with_others(score_NR: np.ndarray, truth_NR: np.ndarray) -> Figure:
    """Return Kendall's tau between one replicate's scores and the truth of the others, averaged over replicates."""
    replicates = score_NR.shape[1]

    def figure(rows: np.ndarray) -> float:
        taus = [
            kendalltau(score_NR[rows, r], np.delete(truth_NR[rows], r, axis=1).mean(axis=1)).statistic
            for r in range(replicates)
        ]
        return float(np.mean(taus))

    return figure


def tau_with_long(score_NR: np.ndarray, long_NR: np.ndarray) -> Figure:
    """Return Kendall's tau between one replicate's scores and the truth of long trainings with other seeds."""
    replicates, long = score_NR.shape[1], long_NR.shape[1]

    def figure(rows: np.ndarray) -> float:
        taus = [
            kendalltau(score_NR[rows, r], long_NR[rows][:, [at for at in range(long) if at != r]].mean(axis=1))[0]
            for r in range(replicates)
        ]
        return float(np.mean(taus))

    return figure


def with_interval(figure: Figure, networks: int, seed: int = 0) -> tuple[float, float, float]:
    """Return a figure of all networks with its 90 % interval by bootstrap over networks."""
    rng = np.random.default_rng(seed)
    drawn = [figure(rng.integers(networks, size=networks)) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(drawn, (5, 95))
    return figure(np.arange(networks)), float(low), float(high)


def consistency(value_NR: np.ndarray) -> tuple[float, float, float, float]:
    """Return the intra-class correlation without effects of replicates, its interval, and the residual deviation."""
    apart, lost = without_replicate_effects([dict(enumerate(row)) for row in value_NR.tolist()])
    values = [list(row.values()) for row in apart]
    freedom = value_NR.size - len(value_NR)
    deviation = pooled_deviation(values) * np.sqrt(freedom / (freedom - lost))
    return (icc(values, lost=lost), *icc_interval(values, lost=lost), float(deviation))


def expected_best(choice_N: np.ndarray, truth_N: np.ndarray, count: int, rng: np.random.Generator) -> float:
    """Return the mean truth of the best by `choice_N` among `count` random networks, over 4,000 draws."""
    drawn = np.argsort(rng.random((4000, len(choice_N))), axis=1)[:, :count]
    return float(truth_N[np.take_along_axis(drawn, choice_N[drawn].argmax(axis=1)[:, None], axis=1)[:, 0]].mean())


def structure_of(space: DiNTSSpace, genes_NG: np.ndarray) -> dict[str, np.ndarray]:
    """Return two bits of each DiNTS network: whether the finest level is read, and whether a path stays on it."""
    on_NBE = np.array([space.table(genes) for genes in genes_NG]) >= 0
    sources_E, targets_E = space.lattice.sources_E, space.lattice.targets_E
    read_N = on_NBE[:, 0][:, sources_E == 0].any(axis=1)
    path_N = on_NBE[:, :, (sources_E == 0) & (targets_E == 0)].all(axis=(1, 2))
    return {"finest level read": read_N, "full path": path_N}


def figures(table: TrialsTable) -> list[dict[str, Any]]:
    """Compute the figures of a table.

    Args:
        table: The table.

    Returns:
        One row per figure: name, value, and its interval where it has one.
    """
    nets, rows = Complete(table), list[dict[str, Any]]()
    count = len(nets)
    classes = [name for name in table.metrics if name.startswith("dice_")]
    least_N = np.min([table.metrics[name][nets.rows_NR] for name in classes], axis=0)

    def add(name: str, value: float, low: float | None = None, high: float | None = None) -> None:
        rows.append({"figure": name, "value": value, "low": low, "high": high})

    add("networks", count)
    add("replicates", nets.rows_NR.shape[1])
    add("failed trainings", sum(state is State.FAILED for state in table.states))
    add("collapsed trainings", int((least_N < COLLAPSED).sum()))
    add("CPU s of a training, median", float(np.median(table.seconds_N[nets.rows_NR])))
    for name, value_NR in (("validation", nets.valid_NR), ("test", nets.test_NR)):
        value, low, high, deviation = consistency(value_NR)
        add(f"ICC of {name} Dice", value, low, high)
        add(f"residual sd of {name} Dice", deviation)
        add(f"sd of {name} Dice between networks", float(value_NR.mean(axis=1).std(ddof=1)))
    truth_N = nets.test_NR.mean(axis=1)
    for name, value in (("lowest", truth_N.min()), ("mean", truth_N.mean()), ("highest", truth_N.max())):
        add(f"test Dice of a network, {name}", float(value))
    epochs = table.curves["dice"].shape[1]
    for epoch in range(1, epochs + 1):
        at_NR = np.nanmax(table.curves["dice"][nets.rows_NR][:, :, :epoch], axis=2)
        share = float(np.median(table.curves[SECONDS][nets.rows_NR][:, :, epoch - 1]))
        found = with_interval(tau_with_others(at_NR, nets.test_NR), count)
        add(f"tau, validation after epoch {epoch} ({share:.0f} s) with others' test", *found)
    mean_N = nets.valid_NR.mean(axis=1)
    add("tau, mean of validations with test", *with_interval(lambda r: kendalltau(mean_N[r], truth_N[r])[0], count))
    width_N = nets.of(WIDTH) if WIDTH in table.metrics else truth_N
    known = ["macs", "params", *(name for name in table.metrics if name.startswith(SCORES))]
    for name in known:
        score_N = nets.of(name)
        if not np.isfinite(score_N).all() or (score_N == score_N[0]).all():
            continue  # not all networks are scored yet, or the score says nothing
        add(f"tau, {name} with test", *with_interval(lambda r, s=score_N: kendalltau(s[r], truth_N[r])[0], count))
        if WIDTH in known and name != WIDTH:
            more = with_interval(
                lambda r, s=score_N: kendalltau(s[r], truth_N[r])[0] - kendalltau(width_N[r], truth_N[r])[0], count
            )
            add(f"tau, {name} minus that of width", *more)
    rng = np.random.default_rng(0)
    for trained in (5, 10, 25, 50, 100):
        if trained < count:
            one = np.mean(
                [
                    expected_best(nets.valid_NR[:, r], np.delete(nets.test_NR, r, axis=1).mean(axis=1), trained, rng)
                    for r in range(nets.valid_NR.shape[1])
                ]
            )
            add(f"random search of {trained}: test Dice of its choice", float(one))
    space = table.space.build()
    if isinstance(space, DiNTSSpace):
        bits = structure_of(space, nets.genes_NG)
        groups = {
            "finest level not read": ~bits["finest level read"],
            "read without a full path": bits["finest level read"] & ~bits["full path"],
            "full path": bits["full path"],
        }
        for name, in_group_N in groups.items():
            add(f"{name}: share of the networks", float(in_group_N.mean()))
            if in_group_N.any():
                add(f"{name}: test Dice", float(truth_N[in_group_N].mean()))
    return rows


def figures_of_long(table: TrialsTable, long: TrialsTable) -> list[dict[str, Any]]:
    """Compare evaluations with long trainings of the same networks.

    Args:
        table: The evaluations.
        long: The long trainings.

    Returns:
        One row per figure: name, value, and its interval where it has one.
    """
    short_nets, long_nets = Complete(table), Complete(long)
    position = {tuple(genes): at for at, genes in enumerate(short_nets.genes_NG.tolist())}
    if not position.keys() >= {tuple(genes) for genes in long_nets.genes_NG.tolist()}:
        raise NASError("long trainings of other networks", "networks of the table", "name the long table of this one")
    rows_N = np.array([position[tuple(genes)] for genes in long_nets.genes_NG.tolist()])
    count, truth_N = len(rows_N), long_nets.test_NR.mean(axis=1)
    valid_NR, test_NR = short_nets.valid_NR[rows_N], short_nets.test_NR[rows_N]
    between = tau_with_others(long_nets.test_NR, long_nets.test_NR)
    found: dict[str, tuple[float, ...]] = {
        "networks with long trainings": (count,),
        "replicates of long trainings": (long_nets.rows_NR.shape[1],),
        "CPU s of a long training, median": (float(np.median(long.seconds_N[long_nets.rows_NR])),),
        "test Dice of a long training, lowest": (float(truth_N.min()),),
        "test Dice of a long training, mean": (float(truth_N.mean()),),
        "test Dice of a long training, highest": (float(truth_N.max()),),
        "tau, one long test with another": with_interval(between, count),
        "tau, one validation with long test": with_interval(tau_with_long(valid_NR, long_nets.test_NR), count),
    }
    means = {"mean of validations": valid_NR.mean(axis=1), "mean of tests": test_NR.mean(axis=1)}
    for name in ("macs", "params", *(name for name in table.metrics if name.startswith(SCORES))):
        means[name] = short_nets.of(name)[rows_N]
    for name, score_N in means.items():
        if np.isfinite(score_N).all():
            tau = with_interval(lambda r, s=score_N: kendalltau(s[r], truth_N[r])[0], count)
            found[f"tau, {name} with long test"] = tau
    return [
        dict(zip(("figure", "value", "low", "high"), (name, *values, None, None), strict=False))
        for name, values in found.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--long", type=Path, help="table of long trainings of the same networks")
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON, benchmarks/results by default")
    options = parser.parse_args(arguments)
    table = read_h5(options.table)
    rows = figures(table) + (figures_of_long(table, read_h5(options.long)) if options.long else [])
    write_results(f"table_{options.table.stem}", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
