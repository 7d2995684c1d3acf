"""Parts of tables for tests: trainings that are written in milliseconds, and functions that count their calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.retraining.result import TrainResult
from nas.tasks.classification import METRICS, Classification

SMALL = """
title: "A small table, 100 % made"
about: "Nothing is trained."
score: auc
columns:
  - {name: auc, label: AUC, digits: 3, interval: true}
  - {name: accuracy, label: "acc. (%)", digits: 1, scale: 100}
  - {name: params, label: "params (M)", digits: 4, scale: 1.0e-6}
sizes:
  quick: {seeds: [0, 1], words: {strong: "3.0"}, note: "Two seeds."}
  full: {seeds: [0, 1, 2], words: {strong: "3.0"}}
data:
  scans: {folder: scans_1, files: ["*.nii"], source: "example.org, by registration."}
sections:
  - title: Published
    id: published
    rows:
      - {name: "Net_1 & co", values: {auc: 0.9, params: "14"}, source: "Somebody, 2020", comparable: false,
         note: "50 % of it"}
  - title: Ours
    id: ours
    against: weak
    rows:
      - {name: weak, steps: [{_target_: tests.paper_tables.training, name: weak, signal: 0.3}], minutes: {quick: 1}}
      - {name: strong, steps: [{_target_: tests.paper_tables.training, name: strong, signal: 3.0}], minutes: {quick: 1}}
      - {name: volume, of: weak, system: volume}
      - {name: needs data, needs: [scans], steps: ["train data.root={data} seed={seed}"], minutes: {full: 90}}
      - {name: after it, call: {_target_: tests.paper_tables.number, value: 1.0, folder: "{row:needs-data}/x"}}
      - {name: large, sizes: [full], steps: ["train seed={seed}"], minutes: {full: 90}}
      - {name: long, steps: ["train seed={seed}"], minutes: {quick: 61}}
  - title: Counts
    id: counts
    columns: [params]
    rows:
      - {name: exact, values: {auc: 0.5}, source: "Somebody, 2020",
         call: {_target_: tests.paper_tables.number, value: 16128}}
      - {name: of seeds, seeds: {quick: 2}, call: {_target_: tests.paper_tables.of_seed}}
"""

CASES = 60
calls: list[str] = []
interrupt_at: list[str] = []  # names of rows whose next call is interrupted


def training(folder: Path, seed: int, name: str, signal: float) -> None:
    """Leave what run_train.py leaves: probabilities that tell the classes apart by `signal`, and noise by the seed."""
    calls.append(f"{name} {seed}")
    if name in interrupt_at:
        interrupt_at.remove(name)
        raise KeyboardInterrupt
    rng = np.random.default_rng([seed, len(name)])
    label_N = np.arange(CASES) % 2
    prob_N = 1 / (1 + np.exp(-(signal * (2 * label_N - 1) + rng.normal(0, 1, CASES))))
    lines = ["sample,patient,label," + f"{name}: bad,volume: bad"]
    for case, (label, prob) in enumerate(zip(label_N, prob_N, strict=True)):
        lines.append(f"s{case:03},p{case // 2:03},{('good', 'bad')[label]},{prob:.6f},{0.5:.6f}")
    path = folder / "train"
    path.mkdir(parents=True, exist_ok=True)
    (path / "predictions.csv").write_text("\n".join(lines) + "\n")
    result = TrainResult(
        name=name,
        arch_id="x",
        protocol="holdout",
        folds=(),
        mean={metric.name: 0.5 for metric in METRICS},
        ci95={},
        data={"name": "made", "sha256": "d" * 64, "classes": ["good", "bad"]},
        split={"sha256": "s" * 64, "unit": "patient"},
        seed=seed,
        costs={"params": 16128, "macs": 10**6, "bytes": 4 * 16128},
        metrics=METRICS,
        task=Classification().identity,
    )
    result.save(path / "result.json")


def number(value: float) -> dict[str, object]:
    calls.append(f"number {value}")
    return {"params": value, "note": "counted"}


def of_seed(seed: int) -> dict[str, object]:
    return {"params": 10.0 + seed}


def read(path: str) -> dict[str, object]:
    """The number in a file."""
    calls.append(f"read {Path(path).name}")
    return {"params": float(Path(path).read_text())}


def fail(kind: str) -> dict[str, object]:
    """Raise an exception of the standard library."""
    raise {"type": TypeError, "value": ValueError, "key": KeyError, "os": OSError, "run": RuntimeError}[kind](
        f"wrong {kind}\nsecond line"
    )


def nothing() -> None:
    """A function for `steps` that a table names as `call`."""
