"""A-softmax with the published schedule of its margin, and with one relative to the length of the training.

python -m benchmarks.bench_margin                 # NAS-Lung's Model-1 on the default data set, paired by seed and fold

Prints the validation AUC of each pair, and the mean difference (relative minus steps) with its 95 % interval.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from experiments.argument_types import count_type, number_type
from experiments.cli import Parser, run_command
from nas.comparison.statistics import paired_over_seeds
from nas.data.loading import VolumeSet
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.transforms.augment import Augment
from nas.tasks.classification import Classification
from nas.training.loop import fit
from nas.training.settings import TrainingSettings
from search_spaces.naslung import NASLungSpace

PROGRAM = "python -m benchmarks.bench_margin"
SCHEDULES = ("steps", "relative")


def auc(schedule: str, parts: Sequence[VolumeSet], epochs: int, seed: int) -> tuple[float, float]:
    """Train Model-1 and return its validation AUC in the best epoch, and its last share of the margin's weight."""
    published = NASLungSpace.published["model-1"]
    space = NASLungSpace(**published.arguments, schedule=schedule)
    torch.manual_seed(seed)
    model = space.build(space.architecture(published.genes))
    settings = TrainingSettings(epochs=epochs, lr=0.01, precision="fp32", augment=Augment(shift=1, cutout=0))
    result = fit(model, Classification(), *parts, settings, seed=seed, device=torch.device("cpu"))
    return float(result.metrics["auc"]), float(result.history[-1]["auc"])


def main(words: Sequence[str] | None = None) -> None:
    parser = Parser(PROGRAM, "Compare the two schedules of the margin of A-softmax.", (PROGRAM,))
    parser.add_argument("--seeds", type=number_type(int, 2), default=6, help="trainings of each (default: 6)")
    parser.add_argument("--epochs", type=count_type, default=12, help="epochs of a training (default: 12)")
    options = parser.parse_args(words)
    store = LidcShapes(size=16, spacing_mm=2.0).prepare()
    found: dict[str, list[float]] = {name: [] for name in SCHEDULES}
    for seed in range(options.seeds):
        parts = [VolumeSet(store, rows, "cpu") for rows in Split(store, folds=5, seed=seed).search]
        for name in SCHEDULES:
            started = time.perf_counter()
            best, last = auc(name, parts, options.epochs, seed)
            found[name].append(best)
            print(
                f"seed {seed}, {name:<8} AUC {best:.4f}, last epoch {last:.4f}, {time.perf_counter() - started:.0f} s"
            )
    apart = paired_over_seeds(found["steps"], found["relative"])
    print(f"steps {np.mean(found['steps']):.4f}, relative {np.mean(found['relative']):.4f}")
    print(f"relative - steps: {apart.text(4)}, {apart.counted}")


if __name__ == "__main__":
    sys.exit(run_command(main))
