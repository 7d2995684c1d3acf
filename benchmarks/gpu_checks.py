"""The checks of `python -m benchmarks.gpu`: every space and task, precisions, checkpoints, data, workers, supernets."""

from __future__ import annotations

import csv
import math
import multiprocessing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from nas.api.searching import run_search
from nas.artifact import Artifact
from nas.bundle import Bundle
from nas.cost.latency import measure_table
from nas.cost.model import CostModel
from nas.data.loading import VolumeSet
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.transforms.augment import Augment
from nas.evaluators.train import Train
from nas.export.onnx import export
from nas.inference.runtime import ExportedNetwork
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.differentiable import costs_of
from nas.strategies.random import RandomSearch
from nas.supernets.settings import ArchitectureSettings
from nas.supernets.shared import supernet_of
from nas.supernets.trainer import SupernetTraining
from nas.task_spec import TaskSpec
from nas.tasks.default import default_task
from nas.testing.examples import CASES, TinyNets, drawn_store
from nas.training.loop import fit, predict
from nas.training.settings import TrainingSettings
from search_spaces import (
    CascadeSpace,
    DetectorSpace,
    DiNTSSpace,
    NASLungSpace,
    NodulePatchSpace,
    ResNet3DSpace,
    UNetSpace,
)

SIDE = 16
DINTS = DiNTSSpace(num_blocks=3, num_depths=2, channel_mul=0.125, out_channels=2)
CLOSE = 2e-3  # largest difference of fp32 outputs on two devices, relative to the largest output
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """Where and how large checks are.

    Attributes:
        device: The device.
        quick: Whether networks and numbers of steps are small.
        folder: An empty folder.
    """

    device: torch.device
    quick: bool
    folder: Path

    def data(self, task: TaskSpec, **options: Any) -> tuple[VolumeSet, VolumeSet]:
        """Draw balls for a task; training and validation part, on the device."""
        path = self.folder / f"{task.kind}{task.dims}-{task.in_channels}-{task.outputs}.h5"
        store = drawn_store(path, task, side=SIDE)
        cut = CASES * 2 // 3
        return tuple(VolumeSet(store, rows, self.device, **options) for rows in (range(cut), range(cut, CASES)))

    def settings(self, **changes: Any) -> TrainingSettings:
        augment = Augment(flip=(0,), shift=1)
        return TrainingSettings(**{"epochs": 2, "batch_size": 8, "lr": 0.01, "augment": augment, **changes})


def spaces() -> dict[str, tuple[SearchSpace, TaskSpec]]:
    """Make every space, small, with a task of its kind."""
    unet = {"depths": (1, 2), "widths": (4, 8), "norms": ("batch", "instance", "group")}
    backbone = {"depths": [1], "widths": [4], "block_counts": [1], "kernels": [3], "norms": ["group"]}
    dints = {"num_blocks": 3, "num_depths": 2, "channel_mul": 0.125, "out_channels": 2}
    patch = NodulePatchSpace(depths=(2,), stems=(4,), hidden=(30,))
    found: dict[str, tuple[SearchSpace, TaskSpec]] = {
        "naslung": (NASLungSpace(widths=(4, 8, 16), max_depth=5), TaskSpec("classification")),
        "naslung, softmax, woo2018": (NASLungSpace(cbam="woo2018", head="softmax"), TaskSpec("classification")),
    }
    for dims in (2, 3):
        segmentation, detection = TaskSpec("segmentation", dims), TaskSpec("detection", dims, 1, 1)
        found |= {
            f"resnet3d, {dims}D": (ResNet3DSpace(), TaskSpec("classification", dims)),
            f"nodule_patch, {dims}D": (patch, TaskSpec("classification", dims)),
            f"unet, {dims}D": (UNetSpace(**unet, spatial_dims=dims), segmentation),
            f"dints, {dims}D": (DiNTSSpace(**dints, spatial_dims=dims), segmentation),
            f"detector, {dims}D": (DetectorSpace(settings={**backbone, "spatial_dims": dims}, stems=(1,)), detection),
        }
    found["unet, deep supervision"] = (UNetSpace(**unet, deep_supervision=True), TaskSpec("segmentation"))
    found["cascade"] = (CascadeSpace(depths=(1,), levels=(1,)), TaskSpec("segmentation", 3, 4, 3))
    return found


def trains(space: SearchSpace, spec: TaskSpec, bench: Bench) -> Facts:
    """Compare a network's fp32 output with that on the CPU; train, predict and score; load the kept weights again."""
    train, valid = bench.data(spec)
    task = default_task(train.store)
    torch.manual_seed(0)
    arch = space.sample(np.random.default_rng(0))
    model = space.build(arch, task.spec)
    x, _ = next(VolumeSet(train.store, range(2), "cpu").batches(2))
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        outputs = [tree_leaves(model.eval().to(device)(x.to(device))) for device in ("cpu", bench.device)]
    difference = max(_difference(*pair) for pair in zip(*outputs, strict=True))
    _require(difference < CLOSE, f"outputs that differ from those on the CPU by {difference:.2g}")
    result = fit(model, task, train, valid, bench.settings(), seed=0, device=bench.device)
    _require(all(math.isfinite(row["loss"]) for row in result.history), "a loss that is not finite")
    prediction = predict(model, task, valid, 4)
    _require(bool(np.isfinite(prediction).all()), "predictions that are not finite")
    bundle = Bundle.of(
        model, Artifact(space, arch, spec), task, train.shape, classes=train.store.classes, preparation={}
    )
    again = predict(bundle.network(bench.device), bundle.task, valid, 4)
    _require(np.allclose(again, prediction, atol=1e-2), "another prediction by the kept weights")
    return {"difference": f"{difference:.1e}", **{name: round(value, 3) for name, value in result.metrics.items()}}


def precisions(bench: Bench) -> Facts:
    """Train in fp32 and bf16, with both memory layouts, and compare the losses of the first epoch."""
    spec = TaskSpec("segmentation")
    train, valid = bench.data(spec)
    task, losses = default_task(train.store), dict[str, float]()
    for precision, last in product(("fp32", "bf16"), (False, True)):
        torch.manual_seed(0)
        model = UNetSpace(depths=(2,), widths=(8,)).build(UNetSpace(depths=(2,), widths=(8,)).repair([0] * 6), spec)
        settings = bench.settings(epochs=1, precision=precision, channels_last=last, augment=None)
        result = fit(model, task, train, valid, settings, seed=0, device=bench.device)
        losses[f"{precision}{' channels-last' if last else ''}"] = round(result.history[0]["loss"], 4)
    _require(max(losses.values()) - min(losses.values()) < 0.05, f"losses {losses}")
    return losses


def compiled(bench: Bench) -> Facts:
    """Train with torch.compile in the device's precision, on a CPU in fp32, and without; losses agree."""
    spec = TaskSpec("classification")
    train, valid = bench.data(spec)
    space: SearchSpace = TinyNets() if bench.quick else NASLungSpace()
    arch = space.repair([0] * len(space.genes))
    losses = []
    for on in (False, True):
        torch.manual_seed(0)
        precision = "fp32" if bench.device.type == "cpu" else "auto"
        settings = bench.settings(epochs=1, compile=on, precision=precision, augment=None)
        model = space.build(arch, spec)
        losses.append(fit(model, default_task(train.store), train, valid, settings, seed=0, device=bench.device))
    first, second = (result.history[0]["loss"] for result in losses)
    _require(abs(first - second) < 0.05, f"losses {first:.4f} and {second:.4f}")
    return {"loss": round(first, 4), "compiled": round(second, 4)}


def resumes(bench: Bench) -> Facts:
    """Interrupt a training after its first epoch; the resumed one continues with weights, optimiser and seeds."""
    spec = TaskSpec("classification")
    train, valid = bench.data(spec)
    space = NASLungSpace()
    arch = space.from_stages([[4], [4], [8]])

    def stop(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    results = []
    for name, interrupted in (("whole", False), ("parts", True)):
        for on_epoch in (stop, None) if interrupted else (None,):
            torch.manual_seed(0)
            model = space.build(arch, spec)
            run = partial(fit, model, default_task(train.store), train, valid, bench.settings(epochs=3), seed=0)
            with suppress(KeyboardInterrupt):
                results.append(run(device=bench.device, folder=bench.folder / name, on_epoch=on_epoch))
    whole, parts = ([row["loss"] for row in result.history] for result in results)
    _require(np.allclose(whole, parts, atol=0 if bench.device.type == "cpu" else 0.02), f"losses {whole} and {parts}")
    return {"losses": [round(loss, 4) for loss in whole], "resumed": [round(loss, 4) for loss in parts]}


def random_numbers(bench: Bench) -> Facts:
    """Check that a training leaves the random numbers of its caller as they were, on the CPU and on the device."""
    spec = TaskSpec("classification")
    train, valid = bench.data(spec)

    def draws() -> list[float]:
        return [*torch.rand(2).tolist(), *torch.rand(2, device=bench.device).tolist()]

    torch.manual_seed(1)
    expected = draws()
    torch.manual_seed(1)
    model = TinyNets().build(TinyNets().repair([0] * 4), spec)
    torch.manual_seed(1)
    fit(model, default_task(train.store), train, valid, bench.settings(epochs=1), seed=0, device=bench.device)
    _require(draws() == expected, "other random numbers after a training")
    return {}


def streamed(bench: Bench) -> Facts:
    """Read batches from the file, through pinned memory on a GPU; they are those of the resident set."""
    spec = TaskSpec("segmentation")
    sets = [bench.data(spec, max_resident_mb=limit)[0] for limit in (2048, 0)]
    _require([one.resident for one in sets] == [True, False], "a set that should be read from its file")
    for pair in zip(*(one.batches(4, generator=torch.Generator().manual_seed(0)) for one in sets), strict=True):
        for kept, read in zip(*pair, strict=True):
            _require(read.device.type == bench.device.type and torch.equal(kept, read), "other batches from the file")
    return {}


def supernet(space: SearchSpace, bench: Bench, **settings: Any) -> Facts:
    """Train a supernet with steps of weights and of architecture parameters, and decode it."""
    spec = TaskSpec(space.kind)
    train, valid = bench.data(spec)
    torch.manual_seed(0)
    costs = costs_of(CostModel(space, spec, train.shape, "macs"))
    training = SupernetTraining(
        supernet_of(space, spec),
        default_task(train.store),
        train,
        valid,
        bench.settings(batch_size=4, **settings),
        ArchitectureSettings(),
        costs,
        seed=0,
        device=bench.device,
        folder=bench.folder / f"supernet {type(space).__name__}",
        fingerprint="supernet",
    )
    training.run()
    losses = [row["loss"] for row in training.history]
    _require(all(map(math.isfinite, losses)), f"losses {losses}")
    return {"losses": [round(loss, 3) for loss in losses], "decoded": training.decoded().id}


def checkpointed(bench: Bench) -> Facts:
    """Compare the gradients of a supernet with and without recomputed activations."""
    torch.manual_seed(0)
    net = DINTS.supernet().to(bench.device)
    x, gradients = torch.rand(2, 1, SIDE, SIDE, SIDE, device=bench.device), []
    with torch.backends.cudnn.flags(allow_tf32=False):
        for on in (False, True):
            net.checkpointing = on
            net.zero_grad()
            net(x).square().mean().backward()
            gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    difference = _difference(*gradients)
    _require(difference < CLOSE, f"gradients that differ by {difference:.2g}")
    return {"difference": f"{difference:.1e}"}


def _worker(path: Path, folder: Path, number: int, trials: int, device: str, settings: TrainingSettings) -> None:
    torch.set_num_threads(1)
    store = VolumeStore(path)
    problem = Problem.of(NASLungSpace(widths=(4, 8), max_depth=4), store, objectives={"auc": "maximize"})
    run_search(
        problem,
        Split(store, folds=3),
        strategy=RandomSearch(),
        evaluator=Train(settings),
        trials=trials,
        folder=folder,
        device=device,
        worker=number,
    )


def workers(bench: Bench) -> Facts:
    """Search with one and with two processes on the device: each trial is trained once; trials per second, compared."""
    trials, context = (2 if bench.quick else 16), multiprocessing.get_context("spawn")
    path = bench.folder / "workers.h5"
    drawn_store(path, TaskSpec("classification"), side=SIDE)
    settings = bench.settings(epochs=1 if bench.quick else 20)
    rates = {}
    for count in (2,) if bench.quick else (1, 2):
        folder = bench.folder / f"workers{count}"
        words = (trials, str(bench.device), settings)
        processes = [context.Process(target=_worker, args=(path, folder, number, *words)) for number in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        codes = [process.exitcode for process in processes]
        _require(codes == [0] * count, f"exit codes {codes}")
        with (folder / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        states = [row["state"] for row in rows]
        _require(states == ["complete"] * trials, f"trials {states}")
        rates[count] = count * trials / sum(float(row["seconds"]) for row in rows)
    return {} if bench.quick else {"trials per second, two workers / one": round(rates[2] / rates[1], 2)}


def latency(bench: Bench) -> Facts:
    """Measure a latency table of blocks; its sums agree with whole networks."""
    space = NASLungSpace(widths=(4, 8) if bench.quick else (4, 16, 64), max_depth=4)
    table = measure_table(space, (1, SIDE, SIDE, SIDE), TaskSpec("classification"), bench.device, checks=3)
    error = float(table.meta["check"]["median_error"])
    _require(math.isfinite(error), f"an error of {error}")
    table.require_device(bench.device)
    return {"median error": round(error, 3)}


def exported(bench: Bench) -> Facts:
    """Export a network that was trained on the device; onnxruntime gives what PyTorch gives."""
    spec = TaskSpec("segmentation")
    train, valid = bench.data(spec)
    task, space = default_task(train.store), UNetSpace(depths=(1,), widths=(4,))
    arch = space.repair([0] * 6)
    model = space.build(arch, spec)
    fit(model, task, train, valid, bench.settings(epochs=1), seed=0, device=bench.device)
    export(model, train.shape, bench.folder / "export", task=spec, inference=task.inference)
    x, _ = next(VolumeSet(train.store, range(2), "cpu").batches(2))
    own = ExportedNetwork(bench.folder / "export/model.onnx").probabilities(x.numpy())
    difference = float(np.abs(own - task.predict(model, x.to(bench.device)).cpu().numpy()).max())
    _require(difference < 0.03, f"probabilities that differ by {difference:.2g}")
    return {"difference": f"{difference:.1e}"}


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.detach().float().cpu(), other.detach().float().cpu()
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))


def _require(holds: bool, found: str) -> None:
    if not holds:
        raise AssertionError(found)


CHECKS: dict[str, Callable[[Bench], Facts]] = {
    **{f"space: {name}": partial(trains, *pair) for name, pair in spaces().items()},
    "precisions and layouts": precisions,
    "compile": compiled,
    "resume": resumes,
    "random numbers": random_numbers,
    "data: streamed": streamed,
    "supernet: dints": partial(supernet, DINTS),
    "supernet: shared weights of unet": partial(supernet, UNetSpace(depths=(1,), widths=(4, 8))),
    "supernet: shared weights of naslung": partial(supernet, NASLungSpace(widths=(4, 8), max_depth=4)),
    "supernet: recomputed activations": checkpointed,
    "workers: one device": workers,
    "latency table": latency,
    "export": exported,
}
