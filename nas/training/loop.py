"""Training loop of the search and of retraining."""

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

from nas.data.loading import VolumeSet, plan_batches, rank_share
from nas.errors import TrialFailed, first_line
from nas.network_traits import depends_on_length
from nas.tasks.base import Task
from nas.training import distributed
from nas.training.checkpoint import AVERAGE, evaluated_weights, load_checkpoint, save_checkpoint
from nas.training.requirements import require_trainable
from nas.training.settings import TrainingSettings, without_later_defaults
from nas.training.steps import Steps
from nas.utils.identity import TrainingIdentity

LAST, BEST = "last.pt", "best.pt"
log = logging.getLogger(__name__)

OnEpoch = Callable[[int, int, Mapping[str, float]], None]


class EndTraining(Exception):
    """Raised by `on_epoch` to end a training with the best epoch so far."""


@dataclass(frozen=True)
class FitResult:
    """Result of a training.

    Attributes:
        best_epoch: Epoch with the best validation score, from 1.
        metrics: Validation metrics of the best epoch.
        epochs_run: Number of finished epochs.
        seconds: Training time, with that of resumed runs.
        history: "epoch", "loss", "lr" and the validation metrics of each epoch.
        collapsed: Why the training collapsed, by its best epoch; empty if it did not.
    """

    best_epoch: int
    metrics: Mapping[str, float]
    epochs_run: int
    seconds: float
    history: tuple[Mapping[str, float], ...]
    collapsed: str = ""


@dataclass
class _Progress:
    """Progress of a training: best epoch, elapsed time, history."""

    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    collapsed: str = ""

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
    """Train a network and load the weights of its best epoch.

    The best epoch is that of the first metric of the task on `valid`; the earlier one wins a tie. With
    `TrainingSettings.ema` the averaged weights are validated, kept and loaded.
    Batch order, augmentation and dropout of an epoch depend on (seed, epoch) only, so that a resumed training gives
    the same weights as an uninterrupted one, bit for bit on a CPU.

    Args:
        model: Network, changed in place.
        task: Loss and metrics.
        train: Training samples.
        valid: Validation samples.
        settings: Training settings.
        seed: Seed of batch order, augmentation and dropout.
        device: Device to train on.
        folder: Folder of last.pt and best.pt. If None, no checkpoints are written.
        fingerprint: Identifies the network (architecture and initial weights) in checkpoints.
        on_epoch: Called after each epoch with its number, the number of all epochs, and the validation metrics, which
            are empty for an epoch without validation. An exception ends the training after its checkpoint is written;
            after `EndTraining` the best epoch so far is the result, as soon as there is one.

    Returns:
        Metrics and history of the training.

    Raises:
        TrialFailed: If the loss is not finite, or memory runs out.
        NASError: If there are too few samples, settings contradict data, network or task, or the checkpoint has another
            network, seed, data or settings.
    """
    train, valid = train.normalised_like(train), valid.normalised_like(train)
    require_trainable(model, task, train, valid, settings)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), oom_as_trial_failed(), fast_kernels(device):
        steps = Steps(model, task.for_training(train.labels), settings, train, seed=seed, device=device)
        run = _Run(model, steps, valid, folder, fingerprint)
        progress = run.resume()
        while not progress.finished(settings):
            metrics = run.epoch(progress)
            if on_epoch is not None:
                try:
                    on_epoch(progress.epoch, settings.epochs, metrics)
                except EndTraining:
                    if progress.best_epoch:
                        break
        run.restore_best()
    best = progress.history[progress.best_epoch - 1]
    metrics = {name: value for name, value in best.items() if name not in ("epoch", "loss", "lr")}
    rows = tuple(progress.history)
    return FitResult(progress.best_epoch, metrics, progress.epoch, progress.seconds, rows, progress.collapsed)


def predict(model: nn.Module, task: Task, data: VolumeSet, batch_size: int) -> np.ndarray:
    """Predict every sample in order. Under torchrun each rank predicts its share, and all ranks return all samples.

    Args:
        model: Trained network.
        task: Its `predict` is applied to each batch.
        data: N samples.
        batch_size: Samples per batch over all ranks.

    Returns:
        Predictions of the task, for example probabilities (N, K) or, for segmentation, (N, K, D, H, W).
    """
    rank, world = distributed.rank(), distributed.world()
    plan = rank_share(plan_batches(len(data), batch_size), rank, world)
    batches = data.batches(batch_size, rank=rank, world=world)
    predictions = [
        data.predicted(partial(task.predict, model), x_BCDHW, rows, whole=not task.any_size)
        for rows, (x_BCDHW, _) in zip(plan, batches, strict=True)
    ]
    shares = distributed.gather((np.concatenate(plan), np.concatenate(predictions)) if predictions else None)
    filled = [share for share in shares if share is not None]
    rows, values = np.concatenate([share[0] for share in filled]), np.concatenate([share[1] for share in filled])
    ordered = np.empty_like(values)
    ordered[rows] = values
    return ordered


class _Run:
    """Training with checkpoints: resume, run an epoch, restore the best weights."""

    def __init__(self, model: nn.Module, steps: Steps, valid: VolumeSet, folder: Path | None, fingerprint: str) -> None:
        self.model, self.steps, self.valid, self.folder = model, steps, valid, folder
        self.settings, self.task, self.trained = steps.settings, steps.task, steps.model
        self.evaluated = self.trained if steps.average is None else steps.average.model
        identity = training_identity(
            fingerprint,
            steps.task,
            steps.settings,
            steps.bf16,
            steps.seed,
            steps.train,
            valid,
            extendable=not depends_on_length(model),
        )
        self.identity = identity.parts()
        self.best_state = copy.deepcopy(self.evaluated.state_dict())

    def resume(self) -> _Progress:
        """Load the checkpoints, if there are any, and return the progress."""
        state = None
        if self.folder is not None:
            state = distributed.from_main(self._load(self.folder) if distributed.is_main() else None)
        if state is None:
            return _Progress()
        self.trained.load_state_dict(state["model"])
        self.steps.optimizer.load_state_dict(state["optimizer"])
        self.steps.schedule.load_state_dict(state["schedule"])
        if self.steps.average is not None:
            self.steps.average.load_state_dict(state[AVERAGE])
        self.best_state = state["best_model"]
        rows = [dict(row) for row in state["history"]]
        return _Progress(state["best_epoch"], state["seconds"], rows, state.get("collapsed", ""))

    def _load(self, folder: Path) -> dict[str, Any] | None:
        last = load_checkpoint(folder / LAST, self.identity)
        if last is None:
            return None
        if len(last["history"]) > self.settings.epochs:
            log.info("%s has more than training.epochs=%d: the training starts over", folder, self.settings.epochs)
            return None
        # 0: no epoch is validated yet. best.pt is written after last.pt and may be one epoch behind
        if last["best_epoch"] in (0, len(last["history"])):
            return {**last, "best_model": evaluated_weights(last)}
        best = load_checkpoint(folder / BEST, self.identity)
        if best is None or best["epoch"] != last["best_epoch"]:
            log.warning("%s does not belong to %s: the training starts over", folder / BEST, folder / LAST)
            return None
        return {**last, "best_model": best["model"]}

    def epoch(self, progress: _Progress) -> dict[str, float]:
        """Run an epoch, its validation if it is due, and write its checkpoint; return the validation metrics."""
        started, number = time.perf_counter(), progress.epoch + 1
        lr = self.steps.optimizer.param_groups[0]["lr"]
        loss = self._train_epoch(number)
        if not math.isfinite(loss):
            raise TrialFailed(
                f"loss became {'NaN' if math.isnan(loss) else 'infinite'} in epoch {number} (lr {lr:.2g})"
            )
        metrics, collapsed = self._validate() if self._validates(number) else ({}, "")
        if metrics and (progress.best_epoch == 0 or self._better(metrics, progress.history[progress.best_epoch - 1])):
            progress.best_epoch, progress.collapsed = number, collapsed
            self.best_state = copy.deepcopy(self.evaluated.state_dict())
        progress.history.append({"epoch": number, "loss": loss, "lr": lr, **metrics})
        progress.seconds += time.perf_counter() - started
        if self.folder is not None and distributed.is_main():
            self._save(self.folder, progress)
        return metrics

    def _better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        score = self.task.metrics[0]
        return score.sign * metrics[score.name] > score.sign * than[score.name]

    def _validates(self, number: int) -> bool:
        every, ends = self.settings.validate_every, (self.settings.epochs, *self.settings.restarts)
        return number % every == 0 or number in ends

    def _validate(self) -> tuple[dict[str, float], str]:
        """Measure the validation part, and say why the training has collapsed."""
        distributed.share_buffers(self.trained)
        if self.evaluated is not self.trained:
            distributed.share_buffers(self.evaluated)
        prediction = predict(self.evaluated, self.task, self.valid, self.settings.batch_size)
        metrics = dict(self.task.score(prediction, self.valid.targets, quick=True).over())
        return metrics, self.task.collapsed(prediction, metrics)

    def _train_epoch(self, number: int) -> float:
        """Mean training loss over all samples of all ranks, read once, so that steps do not wait for the GPU."""
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
            "collapsed": progress.collapsed,
        }
        if self.steps.average is not None:
            state[AVERAGE] = self.steps.average.state_dict()
        save_checkpoint(folder / LAST, self.identity, state)
        if progress.best_epoch == progress.epoch:
            best = {"model": self.best_state, "epoch": progress.epoch, "metrics": progress.history[-1]}
            save_checkpoint(folder / BEST, self.identity, best)

    def restore_best(self) -> None:
        self.model.load_state_dict(self.best_state)


def training_identity(
    fingerprint: str,
    task: Task,
    settings: TrainingSettings,
    bf16: bool,
    seed: int,
    train: VolumeSet,
    valid: VolumeSet,
    *,
    extendable: bool = True,
) -> TrainingIdentity:
    """Describe everything that decides the weights of a training.

    Args:
        fingerprint: Identifies the network and its initial weights.
        task: Loss and metrics.
        settings: Training settings.
        bf16: Whether the training uses bf16.
        seed: Seed of the training.
        train: Training samples.
        valid: Validation samples.
        extendable: Whether the network itself depends on the number of epochs in no way.

    Returns:
        The identity; two numbers of epochs are one training if the learning rate does not depend on them.
    """
    values = dataclasses.asdict(settings) | {"precision": "bf16" if bf16 else "fp32"}
    values = without_later_defaults(values)
    if settings.extendable and extendable:
        del values["epochs"], values["patience"]  # they decide the end of the training, not its steps
    return TrainingIdentity(fingerprint, task, values, seed, describe_subset(train), describe_subset(valid))


def describe_subset(data: VolumeSet) -> str:
    """Describe samples by hashes.

    Args:
        data: Samples of a store.

    Returns:
        Hashes of the store and of the sample indices, with the patch size.
    """
    patches = "" if data.store.patches is None else f", {data.store.patches}"
    rows = hashlib.sha256(data.indices.tobytes()).hexdigest()[:12]
    return f"{data.store.sha256[:12]}, rows {rows}{patches}"


@contextmanager
def oom_as_trial_failed() -> Iterator[None]:
    """Convert out-of-memory errors of PyTorch and Python to TrialFailed.

    Yields:
        None.

    Raises:
        TrialFailed: If memory runs out in the body.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrialFailed(f"out of memory: {first_line(error)}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "not enough memory" not in str(error):
            raise
        raise TrialFailed(f"out of memory: {first_line(error)}") from error


def fast_kernels(device: torch.device) -> AbstractContextManager[object]:
    """Let cuDNN choose the fastest convolution per shape; the few shapes of a training make that cheap.

    Args:
        device: Device of the training.

    Returns:
        A context in which the training runs; on a CPU it changes nothing.
    """
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True)
