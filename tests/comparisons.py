"""Folders of searches and trainings that were never run, for tests of everything that compares them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nas.artifact import Artifact
from nas.comparison.record import FINISHED, JobRecord
from nas.history import State, Trial
from nas.provenance import DataFacts, Provenance, SearchRecord, SplitFacts
from nas.retraining.predictions import PREDICTIONS
from nas.retraining.result import TrainResult
from nas.task_spec import TaskSpec
from nas.tasks.classification import METRICS, Classification
from nas.trials_csv import write_csv
from tests.tables import OBJECTIVES, SPACE, records_of

DATA = DataFacts("nodules", "a" * 64, 9, ("benign", "malignant"))
SPLIT = SplitFacts("b" * 64)
CLASSES = ("benign", "malignant")
DAMAGED_RESULTS: list[dict[str, Any]] = [
    {"mean": None},
    {"mean": {"auc": 0.5}},
    {"data": "nodules"},
    {"ci95": {"auc": "wide"}},
    {"baselines": [1]},
    {"seed": "first"},
    {"latency_ms": 3.0},
    {"params": "few"},
    {"macs": {"median": "few"}},
]  # fields of result.json with another content


def trials_of(scores: Sequence[float], seed: int = 0, failed: Sequence[int] = ()) -> list[Trial]:
    """Trials with these scores and 10 s each, of networks that the seed chooses."""
    every = np.random.default_rng(seed).permutation(np.array(records_of(), dtype=object))
    trials = []
    for number, score in enumerate(scores):
        record = every[number]
        if number in failed:
            trials.append(replace(record, number=number, state=State.FAILED, metrics={}, reason="loss is NaN"))
            continue
        metrics = {"auc": score, "macs": record.metrics["macs"], "params": record.metrics["macs"] / 100}
        trials.append(replace(record, number=number, metrics={**metrics, "seconds": 10.0, "epochs": 2.0}))
    return trials


def write_search(
    folder: Path,
    scores: Sequence[float],
    seed: int = 0,
    *,
    overrides: Mapping[str, str] | None = None,
    number: int = -1,
    objectives: Mapping[str, str] = OBJECTIVES,
    data: DataFacts = DATA,
    task: TaskSpec | None = None,
    failed: Sequence[int] = (),
    again: tuple[int, Sequence[float]] | None = None,
    **config: Any,
) -> Path:
    """The folder of a search whose chosen network has the best score.

    `again` is a replicate in which its networks were trained again, and how much better they were.
    """
    trials = trials_of(scores, seed, failed)
    done = [trial for trial in trials if trial.state is State.COMPLETE]
    chosen = max(done, key=lambda trial: trial.metrics["auc"])
    record = SearchRecord("s", len(trials), chosen.number, 0, seed, data, SPLIT, objectives=objectives)
    task = TaskSpec() if task is None else task
    Artifact(SPACE, chosen.arch, task, chosen.metrics, Provenance(search=record)).save(folder / "arch.json")
    for trial, more in zip(list(trials), again[1] if again else (), strict=False):
        metrics = trial.metrics | {"auc": trial.metrics["auc"] + more}
        trials.append(replace(trial, number=len(trials), replicate=again[0] if again else 0, metrics=metrics))
    write_csv(folder / "trials.csv", trials)
    settings = {"seed": seed, "study": {"name": folder.name}, **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    if overrides is not None:
        given = {**overrides, "seed": str(seed)}
        choices = {key: value for key, value in overrides.items() if key in ("strategy", "space")}
        JobRecord("search", FINISHED, 0.0, number, given, choices).save(folder)
    return folder


def write_training(
    folder: Path,
    shift: float,
    seed: int = 0,
    *,
    data: DataFacts = DATA,
    cases: int = 60,
    beside: Mapping[str, float] | None = None,
    **changes: Any,
) -> Path:
    """The folder of a training: the larger `shift`, the better the probabilities of `cases` cases.

    `beside` holds the shifts of further networks by name; their ensemble is then the headline.
    """
    rng = np.random.default_rng(7)
    label_N = np.arange(cases) % 2
    noise_N = rng.normal(size=cases) + np.random.default_rng([seed, 1]).normal(scale=0.1, size=cases)
    task = Classification(in_channels=1, outputs=2, dims=3)
    name = str(changes.pop("name", "net"))
    shifts = {name: shift, **(beside or {})}
    probs = {key: np.round(1 / (1 + np.exp(-(one * (2 * label_N - 1) + noise_N))), 6) for key, one in shifts.items()}
    if beside:
        probs = {f"ensemble of {len(shifts)} networks": np.round(np.mean(list(probs.values()), axis=0), 6), **probs}
    every = {key: dict(task.score(np.column_stack([1 - one, one]), label_N).over()) for key, one in probs.items()}
    scores = every[name]
    ci95 = {"auc": [scores["auc"] - 0.1, min(1.0, scores["auc"] + 0.1)]}
    content = {
        "name": name,
        "arch_id": name,
        "params": 16128,
        "macs": 31_271_472,
        "bytes": 65_756,
        "protocol": "holdout",
        "folds": [{"fold": "valid1", "n": cases, **scores}],
        "mean": scores,
        "ci95": ci95,
        "ensembles": {key: {**one, "ci95": ci95} for key, one in every.items()},
        "data": asdict(data),
        "split": asdict(SPLIT),
        "seed": seed,
        "task": dict(task.identity),
        "metrics": [asdict(metric) for metric in METRICS],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    TrainResult.from_json(json.loads(json.dumps(content))).save(folder / "result.json")
    for key in shifts:
        spec = folder / f"bundles/{content['arch_id'] if key == name else key}/valid1/model.json"
        spec.parent.mkdir(parents=True, exist_ok=True)
        spec.write_text(json.dumps({"facts": {"trained": {"seconds": 12.5, "epochs": 3}}}))
        spec.with_name("arch.json").write_text(json.dumps({"provenance": {"published": key}}))
    with open(folder / PREDICTIONS, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "patient", "label", *(f"{key}: malignant" for key in probs)])
        for number, label in enumerate(label_N):
            own = [f"{prob[number]:.6f}" for prob in probs.values()]
            writer.writerow([f"case{number:03}", f"patient{number // 2:03}", CLASSES[label], *own])
    return folder


def rows_in(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
