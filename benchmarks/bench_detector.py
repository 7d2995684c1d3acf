"""Accuracy of a detector on unseen phantoms, and the duration of its training.

    python -m benchmarks.bench_detector [--trained FOLDER] [--real CT ...]

Trains `detector/lung-slices` with conf/experiment/lung_detector.yaml (one thread) and tests it once on 200 slices of 40
simulated patients. With --trained, the folder of an earlier training is used. With --real, the detector is also tested
on 200 phantoms in real CT volumes, although it was trained without any real CT.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import write_results
from experiments.cli import run_command
from experiments.lung_detector.predictor import Predictor
from nas.bundle import bundles_of
from nas.data.loading import VolumeSet
from nas.data.sources.nodule_phantoms import NodulePhantoms
from nas.inference.model_spec import RESULT
from nas.metrics.boxes import overlaps
from nas.training.loop import predict

REPO = Path(__file__).resolve().parents[1]
LEAST = 0.001  # as in conf/task/detection.yaml: mAP counts improbable boxes too
SETTINGS = {"size": 256, "radius_mm": (4.0, 15.0)}  # as in conf/data/nodule_phantoms.yaml


def trained(folder: Path) -> None:
    words = ["experiment=lung_detector", "arch=detector/lung-slices", f"hydra.run.dir={folder}", "device=cpu"]
    words.append("rounds=1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "run_train.py", *words]
    subprocess.run(command, cwd=REPO, check=True, env=environment)


def on_real_ct(folder: Path, paths: Sequence[str], cache: str) -> dict[str, object]:
    """Measure the metrics on 200 phantoms in real CT, and the time per slice."""
    store = NodulePhantoms(cache, patients=40, backgrounds=paths, **SETTINGS).prepare()  # type: ignore[arg-type]
    predictor = Predictor.load(folder)
    predictor.task.least = LEAST
    part = VolumeSet(store, range(len(store)), "cpu")
    started = time.process_time()
    found = predict(predictor.network, predictor.task, part, 8)
    seconds = time.process_time() - started
    target = store.targets(range(len(store)))
    metrics = predictor.task.score(found, target).over()
    counts = count_reported(found, target, predictor.threshold)
    return {
        "test": "drawn into real CT",
        "slices": len(store),
        **metrics,
        **counts,
        "cpu s a slice": seconds / len(store),
    }


def count_reported(found_NPX: np.ndarray, target_NMX: np.ndarray, threshold: float) -> dict[str, int]:
    """Count nodules, nodules with a box above the threshold at an IoU of at least 0.5, and false boxes."""
    nodules = met = others = 0
    for found, target in zip(map(torch.from_numpy, found_NPX), map(torch.from_numpy, target_NMX), strict=True):
        reported, real = found[found[:, -2] >= threshold], target[target[:, -1] >= 0]
        fit_MT = overlaps(real[:, :-1], reported[:, :-2]) >= 0.5
        nodules += len(real)
        met += int(fit_MT.any(dim=1).sum())
        others += int((~fit_MT.any(dim=0)).sum())
    return {"nodules": nodules, f"met at {threshold:g}": met, f"other boxes at {threshold:g}": others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, help="folder of a training, instead of a new one")
    parser.add_argument("--real", nargs="+", default=[], help="CT volumes (NIfTI, NRRD, MetaImage, DICOM folders)")
    parser.add_argument("--out", type=Path, default=None, help="folder of the JSON (default: benchmarks/results)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = given.trained or Path(name) / "detector"
        if given.trained is None:
            trained(folder)
        result = json.loads((folder / RESULT).read_text())
        (bundle,) = bundles_of(folder, best=1)
        test = next(fold for fold in result["folds"] if fold["fold"] == bundle.spec.facts["trained"]["round"])
        sizes = {"slices": test["n"], **{name: test[name] for name in ("map50", "map", "recall50")}}
        minutes: dict[str, object] = {"training: slices": bundle.spec.facts["trained"]["samples"]["train"]}
        if given.trained is None:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            minutes["CPU minutes"] = (used.ru_utime + used.ru_stime) / 60  # of the whole command
        rows: list[dict[str, object]] = [{"test": "synthetic chest", **sizes, **minutes, "params": result["params"]}]
        if given.real:
            rows.append(on_real_ct(folder, given.real, name))
    write_results("bench_detector", rows, given.out, seed=result["seed"])


if __name__ == "__main__":
    sys.exit(run_command(main))
