"""Training throughput of three NAS-Lung networks in samples per second, compared with a plain loop.

    python -m benchmarks.bench_train                 # every network on 16^3 and 32^3
    python -m benchmarks.bench_train --sizes 16 --networks small middle --seconds 5

The plain loop is typical PyTorch code: a Dataset over an array in memory, per-sample NumPy augmentation in two
DataLoader workers, contiguous layout, fp32, AdamW. Ours is the loop of the project (`nas.training.steps`): data on the
device, augmentation of whole batches on the device, channels-last, fused AdamW, in fp32 and in bf16. Both have the same
augmentation (flips, shifts of up to 2 voxels, a cut-out cube). All variants alternate in windows of a second within one
run, and the medians of the windows are compared, so that other load of the machine affects all of them. Before each
window some steps are not timed, so that batches prefetched by the plain loop during other windows do not count. "x2"
are two candidates trained at the same time, each in a process with one thread, as two workers of a search use two
cores: for small volumes one step does not keep two threads busy. On a GPU: a step captured as a CUDA graph, and several
candidates at the same time, each in its own stream.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import write_results
from experiments.argument_types import count_type, number_type
from experiments.cli import run_command
from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.data.transforms.augment import Augment
from nas.tasks.classification import Classification
from nas.tasks.precision import has_fast_bf16
from nas.training.precision import autocast
from nas.training.settings import TrainingSettings
from nas.training.steps import Steps
from search_spaces.naslung import NASLungSpace

NETWORKS = {
    "small": "model-1",
    "middle": "spcbam[4,4,[8, 16, 16], [16, 32, 64], [128, 128]]",
    "large": "spcbam[4,4,[64, 64, 64, 64], [64], [128, 128]]",
}
BATCH = {16: 32, 32: 16}
SHIFT, CUTOUT, WORKERS, AT_ONCE = 2, 4, 2, 4
CHUNK_STEPS = 2  # steps between two readings of the clock
BURST_STEPS = 4  # steps of each process between two synchronisations
WINDOW_SECONDS = 1.0


class PlainDataset(Dataset):
    """Dataset with per-sample NumPy augmentation: flips, shifts by padding and cropping, a cut-out cube."""

    def __init__(self, volumes_NCDHW: np.ndarray, labels: np.ndarray) -> None:
        self.volumes_NCDHW, self.labels = volumes_NCDHW, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        x = self.volumes_NCDHW[index].astype(np.float32) / 255
        rng, side = np.random.default_rng(), x.shape[1]
        for axis in (1, 2, 3):
            if rng.random() < 0.5:
                x = np.flip(x, axis)
        x = np.pad(x, ((0, 0), *((SHIFT, SHIFT),) * 3), mode="edge")
        d, h, w = rng.integers(0, 2 * SHIFT + 1, 3)
        x = x[:, d : d + side, h : h + side, w : w + side].copy()
        d, h, w = rng.integers(0, side - CUTOUT + 1, 3)
        x[:, d : d + CUTOUT, h : h + CUTOUT, w : w + CUTOUT] = 0
        return torch.from_numpy(x), int(self.labels[index])


def build(network: str) -> nn.Module:
    torch.manual_seed(0)
    space, arch = NASLungSpace.from_name(NETWORKS[network])
    return space.build(arch)


def plain_steps(network: str, data: VolumeSet, batch_size: int, device: torch.device) -> Iterator[int]:
    """Train with the plain loop and yield the number of samples of each step."""
    model = build(network).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    dataset = PlainDataset(data.store.read(data.indices), data.labels)
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)
    while True:
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            loss = F.cross_entropy(model(x, y), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(y)


def our_settings(batch_size: int, **changes: Any) -> TrainingSettings:
    augment = Augment(flip=(0, 1, 2), shift=SHIFT, cutout=CUTOUT)
    return TrainingSettings(epochs=10_000, batch_size=batch_size, augment=augment, **changes)


def our_steps(network: str, data: VolumeSet, settings: TrainingSettings, device: torch.device) -> Iterator[int]:
    steps = Steps(build(network), Classification(), settings, data, seed=0, device=device)
    epoch = 0
    while True:
        epoch += 1
        for _, samples in steps.epoch(epoch):
            yield samples


def captured_steps(network: str, data: VolumeSet, settings: TrainingSettings, device: torch.device) -> Iterator[int]:
    """Capture a whole step (forward, backward, AdamW) as one CUDA graph; batches are copied into its input."""
    model = build(network).to(device, memory_format=torch.channels_last_3d).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, fused=True, capturable=True)
    bf16, size = settings.uses_bf16(device), settings.batch_size
    x_BCDHW = torch.zeros((size, *data.shape), device=device)
    y_B = torch.zeros(size, dtype=torch.int64, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, bf16):
            output = model(x_BCDHW, y_B)
        F.cross_entropy(output, y_B).backward()
        optimizer.step()

    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    order, changes = torch.Generator(), torch.Generator(device)
    while True:
        for x, y in data.batches(size, generator=order):
            if len(y) == size:
                x_BCDHW.copy_(settings.augment(x, changes) if settings.augment else x)
                y_B.copy_(y)
                graph.replay()
                yield size


def several_on_gpu(make: Callable[[], Iterator[int]], count: int, device: torch.device) -> Iterator[int]:
    """Run `count` trainings at the same time, each in its own stream; one yield is one step of each."""
    streams = [torch.cuda.Stream(device) for _ in range(count)]
    trainings: list[Iterator[int]] = []
    for stream in streams:
        with torch.cuda.stream(stream):
            trainings.append(make())
    while True:
        samples = 0
        for stream, training in zip(streams, trainings, strict=True):
            with torch.cuda.stream(stream):
                samples += next(training)
        yield samples


def several_on_cpu(network: str, data: VolumeSet, settings: TrainingSettings, count: int) -> Iterator[int]:
    """Run `count` trainings, each in a process with one thread; one yield is BURST_STEPS steps of each."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(count):
        mine, theirs = context.Pipe()
        words = (theirs, network, data.store.path, settings)
        context.Process(target=train_on_demand, args=words, daemon=True).start()
        pipes.append(mine)
    while True:
        for pipe in pipes:
            pipe.send(BURST_STEPS)
        yield sum(pipe.recv() for pipe in pipes)


def train_on_demand(pipe: Connection, network: str, path: Path, settings: TrainingSettings) -> None:
    """Take the requested number of steps and send back the number of samples."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    store = VolumeStore(path)
    training = our_steps(network, VolumeSet(store, range(len(store)), device), settings, device)
    with suppress(EOFError, BrokenPipeError):  # the other end has exited
        while True:
            pipe.send(sum(next(training) for _ in range(pipe.recv())))


def ways(network: str, data: VolumeSet, batch_size: int, device: torch.device) -> dict[str, Iterator[int]]:
    fp32, bf16 = our_settings(batch_size, precision="fp32"), our_settings(batch_size, precision="bf16")
    contiguous = our_settings(batch_size, precision="fp32", channels_last=False)
    found = {
        "plain": plain_steps(network, data, batch_size, device),
        "ours fp32 contiguous": our_steps(network, data, contiguous, device),
        "ours fp32": our_steps(network, data, fp32, device),
    }
    if has_fast_bf16(device):
        found["ours bf16"] = our_steps(network, data, bf16, device)
    if device.type == "cuda":
        best = bf16 if has_fast_bf16(device) else fp32
        found["captured"] = captured_steps(network, data, best, device)
        found[f"captured x{AT_ONCE}"] = several_on_gpu(
            lambda: captured_steps(network, data, best, device), AT_ONCE, device
        )
    elif torch.get_num_threads() > 1:
        cores = torch.get_num_threads()
        found[f"ours fp32 x{cores}"] = several_on_cpu(network, data, fp32, cores)
        if has_fast_bf16(device):
            found[f"ours bf16 x{cores}"] = several_on_cpu(network, data, bf16, cores)
    return found


def measure(
    steps: dict[str, Iterator[int]], seconds: float, device: torch.device, window_s: float = WINDOW_SECONDS
) -> dict[str, float]:
    """Measure the median samples per second over alternating windows, about `seconds` per variant."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds * len(steps)
    while time.perf_counter() < end or len(rates["plain"]) < 3:
        for name, iterator in steps.items():
            rates[name].append(window_rate(iterator, device, window_s))
    return {name: statistics.median(values) for name, values in rates.items()}


def window_rate(steps: Iterator[int], device: torch.device, seconds: float) -> float:
    """Measure samples per second in one window."""
    wait = torch.cuda.synchronize if device.type == "cuda" else nullcontext
    for _ in range(2 * WORKERS):  # as many as the plain loop's workers prefetch
        next(steps)
    wait()
    samples, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        samples += sum(next(steps) for _ in range(CHUNK_STEPS))
        wait()
    return samples / (time.perf_counter() - start)


def make_data(folder: Path, side: int, device: torch.device, n: int = 512) -> VolumeSet:
    """Write balls of two sizes in noise; the values do not change the speed."""
    rng = np.random.default_rng(0)
    grid = np.linalg.norm(np.indices((side,) * 3) - (side - 1) / 2, axis=0)
    samples = []
    for number in range(n):
        volume = 200 * (grid < side / (4 + 2 * (number % 2))) + rng.integers(0, 50, grid.shape)
        samples.append(Sample(f"s{number}", volume.astype(np.uint8)[None], number % 2, f"p{number}"))
    store = write_store(
        folder / f"balls{side}.h5", samples, name="balls", classes=("small", "large"), provenance={}, scale=1 / 255
    )
    return VolumeSet(store, range(n), device)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=count_type, nargs="+", default=sorted(BATCH), choices=sorted(BATCH))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seconds", type=number_type(float, 0), default=10.0, help="measured time of each way")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", default=None)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for side in options.sizes:
            data = make_data(Path(folder), side, device)
            for network in options.networks:
                rates = measure(ways(network, data, BATCH[side], device), options.seconds, device)
                row: dict[str, Any] = {"size": side, "network": network, "batch": BATCH[side]}
                for name, rate in rates.items():
                    row[f"{name} /s"] = round(rate, 1)
                    if name != "plain":
                        row[f"{name} x"] = round(rate / rates["plain"], 2)
                rows.append(row)
    write_results("bench_train", rows, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
