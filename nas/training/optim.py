"""Optimisers and learning-rate schedules of TrainingSettings."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

from nas.training.settings import TrainingSettings

POWER = 0.9  # of the polynomial decay of nnU-Net


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> Optimizer:
    """Make the optimiser. Weight decay applies to weights of two or more dimensions, not to biases and norm scales.

    Args:
        parameters: Parameters; those without `requires_grad` are left out.
        settings: Training settings.

    Returns:
        The optimiser with fused kernels.
    """
    trained = [p for p in parameters if p.requires_grad]
    weights, rest = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        nesterov = settings.momentum > 0
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov, fused=True)
    kind = AdamW if settings.optimizer == "adamw" else Adam
    return kind(groups, lr=settings.lr, fused=True)


def make_schedule(optimizer: Optimizer, settings: TrainingSettings, steps: int) -> LRScheduler:
    """Make the learning-rate schedule, stepped once per optimiser step.

    Args:
        optimizer: Optimiser to schedule.
        settings: Training settings.
        steps: Number of optimiser steps of the whole training.

    Returns:
        The schedule.
    """
    if settings.warmup_epochs or settings.schedule == "poly":
        warm_up = settings.warmup_epochs * (steps // settings.epochs)
        return LambdaLR(optimizer, warmed_up(settings.schedule, warm_up, steps))
    if settings.schedule == "onecycle":
        return OneCycleLR(optimizer, settings.lr, total_steps=max(steps, 2), cycle_momentum=False)
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if settings.schedule == "step":
        return MultiStepLR(optimizer, milestones=[steps // 2, steps * 3 // 4], gamma=0.1)
    if settings.schedule == "warm_restarts":
        return LambdaLR(optimizer, warm_restarts(settings.restarts, steps // settings.epochs))
    return LambdaLR(optimizer, _constant)


def warm_restarts(restarts: Sequence[int], steps_per_epoch: int) -> Callable[[int], float]:
    """Return the factor of the learning rate of a cosine with warm restarts, which does not depend on the last epoch.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017 (arXiv 1608.03983),
    equation 5 with a minimum of 0.

    Args:
        restarts: Epochs at whose end a cycle ends, ascending; later cycles have the length of the last one.
        steps_per_epoch: Optimiser steps of an epoch, at least 1.

    Returns:
        Function from the number of steps taken to the factor, in (0, 1].
    """
    ends = [0, *(epoch * steps_per_epoch for epoch in restarts)]

    def factor(step: int) -> float:
        last = ends[-1] - ends[-2]
        if step >= ends[-1]:
            taken, length = (step - ends[-1]) % last, last
        else:
            cycle = bisect_right(ends, step)
            taken, length = step - ends[cycle - 1], ends[cycle] - ends[cycle - 1]
        return (1 + math.cos(math.pi * taken / length)) / 2

    return factor


def warmed_up(schedule: str, warm_up: int, steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate of a schedule after a linear warm-up.

    Sources: Goyal et al., 2017 (arXiv 1706.02677), section 2.2, for the warm-up; nnU-Net, Isensee et al., Nature
    Methods 18 (2021) 203, for "poly", (1 - t / T)^0.9.

    Args:
        schedule: "poly", "cosine", "step" or "constant".
        warm_up: Steps of the warm-up, in which step n has the factor (n + 1) / (warm_up + 1).
        steps: Optimiser steps of the whole training; "constant" does not depend on it.

    Returns:
        Function from the number of steps taken to the factor, in [0, 1].
    """
    length = max(steps - warm_up, 1)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        taken = min(step - warm_up, length)
        if schedule == "poly":
            return (1 - taken / length) ** POWER
        if schedule == "cosine":
            return (1 + math.cos(math.pi * taken / length)) / 2
        if schedule == "step":
            return 0.1 ** ((taken >= length // 2) + (taken >= length * 3 // 4))
        return 1.0

    return factor


def _constant(step: int) -> float:
    """Factor of the learning rate at each step."""
    return 1.0


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """Scale gradients down to a maximum total norm.

    Args:
        parameters: Parameters with gradients.
        max_norm: Maximum norm; 0 disables clipping.
    """
    if max_norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
