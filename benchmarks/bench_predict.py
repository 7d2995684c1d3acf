"""Prediction by sliding windows, compared with MONAI's `sliding_window_inference`, at equal Dice.

    python -m benchmarks.bench_predict                      # two U-Nets and a DiNTS network, volumes of 96^3
    python -m benchmarks.bench_predict --side 64 --rounds 3

Ours is `Segmentation.predict`. MONAI's windows are predicted by the same network in fp32, and in bf16 with images and
weights in channels-last layout. All get the same windows, overlap and Gaussian weights, and end with probabilities in
fp32. The ways alternate within one run; their CPU times, on a GPU wall times, are compared by the median. Networks are
trained for some seconds on balls in noise; Dice is that of other balls.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from benchmarks.common import write_results
from experiments.argument_types import count_type
from experiments.cli import run_command
from nas.metrics.surface import dice
from nas.task_spec import TaskSpec
from nas.tasks.segmentation import Segmentation
from search_spaces import DiNTSSpace, UNetSpace

CLASSES, OVERLAP, AT_ONCE = 3, 0.25, 4
STEPS = 40
NETWORKS = ("unet, batch norm", "unet, instance norm", "dints")
Way = Callable[[], torch.Tensor]


def networks() -> dict[str, nn.Module]:
    """Build a U-Net with batch and one with instance normalisation, and a DiNTS network."""
    torch.manual_seed(0)
    task = TaskSpec("segmentation", 3, 1, CLASSES)
    made: dict[str, nn.Module] = {}
    for name in NETWORKS[:2]:
        fixed = {"depths": (3,), "widths": (16,), "block_counts": (2,), "kernels": (3,), "ups": ("transposed",)}
        space = UNetSpace(norms=(name.split()[1],), **fixed)
        made[name] = space.build(space.repair([0] * len(space.genes)), task)
    dints = DiNTSSpace(num_blocks=4, num_depths=3, channel_mul=0.25, use_downsample=False, out_channels=CLASSES)
    made["dints"] = dints.build(dints.sample(np.random.default_rng(0)), task)
    return made


def balls(side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw balls of two intensities in noise: image (1, 1, D, H, W) and classes (1, D, H, W)."""
    grid_3DHW = torch.stack(torch.meshgrid(*[torch.arange(side)] * 3, indexing="ij"))
    label_DHW = torch.zeros(side, side, side, dtype=torch.int64)
    for number in range(max(4, (side // 16) ** 3)):
        middle_3 = torch.rand(3, generator=generator) * side
        radius = 3 + 3 * torch.rand((), generator=generator)
        inside_DHW = (grid_3DHW - middle_3[:, None, None, None]).square().sum(dim=0) < radius**2
        label_DHW[inside_DHW] = 1 + number % 2
    noise = 0.3 * torch.randn(side, side, side, generator=generator)
    return (label_DHW.float() + noise)[None, None], label_DHW[None]


def trained(model: nn.Module, side: int, steps: int, device: torch.device) -> nn.Module:
    """Train a network on balls for a few steps, so that its label maps mean something."""
    model.to(device).train()
    task, generator = Segmentation(outputs=CLASSES), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        x, y = (torch.cat(parts).to(device) for parts in zip(*(balls(side, generator) for _ in range(2)), strict=True))
        optimizer.zero_grad()
        task.loss(model(x), y).backward()
        optimizer.step()
    return model.eval()


def ways(model: nn.Module, x_BCDHW: torch.Tensor, window: int) -> dict[str, Way]:
    """Make the ways to predict; each returns probabilities in fp32."""
    device = x_BCDHW.device
    task = Segmentation(outputs=CLASSES, window=window, overlap=OVERLAP, precision="auto")
    exact = Segmentation(outputs=CLASSES, window=window, overlap=OVERLAP, precision="fp32")

    def monai(x: torch.Tensor, bf16: bool) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = sliding_window_inference(x, (window,) * 3, AT_ONCE, model, OVERLAP, mode="gaussian")
            return logits.float().softmax(dim=1)

    last = torch.channels_last_3d
    return {
        "MONAI fp32": lambda: monai(x_BCDHW, bf16=False),
        "MONAI bf16": lambda: monai(x_BCDHW.contiguous(memory_format=last), bf16=True),
        "ours fp32": lambda: exact.predict(model, x_BCDHW),
        "ours": lambda: task.predict(model, x_BCDHW),
    }


def timed(way: Way, device: torch.device) -> float:
    """Return the seconds of a prediction: CPU time, on a GPU wall time."""
    if device.type == "cpu":
        started = time.process_time()
        way()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    way()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def compare(name: str, model: nn.Module, side: int, window: int, rounds: int, device: torch.device) -> dict[str, Any]:
    """Time all ways in turn.

    Returns:
        Milliseconds of each way, ratios, and the Dice of each.
    """
    model = trained(model, min(window, 32), STEPS, device).to(memory_format=torch.channels_last_3d)
    x_BCDHW, y_BDHW = balls(side, torch.Generator().manual_seed(1))
    x_BCDHW, truth = x_BCDHW.to(device), y_BDHW.numpy()
    all_ways = ways(model, x_BCDHW, window)
    labels = {way: call().argmax(dim=1).cpu().numpy() for way, call in all_ways.items()}  # warms up as well
    seconds: dict[str, list[float]] = {way: [] for way in all_ways}
    for _ in range(rounds):
        for way, call in all_ways.items():
            seconds[way].append(timed(call, device))
    middle = {way: statistics.median(times) for way, times in seconds.items()}
    row: dict[str, Any] = {"network": name, "side": side, "window": window}
    for way, value in middle.items():
        row[f"{way} (ms)"] = round(1e3 * value, 1)
    for way, own in labels.items():
        row[f"{way}, Dice"] = round(float(np.nanmean(dice(own, truth, CLASSES))), 4)
    row["MONAI bf16 / ours"] = round(middle["MONAI bf16"] / middle["ours"], 2)
    row["MONAI fp32 / ours fp32"] = round(middle["MONAI fp32"] / middle["ours fp32"], 2)
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=count_type, default=96, help="voxels a side of the volume")
    parser.add_argument("--windows", type=count_type, nargs="+", default=[32, 64], help="voxels a side of the window")
    parser.add_argument("--rounds", type=count_type, default=5, help="predictions of each way")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default=None)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.manual_seed(0)
    rows = [
        compare(name, model, options.side, window, options.rounds, device)
        for name, model in networks().items()
        for window in options.windows
    ]
    write_results("bench_predict", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
