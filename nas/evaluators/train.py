"""The evaluator that trains each proposed network from its own random weights."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture
from nas.budget import Estimate
from nas.context import RunContext
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.problem import Problem
from nas.space import depends_on_length
from nas.tasks.base import Task
from nas.training.checkpoint import load_weights
from nas.training.curves import write_curves
from nas.training.loop import BEST, fit
from nas.training.settings import TrainingSettings
from nas.training.timing import training_cost
from nas.utils.checked import check_arguments, checked


@checked("evaluator")
class Train(Evaluator):
    """Evaluator that trains networks: validation metrics of the best epoch, `epochs` (run) and `seconds`.

    Seeds depend on (context.seed, architecture) only: the same pair gives the same metrics, bit for bit on a CPU. With
    a constant learning rate a larger budget continues from the checkpoint of a smaller one; with any other schedule
    each budget is a training of its own.

    Args:
        settings: Settings of the training; the defaults if None. A proposal's budget replaces `epochs`.
        **changes: Settings by name that replace those of `settings`.
    """

    def __init__(self, settings: TrainingSettings | None = None, **changes: Any) -> None:
        self.settings = replace(
            settings or TrainingSettings(), **check_arguments(TrainingSettings, changes, "evaluator")
        )

    def metrics(self, task: Task) -> frozenset[str]:
        """Return the names of the task's validation metrics, `epochs` and `seconds`."""
        return task.quick_metrics | {"epochs", "seconds"}

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate:
        """Time a few steps of the network's training; see `nas.training.timing`."""
        model = problem.space.build(proposal.arch, problem.task.spec)
        cost = training_cost(model, problem.task, context.train, context.valid, self.settings, context.device)
        return cost.epoch.times(proposal.budget or self.settings.epochs) + cost.checkpoints

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        arch = proposal.arch
        settings = replace(self.settings, epochs=proposal.budget) if proposal.budget > 0 else self.settings
        seed, started, seconds = seed_of(context.seed, arch), time.monotonic(), dict[int, float]()

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = problem.space.build(arch, problem.task.spec)
        folder = self._folder(proposal, context, model)
        score = problem.task.score_name

        def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            seconds[epoch] = time.monotonic() - started
            context.on_epoch(epoch, epochs)
            if metrics and context.trial is not None:
                context.tracker.scalar(f"validation {score} of trials", f"trial {context.trial}", epoch, metrics[score])

        result = fit(
            model,
            problem.task,
            context.train,
            context.valid,
            settings,
            seed=seed,
            device=context.device,
            folder=folder,
            fingerprint=f"{arch.space}/{arch.id}",
            on_epoch=on_epoch,
        )
        known = [{"seconds": seconds[int(row["epoch"])]} if row["epoch"] in seconds else {} for row in result.history]
        write_curves(folder, [{**row, **more} for row, more in zip(result.history, known, strict=True)])
        return {**result.metrics, "epochs": float(result.epochs_run), "seconds": result.seconds}

    def network(self, proposal: Proposal, problem: Problem, context: RunContext) -> nn.Module:
        model = problem.space.build(proposal.arch, problem.task.spec)
        weights, _ = load_weights(self._folder(proposal, context, model) / BEST)
        model.load_state_dict(weights)
        return model

    def _folder(self, proposal: Proposal, context: RunContext, model: nn.Module) -> Path:
        own_budget = proposal.budget in (0, self.settings.epochs)
        extendable = self.settings.extendable and not depends_on_length(model)
        name = proposal.arch.id
        return context.folder / (name if own_budget or extendable else f"{name}-{proposal.budget}-epochs")


def seed_of(seed: int, arch: Architecture) -> int:
    """Derive the seed of a trial.

    Args:
        seed: The study's seed.
        arch: The architecture.

    Returns:
        A seed of 63 bits.
    """
    digest = hashlib.blake2s(f"{seed}|{arch.id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
