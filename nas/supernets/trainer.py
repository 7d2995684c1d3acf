"""Training of a supernet: alternating steps of its weights and of its architecture parameters.

Source: Liu et al., DARTS (ICLR 2019, arXiv 1806.09055), first-order bilevel search, with the warm-up, the regularisers
and their schedule of He et al., DiNTS (CVPR 2021, arXiv 2103.15954), section 3.3. A target cost is enforced by a
quadratic penalty on the relative deviation, which is independent of the unit of the cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Adam

from nas.architecture import Architecture
from nas.data.loading import VolumeSet, plan_batches
from nas.errors import NASError
from nas.network_traits import announce_length
from nas.supernets.base import Costs, Supernet
from nas.supernets.epochs import SUPERNET, SupernetEpochs
from nas.supernets.loading import PICTURE
from nas.supernets.memory import oom_as_user_error
from nas.supernets.settings import ArchitectureSettings
from nas.tasks.base import Task
from nas.tracking.base import NO_TRACKING, Tracker
from nas.training import distributed
from nas.training.loop import fast_kernels
from nas.training.optim import clip_gradients, make_optimizer, make_schedule
from nas.training.precision import autocast
from nas.training.requirements import require_sample_per_process
from nas.training.settings import TrainingSettings
from nas.training.steps import augmented_batches, channels_last, derive
from nas.training.timing import seconds_per_call
from nas.utils.files import write_text


def halves(train: VolumeSet, seed: int) -> tuple[VolumeSet, VolumeSet]:
    """Split training samples into two subsets of similar size without a common patient.

    Args:
        train: Training samples.
        seed: Seed of the split.

    Returns:
        Samples for the weights, and samples for the architecture parameters.

    Raises:
        NASError: If there are fewer than two patients.
    """
    groups, counts = np.unique(train.store.groups[train.indices], return_counts=True)
    if len(groups) < 2:
        raise NASError(
            f"a training part of {len(groups)} {train.store.unit}",
            "at least 2, as weights and architecture are trained on different ones",
            "use more data",
        )
    order = np.random.default_rng([seed, len(groups)]).permutation(len(groups))
    until = np.clip(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2) + 1, 1, len(groups) - 1)
    first = np.isin(train.store.groups[train.indices], groups[order[:until]])
    subsets = (VolumeSet(train.store, train.indices[mask], train.device) for mask in (first, ~first))
    weights, architecture = (subset.normalised_like(train) for subset in subsets)
    return weights, architecture


class SupernetTraining(SupernetEpochs):
    """Training of a supernet with two optimisers, resumable after each epoch, bit for bit on a CPU.

    Writes curves.csv (one line per epoch) and picture.html into the folder, and sends them to the tracker.

    Args:
        supernet: Supernet to train, moved to `device`.
        task: Loss and metrics.
        train: Training samples, split by `halves`.
        valid: Validation samples, for the supernet and for the decoded architecture with its weights in the supernet.
        settings: Settings of the weights.
        architecture: Settings of the architecture parameters.
        costs: Costs of the networks.
        seed: Seed of the training.
        device: Device to train on.
        folder: Folder of the checkpoint.
        fingerprint: Identifies the supernet in checkpoints.
        tracker: Receiver of live curves.

    Raises:
        NASError: If there are too few patients or samples, or a setting does not fit the supernet.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        train: VolumeSet,
        valid: VolumeSet,
        settings: TrainingSettings,
        architecture: ArchitectureSettings,
        costs: Costs,
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
        self.supernet, self.options, self.costs = supernet, architecture, costs
        self.parts = halves(self.train, seed)
        for subset in self.parts:
            require_sample_per_process(subset, settings.batch_size)
        self.term_weights = _term_weights(supernet, architecture)
        if supernet.checkpointing is not None:
            supernet.checkpointing = architecture.checkpointing
        if settings.channels_last and device.type == "cuda":  # slower on a CPU
            for parameter in supernet.weight_parameters():
                parameter.data = channels_last(parameter.data)
        self.weights = make_optimizer(supernet.weight_parameters(), settings)
        self.steps = len(plan_batches(self.parts[0].per_epoch, settings.batch_size))
        self.schedule = make_schedule(self.weights, settings, settings.epochs * self.steps)
        announce_length(supernet, settings.epochs * self.steps)
        alphas = list(supernet.architecture_parameters().values())
        self.architecture = Adam(alphas, lr=architecture.lr, betas=architecture.betas)
        self.forward: Callable[..., torch.Tensor] = supernet
        if settings.compile:
            self.forward = torch.compile(supernet, dynamic=False)
        extendable = not supernet.depends_on_length
        self.identity = self._identity_of(task, fingerprint, extendable, architecture=architecture)

    @property
    def warm_up(self) -> int:
        """Number of epochs without architecture steps, at most all but one."""
        return min(int(self.options.warm_up * self.settings.epochs), self.settings.epochs - 1)

    def _kernels(self) -> AbstractContextManager[object]:
        # cuDNN tries its algorithms once for each shape: too often where every step has another network
        return nullcontext() if self.supernet.grows else fast_kernels(self.device)

    def _parts(self) -> Mapping[str, Any]:
        parts = {SUPERNET: self.supernet, "weights": self.weights, "architecture": self.architecture}
        return {**parts, "schedule": self.schedule}

    def expected_seconds(self) -> float:
        """Time a few steps on random weights, which change; nothing is written.

        Returns:
            Expected seconds of the whole training, without validations.
        """
        with self._random_state(), oom_as_user_error():
            self.supernet.train()
            weights, architecture = (self._endless(part, 1) for part in self.parts)
            weight_s = seconds_per_call(lambda: float(self._weight_step(*next(weights))))
            both_s = weight_s + seconds_per_call(lambda: self._architecture_step(*next(architecture), 1.0))
        searching = self.settings.epochs - self.warm_up
        return self.steps * (self.warm_up * weight_s + searching * both_s)

    def decoded(self) -> Architecture:
        """Decode the current result of the search.

        Returns:
            The best architecture within the budget, equal on every rank.
        """
        return self.supernet.decode(costs=self.costs, budget=self.options.budget, target=self.options.target)[0].arch

    def _epoch(self, number: int) -> None:
        started, searching = time.perf_counter(), number > self.warm_up
        ramp = (number - self.warm_up) / max(self.settings.epochs - self.warm_up, 1) if searching else 0.0
        torch.manual_seed(derive(self.seed, number, 2, distributed.rank()))
        self.supernet.train()
        sums: dict[str, torch.Tensor] = {}
        held_out = self._endless(self.parts[1], number)
        count = 0
        for x_BCDHW, y, share in augmented_batches(self.parts[0], self.settings, self.seed, number, self.device):
            terms = {"loss": self._weight_step(x_BCDHW, y, share)}
            if searching:
                terms |= self._architecture_step(*next(held_out), ramp)
            for name, term in terms.items():
                sums[name] = sums[name] + term if name in sums else term
            count += 1
        row = {name: float(summed) / count for name, summed in sums.items()}
        self._require_finite(number, row)
        if self._validates(number, self.options.validate_every):
            row |= self._validate()
        self._record(number, row, started)
        self.tracker.text("probabilities", self.supernet.picture())

    def _weight_step(self, x_BCDHW: torch.Tensor, y: torch.Tensor, share: float) -> torch.Tensor:
        self._enable_gradients(weights=True)
        loss = self._task_loss(x_BCDHW, y)
        self._adopt_new_weights()
        self.weights.zero_grad(set_to_none=True)
        (loss * share).backward()
        distributed.add_gradients(self.supernet.weight_parameters())
        clip_gradients(self.supernet.weight_parameters(), self.settings.grad_clip)
        self.weights.step()
        self.schedule.step()
        return distributed.total(loss.detach() * share)

    def _architecture_step(
        self, x_BCDHW: torch.Tensor, y: torch.Tensor, share: float, ramp: float
    ) -> dict[str, torch.Tensor]:
        self._enable_gradients(weights=False)
        loss = self.supernet.architecture_loss(self._task_loss(x_BCDHW, y))
        self._adopt_new_weights()
        if self.options.target is None:
            terms, limits = dict(self.supernet.regularisers()), []
        else:
            regularisers, cost = self.supernet.regularisers_and_cost(self.costs)
            limits = [self.options.stiffness / 2 * (cost / self.options.target - 1).square()]
            terms = {**regularisers, "cost": cost}
        penalties = limits + [ramp * weight * terms[name] for name, weight in self.term_weights.items()]
        self.architecture.zero_grad(set_to_none=True)
        total = loss * share + sum(penalties) / distributed.world()
        total.backward()
        distributed.add_gradients(self.supernet.architecture_parameters().values())
        self.architecture.step()
        values = {name: term.detach() for name, term in terms.items()}
        return {"architecture loss": distributed.total(loss.detach() * share), **values}

    def _task_loss(self, x_BCDHW: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.bf16, small_convolutions=not self.settings.compile):
            output = self.forward(x_BCDHW, y) if self.supernet.needs_target else self.forward(x_BCDHW)
        return self.task.loss(output, y)

    def _enable_gradients(self, weights: bool) -> None:
        """Enable gradients of either the weights or the architecture parameters."""
        for parameter in self.supernet.weight_parameters():
            parameter.requires_grad_(weights)
        for parameter in self.supernet.architecture_parameters().values():
            parameter.requires_grad_(not weights)

    def _adopt_new_weights(self) -> None:
        """Add the weights that a growing supernet has created to the optimiser."""
        if self.supernet.grows:
            groups = self.weights.param_groups
            known = {id(parameter) for group in groups for parameter in group["params"]}
            for parameter in self.supernet.weight_parameters():
                if id(parameter) not in known:
                    groups[0 if parameter.ndim > 1 else -1]["params"].append(parameter)

    def _endless(self, data: VolumeSet, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        """Batches without end, reshuffled in each pass."""
        stream = 10
        while True:
            yield from augmented_batches(data, self.settings, self.seed, epoch, self.device, stream)
            stream += 2

    def _validate(self) -> dict[str, float]:
        """Scores of the supernet and of the decoded architecture with its weights in the supernet."""
        score = self.task.score_name
        return {
            f"{score} supernet": self._score(self.supernet),
            f"{score} decoded": self._score(self.supernet.subnetwork(self.decoded())),
        }

    def _save(self) -> None:
        super()._save()
        write_text(self.folder / PICTURE, self.supernet.picture())


def _term_weights(supernet: Supernet, options: ArchitectureSettings) -> dict[str, float]:
    """Weight of each regulariser; raise NASError for settings that the supernet does not support."""
    terms = supernet.regularisers()
    if unknown := [name for name in options.regularisers if name not in terms]:
        raise NASError(
            f"strategy.regularisers.{unknown[0]}={options.regularisers[unknown[0]]}",
            f"one of {', '.join(terms)}",
            f"leave out strategy.regularisers.{unknown[0]}",
        )
    if options.checkpointing and supernet.checkpointing is None:
        raise NASError(
            f"strategy.checkpointing=true for a {type(supernet).__name__}",
            "false",
            "set strategy.checkpointing to false",
        )
    weights = {**supernet.default_regularisers, **options.regularisers}
    return {name: float(weights.get(name, 1.0)) for name in terms}
