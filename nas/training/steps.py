"""Optimiser steps of a training: batches, augmentation, forward, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from nas.data.loading import VolumeSet, plan_batches
from nas.space import takes_target
from nas.tasks.base import Task
from nas.training import distributed
from nas.training.optim import clip_gradients, make_optimizer, make_schedule
from nas.training.precision import autocast
from nas.training.settings import TrainingSettings


class Steps:
    """Network with its optimiser, schedule and batches.

    Batch order, augmentation and dropout are drawn from (seed, epoch), so that apart from these an epoch depends only
    on the states of model, optimiser and schedule.

    Args:
        model: Network, moved to `device`.
        task: Loss of the training.
        settings: Training settings.
        train: Training samples.
        seed: Seed of the training.
        device: Device to train on.

    Attributes:
        model: Network in training, with synchronised normalisation under torchrun.
        optimizer: Optimiser of its parameters.
        schedule: Learning-rate schedule.
        bf16: Whether the forward pass runs in bf16.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: TrainingSettings,
        train: VolumeSet,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.task, self.settings, self.train, self.seed, self.device = task, settings, train, seed, device
        self.bf16 = settings.uses_bf16(device)
        self.model = distributed.synchronised_norm(model.to(device))
        if settings.channels_last:
            for parameter in self.model.parameters():
                parameter.data = channels_last(parameter.data)
        self.needs_target = takes_target(model)
        self.optimizer = make_optimizer(self.model.parameters(), settings)
        self.batch_sizes = [len(rows) for rows in plan_batches(train.per_epoch, settings.batch_size)]
        self.schedule = make_schedule(self.optimizer, settings, settings.epochs * len(self.batch_sizes))
        wrapped = distributed.wrap(self.model)
        self.forward: Callable[..., torch.Tensor] = wrapped
        if settings.compile:
            self.forward = torch.compile(wrapped, dynamic=False)  # at most two batch sizes, compiled separately

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, int]]:
        """Take the steps of an epoch.

        Args:
            number: Epoch, from 1.

        Yields:
            After each step, the mean loss over the samples of this rank (a scalar on the device) and their number.
        """
        rank, world = distributed.rank(), distributed.world()
        order = torch.Generator().manual_seed(derive(self.seed, number, 0))
        augmentation = torch.Generator(self.device).manual_seed(derive(self.seed, number, 1, rank))
        torch.manual_seed(derive(self.seed, number, 2, rank))  # dropout
        self.model.train()
        batches = self.train.batches(self.settings.batch_size, generator=order, rank=rank, world=world)
        for (x_BCDHW, y), size in zip(batches, self.batch_sizes, strict=True):  # y: labels (B,) or masks (B, D, H, W)
            if self.settings.augment is not None:
                x_BCDHW, y = self.settings.augment.of_batch(x_BCDHW, y, augmentation)
            share = len(y) / size  # fraction of the samples of this step; ranks may differ by one sample
            yield self._step(x_BCDHW, y, share * world), len(y)

    def _step(self, x_BCDHW: torch.Tensor, y: torch.Tensor, weight: float) -> torch.Tensor:
        if self.settings.channels_last:
            x_BCDHW = channels_last(x_BCDHW)
        with autocast(self.device, self.bf16, small_convolutions=not self.settings.compile):
            output = self.forward(x_BCDHW, y) if self.needs_target else self.forward(x_BCDHW)
        loss = self.task.loss(output, y)
        self.optimizer.zero_grad(set_to_none=True)
        (loss * weight if weight != 1.0 else loss).backward()
        clip_gradients(self.model.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Convert images or volumes to the channels-last memory layout.

    Args:
        tensor: Tensor of any shape.

    Returns:
        The tensor; unchanged unless it has 4 or 5 dimensions.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.ndim]) if tensor.ndim in formats else tensor


def derive(*numbers: int) -> int:
    """Derive a seed from several numbers.

    Args:
        *numbers: Non-negative integers.

    Returns:
        A seed of 63 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
