"""Training of an elastic supernet by sandwich sampling with in-place distillation.

Sources: Yu and Huang, universally slimmable networks (ICCV 2019, arXiv 1903.05134), sections 3.2 and 3.3; Yu et al.,
BigNAS (ECCV 2020, arXiv 2003.11142), with depths and kernels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.architecture import Architecture
from nas.data.loading import VolumeSet, plan_batches
from nas.supernets.elastic import ElasticSupernet
from nas.supernets.epochs import SUPERNET, SupernetEpochs
from nas.supernets.memory import oom_as_user_error
from nas.supernets.recalibration import recalibrate
from nas.tasks.base import Task
from nas.tracking.base import NO_TRACKING, Tracker
from nas.training import distributed
from nas.training.optim import clip_gradients, make_optimizer, make_schedule
from nas.training.precision import autocast
from nas.training.requirements import require_sample_per_process
from nas.training.settings import TrainingSettings
from nas.training.steps import augmented_batches, derive
from nas.training.timing import seconds_per_call

DISTILLED = ("classification", "segmentation")  # kinds whose outputs are logits over the second axis
STREAM = 32  # of the sampled networks


@dataclass(frozen=True)
class Sandwich:
    """The networks of each step and their loss.

    Args:
        sampled: Networks drawn beside the largest and the smallest one.
        distillation: Share of the loss of all but the largest network that is the cross entropy to its output, 0 to 1;
            the rest is the loss of the task.
    """

    sampled: int = 2
    distillation: float = 0.5


class ElasticTraining(SupernetEpochs):
    """Training of an elastic supernet, resumable after each epoch, bit for bit on a CPU.

    In each step the gradients of the largest network, the smallest one and some drawn ones are added. The largest
    learns the targets, the others the targets and its outputs. Networks with a margin and tasks without classes have no
    distillation. Writes curves.csv into the folder, and sends it to the tracker.

    Args:
        supernet: Supernet to train, moved to `device`.
        task: Loss and metrics.
        train: Training samples.
        valid: Validation samples, on which the largest and the smallest network are scored.
        settings: Settings of the training; `compile`, `channels_last` and `patience` have no effect.
        sandwich: Networks of each step.
        seed: Seed of the training.
        device: Device to train on.
        folder: Folder of the checkpoint.
        fingerprint: Identifies the supernet in checkpoints.
        tracker: Receiver of live curves.

    Raises:
        NASError: If there are too few samples for the settings.
    """

    def __init__(
        self,
        supernet: ElasticSupernet,
        task: Task,
        train: VolumeSet,
        valid: VolumeSet,
        settings: TrainingSettings,
        sandwich: Sandwich,
        *,
        seed: int,
        device: torch.device,
        folder: Path,
        fingerprint: str,
        tracker: Tracker = NO_TRACKING,
    ) -> None:
        super().__init__(
            supernet, task, train, valid, settings, seed=seed, device=device, folder=folder, tracker=tracker
        )
        self.supernet, self.sandwich = supernet, sandwich
        require_sample_per_process(self.train, settings.batch_size)
        self.optimizer = make_optimizer(supernet.parameters(), settings)
        self.steps = len(plan_batches(self.train.per_epoch, settings.batch_size))
        self.schedule = make_schedule(self.optimizer, settings, settings.epochs * self.steps)
        supernet.set_training_steps(settings.epochs * self.steps * (2 + sandwich.sampled))
        self.distils = sandwich.distillation > 0 and task.spec.kind in DISTILLED and not supernet.needs_target
        extendable = not supernet.depends_on_length
        self.identity = self._identity_of(task, fingerprint, extendable, sandwich=sandwich)

    def _parts(self) -> Mapping[str, Any]:
        return {SUPERNET: self.supernet, "optimizer": self.optimizer, "schedule": self.schedule}

    def expected_seconds(self) -> float:
        """Time a few steps on random weights, which change; nothing is written.

        Returns:
            Expected seconds of the whole training, without validations.
        """
        with self._random_state(), oom_as_user_error():
            self.supernet.train()
            x_BCDHW, y, share = next(self._batches(1))
            paths = list(self._paths(1, 0))
            return self.settings.epochs * self.steps * seconds_per_call(lambda: self._step(x_BCDHW, y, share, paths))

    def _batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        return augmented_batches(self.train, self.settings, self.seed, epoch, self.device)

    def _paths(self, epoch: int, step: int) -> Iterator[Architecture]:
        rng = np.random.default_rng(derive(self.seed, epoch, step, STREAM))
        yield self.supernet.largest
        yield self.supernet.smallest
        for _ in range(self.sandwich.sampled):
            yield self.supernet.space.sample(rng)

    def _epoch(self, number: int) -> None:
        started = time.perf_counter()
        torch.manual_seed(derive(self.seed, number, 2, distributed.rank()))
        self.supernet.train()
        summed = torch.zeros(2, device=self.device)
        for step, (x_BCDHW, y, share) in enumerate(self._batches(number)):
            summed += self._step(x_BCDHW, y, share, list(self._paths(number, step)))
        loss, other = (float(value) / self.steps for value in distributed.total(summed))
        row = {"loss": loss, "subnetwork loss": other}
        self._require_finite(number, row)
        if self._validates(number, self.settings.validate_every):
            score = self.task.score_name
            row[f"{score} largest"] = self._score_of(self.supernet.largest)
            row[f"{score} smallest"] = self._score_of(self.supernet.smallest)
        self._record(number, row, started)

    def _step(self, x_BCDHW: torch.Tensor, y: torch.Tensor, share: float, paths: list[Architecture]) -> torch.Tensor:
        """Take a step; return the loss of the largest network and the mean loss of the others."""
        self.optimizer.zero_grad(set_to_none=True)
        losses, teacher = [], None
        for path in paths:
            self.supernet.path = path
            with autocast(self.device, self.bf16, small_convolutions=True):
                output = self.supernet(x_BCDHW, y) if self.supernet.needs_target else self.supernet(x_BCDHW)
            loss = self._loss(output, y, teacher)
            (loss * share).backward()
            losses.append(loss.detach() * share)
            if teacher is None and self.distils:
                teacher = finest(output).detach()
        distributed.add_gradients(self.supernet.parameters())
        clip_gradients(self.supernet.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        self.schedule.step()
        return torch.stack([losses[0], torch.stack(losses[1:]).mean()])

    def _loss(self, output: torch.Tensor, y: torch.Tensor, teacher: torch.Tensor | None) -> torch.Tensor:
        if teacher is None:
            return self.task.loss(output, y)
        portion = self.sandwich.distillation
        distilled = distillation_loss(finest(output), teacher)
        return distilled if portion == 1 else portion * distilled + (1 - portion) * self.task.loss(output, y)

    def _score_of(self, arch: Architecture) -> float:
        network = self.supernet.subnetwork(arch)
        recalibrate(network, self.train, self.settings.batch_size, self.seed)
        return self._score(network)


def finest(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the finest output of a network, the only one without deep supervision.

    Args:
        output: Output of a network.

    Returns:
        Logits.
    """
    return output[0] if isinstance(output, tuple) else output


def distillation_loss(output: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Compute the cross entropy to the probabilities of another network, as in-place distillation has it.

    Args:
        output: Logits (B, K, ...).
        teacher: Logits (B, K, ...) of the largest network, without a gradient.

    Returns:
        Mean over samples and voxels, a scalar.
    """
    return -(teacher.float().softmax(dim=1) * output.float().log_softmax(dim=1)).sum(dim=1).mean()
