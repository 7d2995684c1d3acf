"""Optimiser steps of a training: batches, augmentation, forward, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from nas.data.loading import VolumeSet, plan_batches
from nas.network_traits import announce_length, takes_target
from nas.tasks.base import Task
from nas.training import distributed
from nas.training.ema import AveragedWeights
from nas.training.mixup import mixed
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
        average: The moving average of the weights; None without `settings.ema`.
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
        steps = settings.epochs * len(plan_batches(train.per_epoch, settings.batch_size))
        self.schedule = make_schedule(self.optimizer, settings, steps)
        announce_length(self.model, steps)
        self.average = AveragedWeights(self.model, settings.ema) if settings.ema else None
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
        torch.manual_seed(derive(self.seed, number, 2, distributed.rank()))  # dropout
        self.model.train()
        mixing = (
            np.random.default_rng(derive(self.seed, number, 3, distributed.rank())) if self.settings.mixup else None
        )
        batches = augmented_batches(self.train, self.settings, self.seed, number, self.device)
        for x_BCDHW, y, share in batches:
            yield self._step(x_BCDHW, y, share * distributed.world(), mixing), len(y)

    def _step(
        self, x_BCDHW: torch.Tensor, y: torch.Tensor, weight: float, mixing: np.random.Generator | None
    ) -> torch.Tensor:
        other = None
        if mixing is not None:
            x_BCDHW, other = mixed(x_BCDHW, self.settings.mixup, mixing)
        if self.settings.channels_last:
            x_BCDHW = channels_last(x_BCDHW)
        with autocast(self.device, self.bf16, small_convolutions=not self.settings.compile):
            output = self.forward(x_BCDHW, y) if self.needs_target else self.forward(x_BCDHW)
        loss = self.task.loss(output, y)
        if other is not None:
            loss = other.share * loss + (1 - other.share) * self.task.loss(output, y[other.order_B])
        self.optimizer.zero_grad(set_to_none=True)
        (loss * weight if weight != 1.0 else loss).backward()
        clip_gradients(self.model.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            self.average.update(self.model)
        return loss.detach()


def augmented_batches(
    data: VolumeSet, settings: TrainingSettings, seed: int, epoch: int, device: torch.device, stream: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Iterate over the batches of this rank, shuffled and augmented as (seed, epoch, stream) determine.

    Args:
        data: Training samples.
        settings: Batch size and augmentation.
        seed: Seed of the training.
        epoch: Epoch, from 1.
        device: Device of the augmentation.
        stream: Number of the pass; passes of one epoch with other batches have numbers that differ by 2 or more.

    Yields:
        x (B, C, D, H, W); y, labels (B,), masks (B, D, H, W) or boxes; and the fraction of the step's samples that this
        rank has, as ranks may differ by one sample.
    """
    rank, world = distributed.rank(), distributed.world()
    order = torch.Generator().manual_seed(derive(seed, epoch, stream))
    augmentation = torch.Generator(device).manual_seed(derive(seed, epoch, stream + 1, rank))
    sizes = [len(rows) for rows in plan_batches(data.per_epoch, settings.batch_size)]
    how = {"balanced": True} if settings.sampler == "balanced" else {}  # sets of other packages may not have it
    batches = data.batches(settings.batch_size, generator=order, rank=rank, world=world, **how)
    for (x_BCDHW, y), size in zip(batches, sizes, strict=True):
        if settings.augment is not None:
            x_BCDHW, y = settings.augment.of_batch(x_BCDHW, y, augmentation)
        yield x_BCDHW, y, len(y) / size


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
