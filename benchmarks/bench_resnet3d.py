"""Seconds per epoch of residual classifiers on nodules of 16^3 voxels, with validation.

    python -m benchmarks.bench_resnet3d [--epochs 2] [--threads 1]

The networks are the smallest and the largest of conf/space/resnet3d.yaml, and the one in between whose MACs are the
median over the space. Data: outlines of LIDC-IDRI, which need no download. Seconds are CPU seconds, which other work on
the machine changes little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.cost.model import CostModel
from nas.data.loading import VolumeSet
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.tasks.classification import Classification
from nas.training.loop import fit
from nas.training.settings import TrainingSettings
from search_spaces.resnet3d import ResNet3DSpace


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds per epoch of residual classifiers at 16^3.")
    parser.add_argument("--epochs", type=count_type, default=2)
    parser.add_argument("--threads", type=count_type, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    space, task, device = ResNet3DSpace(), Classification(), torch.device("cpu")
    cost = CostModel(space, task.spec, (1, 16, 16, 16), "macs")
    genes_NG = space.enumerate()
    assert genes_NG is not None
    macs_N = cost(genes_NG)
    order = np.argsort(macs_N)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = LidcShapes(folder, size=16, spacing_mm=2.0).prepare()
        train, valid = (VolumeSet(store, part, device) for part in Split(store).search)
        for name, row in (("smallest", order[0]), ("median", order[len(order) // 2]), ("largest", order[-1])):
            arch = space.architecture([int(gene) for gene in genes_NG[row]])
            torch.manual_seed(0)
            network = space.build(arch, task.spec)
            marks = [time.process_time()]

            def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float], marks: list[float] = marks) -> None:
                marks.append(time.process_time())

            settings = TrainingSettings(epochs=options.epochs, batch_size=32, precision="fp32")
            fit(network, task, train, valid, settings, seed=0, device=device, on_epoch=on_epoch)
            params = sum(parameter.numel() for parameter in network.parameters())
            facts = {"network": name, "params": params, "macs_m": round(macs_N[row] / 1e6, 2), "samples": len(train)}
            rows.append({**facts, "cpu_s_per_epoch": round(min(np.diff(marks)), 2)})
    write_results(Path(__file__).stem, rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
