"""Comparison of all strategies of conf/ on a table of trained networks.

    python -m benchmarks.compare_strategies --table benchmarks/tables/naslung671.h5

Each strategy runs with many seeds on the table (nas/simulator.py): with one worker over the number of trained networks,
and with eight simulated workers over the recorded training time. Shown are the mean and the quartiles of the best score
so far, and the cost of the trainings: simulated hours of one worker, and the MACs of the networks that a search trains
(times the samples of a training, which are the same for all). A search that ends early keeps its last value.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from hydra import compose, initialize_config_dir

from benchmarks.common import RESULTS, machine, table
from experiments.build import build
from nas.comparison.curves import Curve, over_cost, over_trials
from nas.errors import NASError
from nas.history import State
from nas.simulator import simulate
from nas.strategies.base import Strategy
from nas.strategies.fidelity.schedule import Fidelity
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.trials_table import TrialsTable, read_h5
from nas.utils.files import write_bytes, write_text

matplotlib.use("Agg")
import matplotlib.pyplot as plt

REPO = Path(__file__).resolve().parents[1]
MARKS = (10, 25, 50, 100)  # numbers of trials with a column of the best score so far
POINTS = 200  # points per curve over time
load = lru_cache(maxsize=1)(read_h5)  # once per process


def strategy_named(name: str) -> Strategy:
    """Build a strategy of conf/, such as "tpe", or one with a multi-fidelity rule, such as "tpe+asha"."""
    own, _, rule = name.partition("+")
    config = compose("search", overrides=[f"strategy={own}", f"fidelity={rule or 'null'}"])
    strategy = build(config.strategy, "strategy", Strategy)
    return MultiFidelity(strategy, build(config.fidelity, "fidelity", Fidelity)) if rule else strategy


def one_run(
    path: str, name: str, trials: int, seed: int, workers: int
) -> tuple[list[float], list[float], list[float]] | str:
    """Return times, best scores and MACs of each trial of a simulation; or why the strategy cannot run on the table."""
    trials_table = load(path)
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        strategy = strategy_named(name)
    try:
        result = simulate(strategy, trials_table, trials, seed, workers)
    except NASError as error:
        return str(error)
    macs = [trial.metrics.get("macs", float("nan")) for trial in result.history]
    return result.time_T.tolist(), result.best_T.tolist(), macs


def curve(x_X: np.ndarray, best_SX: np.ndarray) -> dict[str, list[float | None]]:
    """Return mean and quartiles over seeds; null if a seed has no result yet."""
    found = Curve.of(x_X, best_SX)
    values = {"mean": found.mean_P, "q25": found.q25_P, "q75": found.q75_P}
    return {key: [float(value) if np.isfinite(value) else None for value in value_X] for key, value_X in values.items()}


def summary_row(
    name: str, best_ST: np.ndarray, seconds: Sequence[float], macs: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Scores, and the cost of the trainings: networks, hours of one worker, MACs of the networks of a search."""
    marks = {f"best@{mark}": float(best_ST[:, mark - 1].mean()) for mark in MARKS if mark <= best_ST.shape[1]}
    last = best_ST[:, -1]
    return {
        "strategy": name,
        **marks,
        "end_mean": float(last.mean()),
        "end_q25": float(np.quantile(last, 0.25)),
        "end_q75": float(np.quantile(last, 0.75)),
        "trials_median": int(np.median([len(one) for one in macs])),
        "hours_mean": float(np.mean(seconds)) / 3600,
        "gmacs_a_search": float(np.mean([np.nansum(one) for one in macs])) / 1e9,
        **{f"gmacs@{mark}": float(np.mean([np.nansum(one[:mark]) for one in macs])) / 1e9 for mark in MARKS[:2]},
    }


def best_of(trials_table: TrialsTable, score: str, way: str) -> float:
    done = np.array([state is State.COMPLETE for state in trials_table.states])
    return float((np.nanmax if way == "maximize" else np.nanmin)(trials_table.metrics[score][done]))


def plot(
    path: Path, score: str, top: float, panels: Mapping[str, Mapping[str, tuple[np.ndarray, Mapping[str, Any]]]]
) -> None:
    """Draw one panel per x axis: label -> strategy -> (x, curve)."""
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        for number, (name, (x, values)) in enumerate(curves.items()):
            color, style = f"C{number}", "--" if name == "random" else "-"
            mean, low, high = (np.array(values[key], dtype=float) for key in ("mean", "q25", "q75"))
            axis.plot(x, mean, style, color=color, label=name, linewidth=1.6)
            axis.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
        axis.axhline(top, color="0.6", linewidth=0.8, linestyle=":")
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"best {score} so far (dotted: best of the table)")
    axes[-1].legend(frameon=False, fontsize=8, loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    write_bytes(path, image.getvalue())
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=REPO / "benchmarks/tables/naslung671.h5")
    parser.add_argument(
        "--strategies", nargs="+", default=sorted(p.stem for p in (REPO / "conf/strategy").glob("*.yaml"))
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--workers", type=int, default=8, help="simulated workers of the second panel")
    parser.add_argument("--jobs", type=int, default=1, help="processes that compute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--plot", type=Path, default=REPO / "docs/images/strategies.png")
    options = parser.parse_args(arguments)
    trials_table = load(str(options.table))
    score, way = next(item for item in trials_table.objectives.items() if item[1] == "maximize")
    settings = [
        (name, w, seed) for name in options.strategies for w in (1, options.workers) for seed in range(options.seeds)
    ]
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(one_run, str(options.table), name, options.trials, seed, w) for name, w, seed in settings
        ]
        answers = dict(zip(settings, (future.result() for future in futures), strict=True))
    rows, skipped, by_trials, by_time = [], {}, {}, {}
    for name in options.strategies:
        alone, together = ([answers[name, w, seed] for seed in range(options.seeds)] for w in (1, options.workers))
        refused = [answer for answer in (*alone, *together) if isinstance(answer, str)]
        if refused:
            skipped[name] = refused[0]
            continue
        best_ST = over_trials([(times, best) for times, best, _ in alone], options.trials)
        rows.append(summary_row(name, best_ST, [times[-1] for times, _, _ in alone], [macs for *_, macs in alone]))
        trial_T = np.arange(1, options.trials + 1)
        by_trials[name] = (trial_T, curve(trial_T, best_ST))
        by_time[name] = [(times, best) for times, best, _ in together]
    last_s = max((ends[-1] for runs in by_time.values() for ends, _ in runs), default=0.0)
    time_P = np.linspace(0.0, last_s, POINTS)
    over_hours = {name: (time_P / 3600, curve(time_P, over_cost(runs, time_P))) for name, runs in by_time.items()}
    content = {
        "name": "compare_strategies",
        "machine": machine(),
        "table": {"file": options.table.name, "sha256": trials_table.sha256, "trials": len(trials_table)},
        "score": score,
        "best_of_table": best_of(trials_table, score, way),
        "seeds": options.seeds,
        "trials": options.trials,
        "workers": options.workers,
        "rows": rows,
        "skipped": skipped,
        "over_trials": {name: values for name, (_, values) in by_trials.items()},
        "over_time": {"seconds": time_P.tolist(), **{name: values for name, (_, values) in over_hours.items()}},
    }
    write_text(options.out / "compare_strategies.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(table(rows))
    for name, reason in skipped.items():
        print(f"left out: {name}: {reason}")
    hours = f"simulated hours, {options.workers} workers"
    plot(options.plot, score, content["best_of_table"], {"trained networks, one worker": by_trials, hours: over_hours})
    print(f"-> {options.out / 'compare_strategies.json'}, {options.plot}")


if __name__ == "__main__":
    main()
