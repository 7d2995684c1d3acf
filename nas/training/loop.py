"""The one training loop, for the search and for retraining."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.data.loading import VolumeSet, plan_batches
from nas.errors import NASError, TrialFailed
from nas.tasks.base import Task
from nas.training import distributed
from nas.training.checkpoint import load_checkpoint, save_checkpoint
from nas.training.settings import TrainingSettings
from nas.training.steps import Steps

LAST, BEST = "last.pt", "best.pt"
log = logging.getLogger(__name__)

OnEpoch = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class FitResult:
    """metrics: the validation metrics of the best epoch (epochs count from 1). seconds: training time, resumed runs
    included. history: one {"epoch", "loss", "lr", validation metrics} an epoch."""

    best_epoch: int
    metrics: Mapping[str, float]
    epochs_run: int
    seconds: float
    history: tuple[Mapping[str, float], ...]


@dataclass
class _Progress:
    """What a training is after some epochs, besides the states of model, optimiser and schedule."""

    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        return len(self.history)

    def finished(self, settings: TrainingSettings) -> bool:
        waited = self.epoch - self.best_epoch
        return self.epoch >= settings.epochs or (0 < settings.patience <= waited)


def fit(
    model: nn.Module,
    task: Task,
    train: VolumeSet,
    valid: VolumeSet,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    folder: Path | None = None,
    fingerprint: str = "",
    on_epoch: OnEpoch | None = None,
) -> FitResult:
    """Trains and leaves the weights of the best epoch, by the first metric of the task on `valid`, in `model`; a tie
    keeps the earlier.

    Batch order, augmentation and dropout are drawn anew for each epoch from (seed, epoch), so that a training resumed
    from `folder` is the uninterrupted one, bit for bit on a CPU. folder: keeps last.pt and best.pt; None: no
    checkpoints. fingerprint: names the network (architecture, initial weights); a checkpoint of another network,
    seed, data or settings is a NASError. on_epoch: called as (epoch, epochs, validation metrics; none after
    an epoch that was not validated) when the checkpoint is written; what it raises ends the training.
    Raises TrialFailed for a loss that is not finite and where memory runs out.
    """
    train, valid = train.scaled_as(train), valid.scaled_as(train)
    _check_sizes(train, valid, settings)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), out_of_memory_fails_the_trial(), _fast_kernels(device):
        steps = Steps(model, task, settings, train, seed=seed, device=device)
        run = _Run(model, steps, valid, folder, fingerprint)
        progress = run.resume()
        while not progress.finished(settings):
            metrics = run.epoch(progress)
            if on_epoch is not None:
                on_epoch(progress.epoch, settings.epochs, metrics)
        run.restore_best()
    best = progress.history[progress.best_epoch - 1]
    metrics = {name: value for name, value in best.items() if name not in ("epoch", "loss", "lr")}
    return FitResult(progress.best_epoch, metrics, progress.epoch, progress.seconds, tuple(progress.history))


def predict(model: nn.Module, task: Task, data: VolumeSet, batch_size: int) -> np.ndarray:
    """What `task.predict` gives for every sample, in order: probabilities (N, K), of a segmentation (N, K, D, H, W).

    Under torchrun each rank predicts its share and all ranks return the whole.
    """
    rank, world = distributed.rank(), distributed.world()
    plan = [rows for rows in (rows[rank::world] for rows in plan_batches(len(data), batch_size)) if len(rows)]
    batches = data.batches(batch_size, rank=rank, world=world)
    parts = [
        data.predicted(partial(task.predict, model), x_BCDHW, rows, whole=not task.any_size)
        for rows, (x_BCDHW, _) in zip(plan, batches, strict=True)
    ]
    shares = distributed.gather((np.concatenate(plan), np.concatenate(parts)) if parts else None)
    found = [share for share in shares if share is not None]
    rows, values = np.concatenate([share[0] for share in found]), np.concatenate([share[1] for share in found])
    out = np.empty_like(values)
    out[rows] = values
    return out


class _Run:
    """One training and its checkpoints: resume, one epoch, restore the best weights."""

    def __init__(self, model: nn.Module, steps: Steps, valid: VolumeSet, folder: Path | None, fingerprint: str) -> None:
        self.model, self.steps, self.valid, self.folder = model, steps, valid, folder
        self.settings, self.task, self.trained = steps.settings, steps.task, steps.model
        self.identity = identity_of(fingerprint, steps.settings, steps.bf16, steps.seed, steps.train, valid)
        self.best_state = copy.deepcopy(self.trained.state_dict())

    def resume(self) -> _Progress:
        """Where the checkpoints left off, or the start."""
        state = None
        if self.folder is not None:
            state = distributed.from_main(self._load(self.folder) if distributed.is_main() else None)
        if state is None:
            return _Progress()
        self.trained.load_state_dict(state["model"])
        self.steps.optimizer.load_state_dict(state["optimizer"])
        self.steps.schedule.load_state_dict(state["schedule"])
        self.best_state = state["best_model"]
        return _Progress(state["best_epoch"], state["seconds"], [dict(row) for row in state["history"]])

    def _load(self, folder: Path) -> dict[str, Any] | None:
        last = load_checkpoint(folder / LAST, self.identity)
        if last is None:
            return None
        if len(last["history"]) > self.settings.epochs:
            log.info("%s is past the %d epochs asked for: the training starts over", folder, self.settings.epochs)
            return None
        # none is validated yet; or best.pt may be one epoch behind: it is written second
        if last["best_epoch"] in (0, len(last["history"])):
            return {**last, "best_model": last["model"]}
        best = load_checkpoint(folder / BEST, self.identity)
        if best is None or best["epoch"] != last["best_epoch"]:
            log.warning("%s does not belong to %s: the training starts over", folder / BEST, folder / LAST)
            return None
        return {**last, "best_model": best["model"]}

    def epoch(self, progress: _Progress) -> dict[str, float]:
        """One epoch, its validation where one is due, and its checkpoint; returns the validation metrics, if any."""
        started, number = time.perf_counter(), progress.epoch + 1
        lr = self.steps.optimizer.param_groups[0]["lr"]
        loss = self._train_one(number)
        if not math.isfinite(loss):
            raise TrialFailed(
                f"loss became {'NaN' if math.isnan(loss) else 'infinite'} in epoch {number} (lr {lr:.2g})"
            )
        metrics = self._validate() if self._validates(number) else {}
        if metrics and (progress.best_epoch == 0 or self._better(metrics, progress.history[progress.best_epoch - 1])):
            progress.best_epoch = number
            self.best_state = copy.deepcopy(self.trained.state_dict())
        progress.history.append({"epoch": number, "loss": loss, "lr": lr, **metrics})
        progress.seconds += time.perf_counter() - started
        if self.folder is not None and distributed.is_main():
            self._save(self.folder, progress)
        return metrics

    def _better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        score = self.task.metrics[0]
        return score.sign * metrics[score.name] > score.sign * than[score.name]

    def _validates(self, number: int) -> bool:
        return number % self.settings.validate_every == 0 or number == self.settings.epochs

    def _validate(self) -> dict[str, float]:
        distributed.share_buffers(self.trained)
        prediction = predict(self.trained, self.task, self.valid, self.settings.batch_size)
        return dict(self.task.score(prediction, self.valid.targets, quick=True).over())

    def _train_one(self, number: int) -> float:
        """The mean training loss over all samples of all ranks; read once, so that a GPU is never waited for."""
        summed = torch.zeros((), device=self.steps.device)
        for loss, samples in self.steps.epoch(number):
            summed += loss * samples
        return float(distributed.total(summed)) / self.steps.train.per_epoch

    def _save(self, folder: Path, progress: _Progress) -> None:
        state = {
            "model": self.trained.state_dict(),
            "optimizer": self.steps.optimizer.state_dict(),
            "schedule": self.steps.schedule.state_dict(),
            "best_epoch": progress.best_epoch,
            "seconds": progress.seconds,
            "history": progress.history,
        }
        save_checkpoint(folder / LAST, self.identity, state)
        if progress.best_epoch == progress.epoch:
            best = {"model": self.best_state, "epoch": progress.epoch, "metrics": progress.history[-1]}
            save_checkpoint(folder / BEST, self.identity, best)

    def restore_best(self) -> None:
        self.model.load_state_dict(self.best_state)


def identity_of(
    fingerprint: str, settings: TrainingSettings, bf16: bool, seed: int, train: VolumeSet, valid: VolumeSet
) -> dict[str, str]:
    """Everything that decides the weights, as text, part by part."""
    values = dataclasses.asdict(settings) | {"precision": "bf16" if bf16 else "fp32"}
    if settings.extendable:
        del values["epochs"], values["patience"]  # they decide where such a training stops, not what it does
    parts = {f"training.{name}": str(value) for name, value in values.items()}
    return {"network": fingerprint, "seed": str(seed), **parts, "train": part_of(train), "valid": part_of(valid)}


def part_of(part: VolumeSet) -> str:
    """Which samples of which store, as text."""
    patches = "" if part.store.patches is None else f", {part.store.patches}"
    rows = hashlib.sha256(part.indices.tobytes()).hexdigest()[:12]
    return f"{part.store.sha256[:12]}, rows {rows}{patches}"


def _check_sizes(train: VolumeSet, valid: VolumeSet, settings: TrainingSettings) -> None:
    for name, part in (("training", train), ("validation", valid)):
        if len(part) < 2:
            raise NASError(f"{len(part)} samples in the {name} part", "at least 2", "use fewer folds or more data")
    require_sample_a_process(train, settings.batch_size)


def require_sample_a_process(part: VolumeSet, batch_size: int) -> None:
    """Raises NASError where torchrun has started more processes than the smallest batch has samples."""
    smallest = min(len(rows) for rows in plan_batches(part.per_epoch, batch_size))
    if smallest < distributed.world():
        raise NASError(
            f"batches of {smallest} samples for {distributed.world()} processes",
            "at least one sample a process",
            "raise the batch_size or start fewer processes",
        )


@contextmanager
def out_of_memory_fails_the_trial() -> Iterator[None]:
    """Raises TrialFailed for what PyTorch and Python raise where memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialFailed(
            f"out of memory: {str(error).splitlines()[0][:200] if str(error) else 'MemoryError'}"
        ) from error
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise TrialFailed(f"out of memory: {str(error).splitlines()[0][:200]}") from error


def _fast_kernels(device: torch.device) -> AbstractContextManager[object]:
    """On a GPU the fastest convolution for each of the few shapes is measured once and kept."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
