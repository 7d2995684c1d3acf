"""Expected time and disk of a training, from a few timed steps of its network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median

import torch
from torch import nn

from nas.budget import Estimate
from nas.data.loading import VolumeSet, plan_batches
from nas.tasks.base import Task
from nas.training.loop import fast_kernels, oom_as_trial_failed, predict
from nas.training.settings import TrainingSettings
from nas.training.steps import Steps

TIMED = 3  # steps, after one that warms up caches and memory
CASES = 4  # at most, that are predicted
STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that the optimiser keeps for each weight


@dataclass(frozen=True)
class TrainingCost:
    """Time and memory of one training.

    Attributes:
        epoch: One epoch with its share of validations; no files.
        case: The prediction of one sample, with the size of the prediction.
        checkpoints: Size of last.pt and best.pt; no time.
        weights: Size of the weights alone; no time.
    """

    epoch: Estimate
    case: Estimate
    checkpoints: Estimate
    weights: Estimate


def training_cost(
    model: nn.Module,
    task: Task,
    train: VolumeSet,
    valid: VolumeSet,
    settings: TrainingSettings,
    device: torch.device,
) -> TrainingCost:
    """Time three training steps and the prediction of a few samples.

    Nothing is written. A training with `compile` is timed without it, so that its estimate is an upper bound.

    Args:
        model: A network of the task with weights; they change.
        task: Loss and prediction.
        train: Training samples.
        valid: Validation samples.
        settings: Settings of the training.
        device: Device of the training.

    Returns:
        The costs of its parts.

    Raises:
        TrialFailed: If memory runs out.
    """
    train, valid = train.normalised_like(train), valid.normalised_like(train)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), oom_as_trial_failed(), fast_kernels(device):
        enough = max(settings.epochs, TIMED + 1)  # a schedule ends with its training, which may have one step
        timed = replace(settings, compile=False, epochs=enough)
        steps = Steps(model, task, timed, train, seed=0, device=device)
        taken = chain.from_iterable(steps.epoch(number) for number in range(1, TIMED + 2))
        step_s = seconds_per_call(lambda: float(next(taken)[0]))
        few = VolumeSet(valid.store, valid.indices[:CASES], device).normalised_like(train)
        started = time.perf_counter()
        prediction = predict(steps.model, task, few, settings.batch_size)
        case = Estimate((time.perf_counter() - started) / len(few), prediction.nbytes / len(few))
    weights = sum(value.numel() * value.element_size() for value in steps.model.state_dict().values())
    count = len(plan_batches(train.per_epoch, settings.batch_size))
    epoch_s = count * step_s + len(valid) * case.seconds / settings.validate_every
    checkpoints = weights * (2 + STATES[settings.optimizer] + bool(settings.ema))
    return TrainingCost(Estimate(epoch_s), case, Estimate(bytes=checkpoints), Estimate(bytes=weights))


def seconds_per_call(call: Callable[[], object]) -> float:
    """Time a function that waits for its result.

    Args:
        call: Takes no arguments; the first call is not timed.

    Returns:
        Median of three calls in seconds.
    """
    call()
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return median(times)
