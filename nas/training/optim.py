"""Optimisers and learning-rate schedules, by the names of TrainingSettings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

from nas.training.settings import TrainingSettings


def make_optimizer(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> Optimizer:
    """Weights of two dimensions and more decay; biases and the scales of normalisation layers do not."""
    trained = [p for p in parameters if p.requires_grad]
    weights, others = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        nesterov = settings.momentum > 0
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=nesterov, fused=True)
    kind = AdamW if settings.optimizer == "adamw" else Adam
    return kind(groups, lr=settings.lr, fused=True)


def make_schedule(optimizer: Optimizer, settings: TrainingSettings, steps: int) -> LRScheduler:
    """One `step()` per optimiser step, `steps` in all."""
    if settings.schedule == "onecycle":
        return OneCycleLR(optimizer, settings.lr, total_steps=max(steps, 2), cycle_momentum=False)
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    if settings.schedule == "step":
        return MultiStepLR(optimizer, milestones=[steps // 2, steps * 3 // 4], gamma=0.1)
    return LambdaLR(optimizer, constant)


def constant(step: int) -> float:
    return 1.0


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> None:
    if largest > 0:
        torch.nn.utils.clip_grad_norm_(parameters, largest)
