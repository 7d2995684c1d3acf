"""The evaluator that trains each proposed network from its own random weights."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture
from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.metrics.names import COLLAPSED, REPEATED
from nas.network_traits import depends_on_length
from nas.problem import Problem
from nas.tasks.base import Task
from nas.training.checkpoint import load_weights
from nas.training.curves import write_curves
from nas.training.loop import BEST, FitResult, fit
from nas.training.recipe import Prepared, check_recipes, prepared_or_failed, with_settings
from nas.training.requirements import require_options
from nas.training.settings import TrainingSettings
from nas.training.timing import training_cost
from nas.utils.checked import check_arguments, checked
from nas.utils.identity import described

AGAIN = "again"  # sub-folder of a repeated training
log = logging.getLogger(__name__)


@checked("evaluator")
class Train(Evaluator):
    """Evaluator that trains networks: validation metrics of the best epoch, `epochs` (run), `seconds` and `collapsed`.

    Seeds depend on (context.seed, replicate) only: all networks of a replicate see the same batches with the same
    augmentation, and an evaluation gives the same metrics again, bit for bit on a CPU. With a constant learning rate or
    warm restarts a larger budget continues from the checkpoint of a smaller one; with any other schedule each budget is
    a training of its own.

    A training has collapsed if its network carries no information on the cases or on one of the classes: a constant
    output, a class whose validation Dice is near 0, an AUC of 0.5. `collapsed` is then 1, else 0. A repeated training
    has `repeated` 1, the metrics and the weights of the second one, and the epochs and seconds of both.

    In a joint search the recipe of an architecture (`SearchSpace.recipe`) replaces settings of the training, the task
    and the patches.

    Args:
        settings: Settings of the training; the defaults if None. A proposal's budget replaces `epochs`.
        repeat_collapsed: Whether a collapsed training is repeated once, with other seeds.
        **changes: Settings by name that replace those of `settings`.
    """

    uses_recipe = True

    def __init__(
        self, settings: TrainingSettings | None = None, repeat_collapsed: bool = False, **changes: Any
    ) -> None:
        self.repeat_collapsed = repeat_collapsed
        self.settings = replace(
            settings or TrainingSettings(), **check_arguments(TrainingSettings, changes, "evaluator")
        )
        self._of_any_length: dict[str, bool] = {}  # architecture id -> whether its training may be continued

    @property
    def identity(self) -> Mapping[str, Any]:
        """Class and settings; earlier versions had seeds that depended on the architecture."""
        return {**described(self), "seeds": "study and replicate"}

    def metrics(self, task: Task) -> frozenset[str]:
        """Return the names of the task's validation metrics, `epochs`, `seconds`, `collapsed` and `repeated`."""
        own = {"epochs", "seconds", COLLAPSED, *([REPEATED] if self.repeat_collapsed else [])}
        return task.quick_metrics | own

    def check(self, problem: Problem, context: RunContext) -> None:
        """Check that the settings fit the data and the task, see `nas.training.requirements`, and those of a recipe."""
        require_options(context.train, problem.task, self.settings)
        check_recipes(problem.space, self.settings, problem.task, context.train.store)

    def check_budgets(self, budgets: Sequence[int]) -> None:
        """Check that each budget ends with a cycle of the learning rate, where it restarts.

        Args:
            budgets: Training epochs in ascending order.

        Raises:
            NASError: If a budget with training.schedule=warm_restarts is no restart, or the warm-up of the rate leaves
                nothing of the smallest budget.
        """
        if not self.continues and len(budgets) > 1:
            log.warning(
                "training.schedule=%s: the training of every larger budget begins anew; constant and warm_restarts "
                "continue",
                self.settings.schedule,
            )
        warm_up, restarts = self.settings.warmup_epochs, self.settings.restarts
        if warm_up >= min(budgets) and warm_up and not self.continues:
            raise NASError(
                f"training.warmup_epochs={warm_up} with a budget of {min(budgets)} epochs",
                "fewer epochs of warm-up than the smallest budget",
                f"set training.warmup_epochs to {min(budgets) - 1} or less",
            )
        if restarts and not set(budgets) <= set(restarts):
            listed = ",".join(map(str, budgets))
            raise NASError(
                f"training.restarts=[{','.join(map(str, restarts))}] with budgets of {listed} epochs",
                "a restart at each budget, as the rate is near 0 there only",
                f"training.restarts=[{listed}]",
            )

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate:
        """Time a few steps of the network's training; see `nas.training.timing`."""
        own = self._prepared(proposal.arch, problem, context)
        model = problem.space.build(proposal.arch, problem.task.spec)
        cost = training_cost(model, own.task, own.train, own.valid, own.settings, context.device)
        return cost.epoch.times(proposal.budget or own.settings.epochs) + cost.checkpoints

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        folder, seed = self.folder_of(proposal, problem, context), seed_of(context.seed, proposal.replicate)
        result = self._train(proposal, problem, context, seed, folder)
        epochs, seconds, more = result.epochs_run, result.seconds, dict[str, float]()
        if result.collapsed and self.repeat_collapsed:
            log.info("network %s collapsed (%s) and is trained again", proposal.arch.id, result.collapsed)
            result = self._train(proposal, problem, context, seed_of(seed, 1), folder, AGAIN)
            epochs, seconds, more = epochs + result.epochs_run, seconds + result.seconds, {REPEATED: 1.0}
        elif self.repeat_collapsed:
            more = {REPEATED: 0.0}
            for path in super().weights_of(folder / AGAIN):  # of a smaller budget, after which this training recovered
                path.unlink(missing_ok=True)
        measured = {"epochs": float(epochs), "seconds": seconds, COLLAPSED: float(bool(result.collapsed))}
        return {**result.metrics, **measured, **more}

    def _train(
        self, proposal: Proposal, problem: Problem, context: RunContext, seed: int, folder: Path, part: str = ""
    ) -> FitResult:
        """Train a network, with checkpoints in a part of its folder and curves in the folder."""
        arch = proposal.arch
        own = self._prepared(arch, problem, context)
        settings = replace(own.settings, epochs=proposal.budget) if proposal.budget > 0 else own.settings
        started, seconds = time.monotonic(), dict[int, float]()

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = problem.space.build(arch, problem.task.spec)
        score = problem.task.score_name

        def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
            seconds[epoch] = time.monotonic() - started
            context.on_epoch(epoch, epochs)
            if metrics and context.trial is not None:
                context.tracker.scalar(f"validation {score} of trials", f"trial {context.trial}", epoch, metrics[score])

        result = fit(
            model,
            own.task,
            own.train,
            own.valid,
            settings,
            seed=seed,
            device=context.device,
            folder=folder / part,
            fingerprint=f"{arch.space}/{arch.id}",
            on_epoch=on_epoch,
        )
        known = [{"seconds": seconds[int(row["epoch"])]} if row["epoch"] in seconds else {} for row in result.history]
        write_curves(folder, [{**row, **more} for row, more in zip(result.history, known, strict=True)])
        return result

    def _prepared(self, arch: Architecture, problem: Problem, context: RunContext) -> Prepared:
        """Return the parts of the training of an architecture, with its recipe."""
        recipe = problem.space.recipe(arch)
        return prepared_or_failed(recipe, self.settings, problem.task, context.train, context.valid)

    def _settings_of(self, arch: Architecture, problem: Problem) -> TrainingSettings:
        """Return the settings of an architecture's training; those of the evaluator if its recipe cannot be used."""
        try:
            return with_settings(self.settings, problem.space.recipe(arch))
        except NASError:  # its evaluation fails
            return self.settings

    def network(self, proposal: Proposal, problem: Problem, context: RunContext) -> nn.Module:
        folder = self.folder_of(proposal, problem, context)
        path = next((path for path in (folder / AGAIN / BEST, folder / BEST) if path.is_file()), folder / BEST)
        if not path.is_file():
            raise NASError(
                f"no weights of {proposal.arch.id} in {path.parent}",
                "a network whose weights the search kept, by default those of the Pareto front",
                "train it by nas.retrain, or search with study.keep_checkpoints=all",
            )
        model = problem.space.build(proposal.arch, problem.task.spec)
        weights, _ = load_weights(path)
        model.load_state_dict(weights)
        return model

    @property
    def continues(self) -> bool:
        """Whether the learning rate does not depend on the number of epochs, so that longer trainings continue."""
        return self.settings.extendable

    def weights_of(self, folder: Path) -> Sequence[Path]:
        """Return the checkpoints of a training, and of its repetition."""
        return [*super().weights_of(folder), *super().weights_of(folder / AGAIN)]

    def folder_of(self, proposal: Proposal, problem: Problem, context: RunContext) -> Path:
        """Return the folder of the proposal's training: one for all budgets if trainings continue."""
        name = proposal.arch.id + (f"-replicate-{proposal.replicate}" if proposal.replicate else "")
        epochs = self._settings_of(proposal.arch, problem).epochs
        if proposal.budget in (0, epochs) or self._extendable(proposal.arch, problem):
            return context.folder / name
        return context.folder / f"{name}-{proposal.budget}-epochs"

    def _extendable(self, arch: Architecture, problem: Problem) -> bool:
        if not self._settings_of(arch, problem).extendable:
            return False
        if arch.id not in self._of_any_length:
            with torch.random.fork_rng(devices=[]):
                self._of_any_length[arch.id] = not depends_on_length(problem.space.build(arch, problem.task.spec))
        return self._of_any_length[arch.id]


def seed_of(seed: int, replicate: int) -> int:
    """Derive the seed of a trial: of initial weights, batch order, augmentation and dropout.

    Args:
        seed: The study's seed.
        replicate: Which repetition of the evaluation, from 0.

    Returns:
        A seed of 63 bits.
    """
    digest = hashlib.blake2s(f"{seed}|replicate {replicate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
