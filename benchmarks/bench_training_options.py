"""Options of a training, on and off, in paired trainings: the same folds, first weights, batches and epochs.

python -m benchmarks.bench_training_options --data FOLDER --option training.ema=0.99 --option task.flips=[2]

FOLDER holds dataset.json (a segmentation of the Medical Segmentation Decathlon) or adrenalmnist3d.npz, whose official
test part is never read. Every fold is tested once; the next one chooses the epoch. An option is one change of the
recipe in benchmarks/training_options_arms.py or several joined by "+"; `--base` changes all recipes. Finished and
interrupted trainings are continued from the folder `--work`. Two intervals of 95 %: over patients, who are drawn again
within their fold, and over folds by Student's t.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.common import RESULTS, write_results
from benchmarks.training_options_arms import Arm, arms_of, development_rows
from experiments.argument_types import count_type, number_type
from experiments.cli import Parser, run_command
from nas.comparison.statistics import paired_over_seeds
from nas.data.loading import VolumeSet
from nas.data.store import VolumeStore
from nas.metrics.metric import Scores
from nas.tasks.base import Task
from nas.tasks.segmentation_scores import SegmentationScores
from nas.training.loop import fit, predict
from nas.training.requirements import require_options
from nas.utils.files import read_json, write_text

PROGRAM = "python -m benchmarks.bench_training_options"
EXAMPLES = (
    f"{PROGRAM} --data data/Task04_Hippocampus --option training.ema=0.99 --option space.deep_supervision=true",
    f"{PROGRAM} --data data/adrenalmnist3d --option training.augment.mixup=0.2 --epochs 40 --seeds 3",
)
CPU = torch.device("cpu")
RESAMPLES = 500
SHOWN = ("option", "metric", "off", "on", "difference", "over patients", "over folds", "cpu_s off", "cpu_s on")


def folds_of(store: VolumeStore, count: int) -> list[np.ndarray]:
    """Divide the patients into folds, stratified by class."""
    rows = development_rows(store)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    parts = splitter.split(rows, store.labels[rows], store.groups[rows])
    return [rows[test] for _, test in parts]


def trained(
    arm: Arm, store: VolumeStore, folds: Sequence[np.ndarray], fold: int, seed: int, work: Path
) -> dict[str, Any]:
    """Train on one fold, or read the result of a finished training: predictions of the test part and CPU seconds."""
    folder = work / f"{arm.digest}-{len(folds)}-{fold}-{seed}"
    result, clock = folder / "result.npz", folder / "cpu.json"
    if not result.is_file():
        task, next_one = arm.task(store), (fold + 1) % len(folds)
        train = np.concatenate([rows for number, rows in enumerate(folds) if number not in (fold, next_one)])
        parts = [VolumeSet(store, np.sort(rows), CPU) for rows in (train, folds[next_one], folds[fold])]
        spent, started = (read_json(clock)["cpu_s"] if clock.is_file() else 0.0), time.process_time()

        def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            write_text(clock, json.dumps({"cpu_s": spent + time.process_time() - started}))

        model = arm.network(task, seed)
        fit(model, task, *parts[:2], arm.settings, seed=seed, device=CPU, folder=folder, on_epoch=on_epoch)
        prediction = predict(model, task, parts[2].normalised_like(parts[0]), arm.settings.batch_size)
        cpu_s = spent + time.process_time() - started
        np.savez(result, cases=_cases(task, prediction, parts[2]), rows=parts[2].indices, cpu_s=cpu_s)
        for checkpoint in folder.glob("*.pt"):
            checkpoint.unlink()
    with np.load(result) as content:
        return {name: content[name] for name in content.files}


def _cases(task: Task, prediction: np.ndarray, test: VolumeSet) -> np.ndarray:
    """Keep what the metrics are computed from: probabilities, or the Dice of each case and class."""
    scores = task.score(prediction, test.targets, quick=True)
    return scores.values["dice"] if isinstance(scores, SegmentationScores) else prediction


def scores_of(task: Task, store: VolumeStore, result: Mapping[str, Any]) -> Scores:
    """Return the scores of a result, for the whole test part or a resample of it."""
    if store.kind == "segmentation":
        return SegmentationScores({"dice": result["cases"]})
    return task.score(result["cases"], store.labels[result["rows"]])


Pairs = Sequence[tuple[int, Scores, Scores, np.ndarray]]  # fold, off, on, patients


def over_patients(pairs: Pairs, metrics: Sequence[str], seed: int = 0) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of mean differences; patients are drawn again within each fold.

    Args:
        pairs: Fold, scores of both arms and patients (N,) of the same cases; several per fold are seeds.
        metrics: Names of the metrics.
        seed: Seed of the draws.

    Returns:
        Metric -> lower and upper bound.
    """
    rng = np.random.default_rng(seed)
    members = {fold: [np.flatnonzero(group == one) for one in np.unique(group)] for fold, _, _, group in pairs}
    means = []
    while len(means) < RESAMPLES:
        drawn = {
            fold: np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))])
            for fold, groups in members.items()
        }
        values = [(off.over(drawn[fold]), on.over(drawn[fold])) for fold, off, on, _ in pairs]
        if all(first and other for first, other in values):  # a resample may lack a class
            apart = [[other[name] - first[name] for name in metrics] for first, other in values]
            means.append(np.mean(apart, axis=0))
    bounds = np.percentile(means, [2.5, 97.5], axis=0).T
    return {name: (float(low), float(high)) for name, (low, high) in zip(metrics, bounds, strict=True)}


def compared(arm: Arm, task: Task, pairs: Pairs, seconds: tuple[float, float]) -> list[dict[str, Any]]:
    """Return a row for the task's score, and for the accuracy of a classification."""
    rows = []
    metrics = [task.score_name, *(["accuracy"] if task.spec.kind == "classification" else [])]
    intervals = over_patients(pairs, metrics)
    for metric in metrics:
        by_fold: dict[int, list[tuple[float, float]]] = {}
        for fold, off, on, _ in pairs:
            by_fold.setdefault(fold, []).append((off.over()[metric], on.over()[metric]))
        off_F, on_F = np.array([np.mean(values, axis=0) for values in by_fold.values()]).T
        folds, patients = paired_over_seeds(list(off_F), list(on_F)), intervals[metric]
        rows.append(
            {
                "option": arm.name,
                "metric": metric,
                "off": round(float(off_F.mean()), 4),
                "on": round(float(on_F.mean()), 4),
                "difference": round(folds.mean, 4),
                "over patients": f"[{patients[0]:+.4f}, {patients[1]:+.4f}]",
                "over folds": f"[{folds.low:+.4f}, {folds.high:+.4f}]",
                "folds better": int((on_F > off_F).sum()),
                "folds": len(by_fold),
                "seeds": len(pairs) // len(by_fold),
                "cpu_s off": round(seconds[0], 1),
                "cpu_s on": round(seconds[1], 1),
                "epochs": arm.settings.epochs,
                "recipe": arm.digest,
            }
        )
    return rows


def main(words: Sequence[str] | None = None) -> None:
    """Train every arm on every fold and seed, compare each option with "off", and write benchmarks/results."""
    parser = Parser(PROGRAM, "Compare options of a training, on and off, over folds.", EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with dataset.json, or with adrenalmnist3d.npz")
    add("--option", action="append", required=True, metavar="KEY=VALUE", help="an option; may be repeated")
    add("--base", action="append", default=[], metavar="KEY=VALUE", help="a change of every recipe; may be repeated")
    add("--folds", type=number_type(int, 3, 20), default=5, help="folds of the patients (default: 5)")
    add("--rounds", type=number_type(int, 2, 20), help="folds that are tested (default: all)")
    add("--seeds", type=number_type(int, 1, 100), default=1, help="trainings of each fold (default: 1)")
    add("--epochs", type=count_type, help="epochs of every training (default: 20)")
    add("--work", type=Path, default=Path("outputs/bench_training_options"), help="folder of finished trainings")
    add("--out", type=Path, default=RESULTS, help="folder of the results (default: benchmarks/results)")
    options = parser.parse_args(words)
    base = [*options.base, *([f"training.epochs={options.epochs}"] if options.epochs else [])]
    arms = arms_of(options.data, base, options.option)
    for arm in arms:
        assert arm.settings.epochs == arms[0].settings.epochs, "an option that changes the epochs is no fair comparison"
    stores = [arm.prepared(options.work / "data") for arm in arms]
    folds = folds_of(stores[0], options.folds)
    for arm, store in zip(arms, stores, strict=True):  # before hours of trainings
        require_options(VolumeSet(store, folds[0], CPU), arm.task(store), arm.settings)
    results: dict[tuple[int, int, int], dict[str, Any]] = {}
    for seed in range(options.seeds):
        for fold in range(options.rounds or options.folds):
            for number, (arm, store) in enumerate(zip(arms, stores, strict=True)):
                results[number, fold, seed] = found = trained(arm, store, folds, fold, seed, options.work)
                print(f"seed {seed}, fold {fold}, {arm.name}: {float(found['cpu_s']):.0f} CPU-seconds", flush=True)
    rows: list[dict[str, Any]] = []
    for number, (arm, store) in enumerate(zip(arms, stores, strict=True)):
        if number == 0:
            continue
        task, pairs, spent = arm.task(store), [], [0.0, 0.0]
        for (which, fold, seed), on in results.items():
            if which == number:
                off = results[0, fold, seed]
                pairs.append((fold, scores_of(task, store, off), scores_of(task, store, on), store.groups[on["rows"]]))
                spent = [spent[0] + float(off["cpu_s"]), spent[1] + float(on["cpu_s"])]
        rows += compared(arm, task, pairs, (spent[0] / len(pairs), spent[1] / len(pairs)))
    name = f"bench_training_options_{stores[0].name}"
    write_results(name, [*_others(options.out / f"{name}.json", rows), *rows], options.out, shown=SHOWN)


def _others(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of earlier calls that this one has not measured again."""
    key = ("recipe", "metric", "folds", "seeds")
    new = {tuple(row[name] for name in key) for row in rows}
    earlier = read_json(path)["rows"] if path.is_file() else []
    return [row for row in earlier if tuple(row.get(name) for name in key) not in new]


if __name__ == "__main__":
    sys.exit(run_command(main))
