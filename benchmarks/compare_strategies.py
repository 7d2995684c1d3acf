"""Comparison of all strategies of conf/ on a table of trained networks.

    python -m benchmarks.compare_strategies --table benchmarks/tables/dints_hippocampus.h5 --truth test/dice --surrogate
    python -m benchmarks.compare_strategies --table benchmarks/tables/naslung671.h5

Each strategy is replayed with many seeds (nas/simulator.py): with one worker over the number of trials, and with eight
simulated workers over the recorded training time. A search sees one replicate of each network. Shown are means over
replays with 95 % intervals: the true quality of the network that a search of so many trials chooses (`--truth`, over
replicates that it did not see), the hypervolume of its front of true quality and MACs, and how many trials it takes to
what random search reaches with 50 and 100, as a ratio. A search that ends early keeps its last value.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.baselines import ByCost, FullPath
from benchmarks.common import RESULTS, machine, table
from benchmarks.replays import Grounds, Replay, evaluations_to_reach, interval
from experiments.build import build
from nas.comparison.curves import Curve, over_cost, over_trials
from nas.errors import NASError
from nas.history import State
from nas.strategies.base import Strategy
from nas.strategies.fidelity.schedule import Fidelity
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.trials_table import TrialsTable
from nas.utils.files import write_bytes, write_text

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REPO = Path(__file__).resolve().parents[1]
MARKS = (5, 10, 25, 50, 100, 200, 400)  # numbers of trials with a column
TARGETS = (50, 100)  # trials of random search whose quality others have to reach
POINTS = 200  # points per curve over time
BASELINES = {"full_path": FullPath, "by_cost": ByCost}
RANDOM = "random"


def strategy_of(name: str) -> Strategy:
    """Build a baseline, or a strategy of conf/: "tpe", "tpe+asha", "predictor,strategy.model=linear"."""
    if name in BASELINES:
        return BASELINES[name]()
    words, _, rule = name.partition("+")
    group, *settings = words.split(",")
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        config = compose("search", overrides=[f"strategy={group}", *([f"fidelity={rule}"] if rule else []), *settings])
        strategy = build(config.strategy, "strategy", Strategy)
        return MultiFidelity(strategy, build(config.fidelity, "fidelity", Fidelity)) if rule else strategy


def one_run(grounds: Grounds, name: str, trials: int, seed: int, workers: int) -> Replay | str:
    """Return a replay; or why the strategy cannot run on the table."""
    try:
        replay = grounds.replay(strategy_of(name), trials, seed, workers)
    except NASError as error:
        return str(error)
    return replay if replay.time_T else f"{name} proposes nothing on this table"


def curve(x_X: np.ndarray, best_SX: np.ndarray) -> dict[str, list[float | None]]:
    """Return mean and quartiles over seeds; null if a seed has no result yet."""
    found = Curve.of(x_X, best_SX)
    values = {"mean": found.mean_P, "q25": found.q25_P, "q75": found.q75_P}
    return {key: [float(value) if np.isfinite(value) else None for value in value_X] for key, value_X in values.items()}


def measured(runs: Sequence[Replay], name: str, trials: int) -> np.ndarray:
    """Return a series of all replays (S, T); a replay that ended early keeps its last value."""
    return over_trials([(run.time_T, getattr(run, name)) for run in runs], trials)


def summary_row(name: str, runs: Sequence[Replay], trials: int, random_T: np.ndarray | None) -> dict[str, Any]:
    """Quality and hypervolume at each mark with intervals, cost of the trainings, and trials to reach random search."""
    true_ST, area_ST = measured(runs, "true_T", trials), measured(runs, "area_T", trials)
    row: dict[str, Any] = {"strategy": name}
    for mark in (mark for mark in MARKS if mark <= trials):
        at_S = true_ST[:, mark - 1]
        row[f"quality@{mark}"] = float(at_S.mean())
        row[f"interval@{mark}"] = [round(end, 5) for end in interval(at_S)]
        row[f"area@{mark}"] = float(area_ST[:, mark - 1].mean())
        row[f"area_interval@{mark}"] = [round(end, 5) for end in interval(area_ST[:, mark - 1])]
    if random_T is not None:
        for target in (target for target in TARGETS if target <= trials):
            needed = evaluations_to_reach(true_ST.mean(axis=0), float(random_T[target - 1]))
            row[f"ratio@{target}"] = needed / target if np.isfinite(needed) else None
    row["trials_median"] = int(np.median([len(run.time_T) for run in runs]))
    row["hours_mean"] = float(np.mean([run.time_T[-1] for run in runs])) / 3600
    row["gmacs_a_search"] = float(np.mean([np.nansum(run.macs_T) for run in runs])) / 1e9
    return row


def best_of(trials_table: TrialsTable, score: str, way: str) -> float:
    done = np.array([state is State.COMPLETE for state in trials_table.states])
    return float((np.nanmax if way == "maximize" else np.nanmin)(trials_table.metrics[score][done]))


def plot(path: Path, score: str, panels: Mapping[str, Mapping[str, tuple[np.ndarray, Mapping[str, Any]]]]) -> None:
    """Draw one panel per x axis: label -> strategy -> (x, curve)."""
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        for number, (name, (x, values)) in enumerate(curves.items()):
            color, style = f"C{number}", "--" if name == RANDOM else "-"
            mean, low, high = (np.array(values[key], dtype=float) for key in ("mean", "q25", "q75"))
            axis.plot(x, mean, style, color=color, label=name.replace(",strategy.", ", "), linewidth=1.6)
            axis.fill_between(x, low, high, color=color, alpha=0.08, linewidth=0)
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(score)
    axes[-1].legend(frameon=False, fontsize=8, loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    write_bytes(path, image.getvalue())
    plt.close(figure)


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=REPO / "benchmarks/tables/naslung671.h5")
    parser.add_argument("--truth", help="values of single cases in the table, such as test/dice")
    parser.add_argument("--surrogate", action="store_true", help="a model stands in for networks that the table lacks")
    parser.add_argument("--window", type=float, nargs=2, help="lowest and highest MACs of the networks of a search")
    known = sorted(p.stem for p in (REPO / "conf/strategy").glob("*.yaml"))
    parser.add_argument("--strategies", nargs="+", default=[*known, "predictor,strategy.model=linear"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--workers", type=int, default=8, help="simulated workers of the second panel")
    parser.add_argument("--parallel-seeds", type=int, help="replays with several workers; None: as many as --seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes that compute")
    parser.add_argument("--name", default="compare_strategies", help="name of the JSON")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--plot", type=Path, default=REPO / "docs/images/strategies.png")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    window = None if options.window is None else tuple(options.window)
    grounds = Grounds(options.table, options.truth, options.surrogate, window)
    score, way = next(item for item in grounds.table.objectives.items() if item[1] == "maximize")
    parallel = options.seeds if options.parallel_seeds is None else options.parallel_seeds
    counts = {1: options.seeds, options.workers: parallel}
    settings = [(name, w, seed) for name in options.strategies for w, count in counts.items() for seed in range(count)]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(one_run, grounds, name, options.trials, seed, w) for name, w, seed in settings]
        answers = dict(zip(settings, (future.result() for future in futures), strict=True))
    runs: dict[str, list[Replay]] = {}
    skipped, by_trials, by_time = {}, {}, {}
    for name in options.strategies:
        alone, together = ([answers[name, w, seed] for seed in range(count)] for w, count in counts.items())
        refused = [answer for answer in (*alone, *together) if isinstance(answer, str)]
        if refused:
            skipped[name] = refused[0]
            continue
        runs[name] = alone
        trial_T = np.arange(1, options.trials + 1)
        by_trials[name] = (trial_T, curve(trial_T, measured(alone, "true_T", options.trials)))
        by_time[name] = [(run.time_T, run.true_T) for run in together]
    random_T = measured(runs[RANDOM], "true_T", options.trials).mean(axis=0) if RANDOM in runs else None
    rows = [summary_row(name, alone, options.trials, random_T) for name, alone in runs.items()]
    last_s = max((ends[-1] for each in by_time.values() for ends, _ in each), default=0.0)
    time_P = np.linspace(0.0, last_s, POINTS)
    over_hours = {name: (time_P / 3600, curve(time_P, over_cost(each, time_P))) for name, each in by_time.items()}
    errors = {name: asdict(error) for name, error in grounds.model.errors.items()} if options.surrogate else {}
    content = {
        "name": options.name,
        "machine": machine(),
        "table": {"file": options.table.name, "sha256": grounds.table.sha256, "trials": len(grounds.table)},
        "score": score,
        "truth": options.truth,
        "surrogate": {name: error for name, error in errors.items() if name in (score, options.truth)},
        "best_of_table": best_of(grounds.table, score, way),
        "seeds": options.seeds,
        "trials": options.trials,
        "workers": options.workers,
        "rows": rows,
        "skipped": skipped,
        "over_trials": {name: values for name, (_, values) in by_trials.items()},
        "over_time": {"seconds": time_P.tolist(), **{name: values for name, (_, values) in over_hours.items()}},
    }
    write_text(options.out / f"{options.name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(table([{key: value for key, value in row.items() if "interval" not in key} for row in rows]))
    for name, reason in skipped.items():
        print(f"left out: {name}: {reason}")
    hours = f"simulated hours, {options.workers} workers"
    label = f"true quality of the chosen network ({options.truth})" if options.truth else f"best {score} so far"
    plot(options.plot, label, {"trials, one worker": by_trials, hours: over_hours})
    print(f"-> {options.out / f'{options.name}.json'}, {options.plot}")


if __name__ == "__main__":
    main()
