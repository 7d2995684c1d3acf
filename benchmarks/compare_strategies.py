"""Comparison of search strategies on a table of trained networks.

    python -m benchmarks.compare_strategies --table benchmarks/tables/dints_hippocampus.h5 --truth test/dice --surrogate
    python -m benchmarks.compare_strategies --table benchmarks/tables/naslung671.h5

Each strategy is replayed with many seeds (nas/simulator.py). A search sees one replicate of each network. Its cost is
the simulated time of its trainings in whole trainings of average cost, called evaluations, so that searches which stop
trainings early or take small networks are compared at equal cost. Shown are means over replays with 95 % intervals: the
true quality of the network that a search of that cost chooses (`--truth`, over replicates that it did not see), the
hypervolume of its front of true quality and MACs, and at which cost it reaches what random search reaches with 50 and
100 evaluations, as a ratio. A search that ends early keeps its last value. With `--replays`, a comparison that was
interrupted continues; after a change of a strategy or of the surrogate, name another file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baselines import ByCost, FullPath
from benchmarks.common import RESULTS, machine, table
from benchmarks.composed import composed
from benchmarks.kept_replays import KeptReplays
from benchmarks.replays import Grounds, Replay, interval, ratio_to_reach
from benchmarks.strategy_plots import plot
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from experiments.config import SearchConfig
from experiments.plain_settings import resolved
from experiments.search.strategies import strategy_of as of_search
from nas.comparison.curves import Curve, over_cost
from nas.errors import NASError
from nas.history import State
from nas.strategies.base import Strategy
from nas.trials_table import TrialsTable
from nas.utils.files import write_text

REPO = Path(__file__).resolve().parents[1]
MARKS = (5, 10, 25, 50, 100, 200, 400)  # evaluations with a column
TARGETS = (50, 100)  # evaluations of random search whose quality others have to reach
BASELINES = {"full_path": FullPath, "by_cost": ByCost}
RANDOM = "random"
MANY_EPOCHS = 10_000  # enough for every rule, as a table whose epochs are too few for one leaves it out
_prepared: list[Grounds] = []


def strategy_of(name: str, epochs: int = 0) -> Strategy:
    """Build a baseline, or a strategy of conf/.

    Args:
        name: A name such as "tpe", "predictor,strategy.model=linear", "tpe+asha,fidelity.min_budget=4" or
            "tpe,warm_start=trials.h5".
        epochs: Epochs of a whole training, for multi-fidelity.

    Returns:
        The strategy.

    Raises:
        NASError: If the name or a setting is wrong.
    """
    if name in BASELINES:
        return BASELINES[name]()
    words, _, rule = name.partition("+")
    group, *settings = words.split(",")
    fidelity, *more = rule.split(",")
    overrides = [f"strategy={group}", "study.name=replay", *settings, *more]
    if fidelity:
        overrides += [f"fidelity={fidelity}", f"training.epochs={epochs}"]
    return of_search(SearchConfig.of(resolved(composed("search", overrides))))


def prepare(grounds: Grounds) -> None:
    """Keep table and surrogate in this process, so that they are read and fitted once."""
    _prepared.append(grounds)


def one_run(name: str, evaluations: int, seed: int, workers: int) -> Replay | str:
    """Return a replay in a process that `prepare` has prepared; or why the strategy cannot run on the table."""
    grounds = _prepared[-1]
    try:
        replay = grounds.replay(strategy_of(name, grounds.epochs), evaluations, seed, workers)
    except NASError as error:
        return str(error)
    return replay if replay.cost_T else f"{name} proposes nothing on this table"


def at_costs(runs: Sequence[Replay], name: str, evaluations: int) -> np.ndarray:
    """Return a series of S replays after 1, 2, ... evaluations (S, C); NaN before the first result."""
    return over_cost([(run.cost_T, getattr(run, name)) for run in runs], np.arange(1, evaluations + 1) + 1e-9)


def curve(values_SC: np.ndarray) -> dict[str, list[float | None]]:
    """Return mean and quartiles over replays; null if one has no result yet."""
    found = Curve.of(np.arange(1, values_SC.shape[1] + 1), values_SC)
    values = {"mean": found.mean_P, "q25": found.q25_P, "q75": found.q75_P}
    return {key: [float(value) if np.isfinite(value) else None for value in value_X] for key, value_X in values.items()}


def summary_row(
    name: str, runs: Sequence[Replay], true_SC: np.ndarray, area_SC: np.ndarray, random: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Quality and hypervolume at each mark, differences from random search, and the cost of reaching it."""
    row: dict[str, Any] = {"strategy": name}
    evaluations = true_SC.shape[1]
    for mark in (mark for mark in MARKS if mark <= evaluations):
        for label, values_SC in (("quality", true_SC), ("area", area_SC)):
            at_S = values_SC[:, mark - 1]
            row[f"{label}@{mark}"] = float(at_S.mean()) if np.isfinite(at_S).all() else None
            row[f"{label}_interval@{mark}"] = [_finite(end, 5) for end in interval(at_S)]
        for label, values_SC, others_SC in zip(("quality", "area"), (true_SC, area_SC), random, strict=False):
            ends = interval(values_SC[:, mark - 1] - others_SC[: len(values_SC), mark - 1])
            row[f"{label}_difference_interval@{mark}"] = [_finite(end, 5) for end in ends]
    for target in (target for target in TARGETS if target <= evaluations):
        for label, values_SC, others_SC in zip(("ratio", "area_ratio"), (true_SC, area_SC), random, strict=False):
            middle, *ends = ratio_to_reach(values_SC, others_SC, target)
            row[f"{label}@{target}"] = _finite(middle)
            row[f"{label}_interval@{target}"] = [_finite(end) for end in ends]
    row["replays"] = len(runs)
    row["trials_median"] = int(np.median([len(run.cost_T) for run in runs]))
    return row


def _finite(value: float, digits: int = 3) -> float | None:
    """Round a number; None if there is none, as before the first of many workers has ended a training."""
    return round(value, digits) if np.isfinite(value) else None


def fewer_type(text: str) -> tuple[str, int]:
    """Read a strategy and its number of replays, such as "gp=20"."""
    name, _, number = text.rpartition("=")
    if not name or name == RANDOM:
        raise argparse.ArgumentTypeError(f"{text!r}, expected STRATEGY=REPLAYS of another strategy than {RANDOM}")
    return name, count_type(number)


def best_of(trials_table: TrialsTable, score: str, way: str) -> float:
    done = np.array([state is State.COMPLETE for state in trials_table.states])
    return float((np.nanmax if way == "maximize" else np.nanmin)(trials_table.metrics[score][done]))


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=REPO / "benchmarks/tables/naslung671.h5")
    parser.add_argument("--truth", help="values of single cases in the table, such as test/dice")
    parser.add_argument("--surrogate", action="store_true", help="a model stands in for networks that the table lacks")
    parser.add_argument(
        "--window", type=number_type(float, 0), nargs=2, help="lowest and highest MACs of the networks of a search"
    )
    parser.add_argument("--objectives", nargs="+", help="objectives of the searches; None for those of the table")
    known = sorted(p.stem for p in (REPO / "conf/strategy").glob("*.yaml"))
    parser.add_argument("--strategies", nargs="+", default=[*known, "predictor,strategy.model=linear"])
    parser.add_argument("--seeds", type=count_type, default=20)
    parser.add_argument(
        "--fewer", nargs="*", default=[], type=fewer_type, help="replays of slow strategies, such as gp=20"
    )
    parser.add_argument(
        "--evaluations", type=count_type, default=100, help="cost of a search in trainings of average cost"
    )
    parser.add_argument("--workers", type=count_type, default=1, help="simulated workers")
    parser.add_argument("--jobs", type=count_type, default=1, help="processes that compute")
    parser.add_argument("--replays", type=Path, help="file that keeps each replay, from which the comparison continues")
    parser.add_argument("--name", default="compare_strategies", help="name of the JSON")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--plot", type=Path, default=REPO / "docs/images/strategies.png")
    return parser.parse_args(arguments)


def replays_of(options: argparse.Namespace, grounds: Grounds) -> tuple[dict[str, list[Replay]], dict[str, str]]:
    """Replay all strategies; return the replays, and why others were left out."""
    fewer = dict(options.fewer)
    settings = [
        (name, seed)
        for name in options.strategies
        for seed in range(min(fewer.get(name, options.seeds), options.seeds))
    ]
    decisive = ("truth", "surrogate", "window", "objectives", "evaluations", "workers")
    kept = KeptReplays(
        options.replays, {"table": grounds.table.sha256, **{name: getattr(options, name) for name in decisive}}
    )
    context = multiprocessing.get_context("spawn")
    if options.surrogate:
        grounds.model.with_seed(0)  # fitted before the processes get it
    with ProcessPoolExecutor(options.jobs, context, prepare, (grounds,)) as pool:
        futures = {
            pool.submit(one_run, name, options.evaluations, seed, options.workers): (name, seed)
            for name, seed in sorted(settings, key=lambda setting: setting[1])  # all strategies get as far at any time
            if (name, seed) not in kept.known
        }
        for future in as_completed(futures):
            kept.add(*futures[future], future.result())
    runs: dict[str, list[Replay]] = {}
    skipped: dict[str, str] = {}
    for name, seed in settings:
        answer = kept.known[name, seed]
        if isinstance(answer, str):
            skipped.setdefault(name, answer)
        else:
            runs.setdefault(name, []).append(answer)
    return {name: each for name, each in runs.items() if name not in skipped}, skipped


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    window = None if options.window is None else tuple(options.window)
    objectives = None if options.objectives is None else tuple(options.objectives)
    if window is not None and not options.surrogate:
        raise NASError("--window without --surrogate", "both", "add --surrogate: the networks of a table are fixed")
    grounds = Grounds(options.table, options.truth, options.surrogate, window, objectives)
    score, way = next(item for item in grounds.table.objectives.items() if item[1] == "maximize")
    for name in options.strategies:  # a wrong name or setting ends the comparison before the first replay
        strategy_of(name, MANY_EPOCHS)
    runs, skipped = replays_of(options, grounds)
    if not runs:
        raise NASError(f"no strategy that runs on {options.table}", "at least one", "; ".join(skipped.values()))
    series = {
        name: tuple(at_costs(each, label, options.evaluations) for label in ("true_T", "area_T"))
        for name, each in runs.items()
    }
    random = series.get(RANDOM, ())
    rows = [summary_row(name, runs[name], *values, random) for name, values in series.items()]
    curves: Mapping[str, Mapping[str, Any]] = {
        label: {name: curve(values[number]) for name, values in series.items()}
        for number, label in enumerate(("quality", "area"))
    }
    errors = {name: asdict(error) for name, error in grounds.model.errors.items()} if options.surrogate else {}
    content = {
        "name": options.name,
        "machine": machine(),
        "table": {"file": options.table.name, "sha256": grounds.table.sha256, "trials": len(grounds.table)},
        "objectives": dict(grounds.table.objectives),
        "score": score,
        "truth": options.truth,
        "window": options.window,
        "surrogate": {name: error for name, error in errors.items() if name in (score, options.truth)},
        "best_of_table": best_of(grounds.table, score, way),
        "seconds_of_an_evaluation": grounds.seconds,
        "evaluations": options.evaluations,
        "workers": options.workers,
        "rows": rows,
        "skipped": skipped,
        "curves": curves,
    }
    write_text(options.out / f"{options.name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(table([{key: value for key, value in row.items() if "interval" not in key} for row in rows]))
    for name, reason in skipped.items():
        print(f"left out: {name}: {reason}")
    label = f"true quality of the chosen network ({options.truth})" if options.truth else f"best {score} so far"
    panels = {label: curves["quality"]}
    if len(grounds.table.objectives) > 1:
        fronts = {name: values for name, values in curves["area"].items() if name != "by_cost"}  # which has no front
        panels |= {"hypervolume of the front of true quality and MACs": fronts}
    plot(options.plot, "cost of the search, in trainings of average cost", panels)
    print(f"-> {options.out / f'{options.name}.json'}, {options.plot}")


if __name__ == "__main__":
    sys.exit(run_command(main))
