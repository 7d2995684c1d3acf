"""Differentiable search: a supernet is trained once, and the architectures it makes most probable are proposed.

Source: Liu et al., DARTS (ICLR 2019, arXiv 1806.09055); He et al., DiNTS (CVPR 2021, arXiv 2103.15954).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nas.budget import Estimate
from nas.context import RunContext
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.history import History, Proposal
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.sampling import CostWindow, draw, untried
from nas.supernets.base import Costs, Supernet, allowed_costs
from nas.supernets.loading import FOLDER, network_name
from nas.supernets.settings import ArchitectureSettings
from nas.supernets.shared import supernet_of
from nas.supernets.trainer import SupernetTraining
from nas.task_spec import TaskSpec
from nas.training.settings import TrainingSettings
from nas.utils.annotations import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Rate
from nas.utils.checked import checked
from nas.utils.identity import described, identity_of, public_path

LOOKED_AT = 256  # most probable architectures before others within the limits are drawn


@checked("strategy")
class Differentiable(Strategy):
    """Train the space's supernet on the training part, then propose its architectures, best first.

    The first proposal is the derived architecture (within `budget` and near `target`, if there are any); the next ones
    are the most probable architectures within the same limits. `prepare` trains once for all workers of a folder, while
    the others wait, and continues an interrupted training. Before it, proposals come from an untrained supernet.

    Args:
        settings: Training of the weights.
        warm_up: Fraction of the epochs that train weights only, in [0, 1).
        lr: Learning rate of Adam on the probabilities, above 0.
        betas: Betas of Adam, in [0, 1).
        regularisers: Final weights of the supernet's terms by name, at least 0; missing ones are the supernet's
            defaults.
        target: Desired expected cost in the study's cost unit. If None, the cost is not part of the loss.
        stiffness: Twice the penalty of a deviation from the target by 100 %.
        budget: Maximum cost of the decoded architecture. If None, there is no limit.
        validate_every: Epochs between two validations.
        checkpointing: If True, activations are recomputed in the backward pass.
    """

    trains_supernet = True

    def __init__(
        self,
        settings: TrainingSettings,
        warm_up: Fraction = 0.5,
        lr: Rate = 0.01,
        betas: tuple[Fraction, Fraction] = (0.5, 0.999),
        regularisers: Mapping[str, NonNegativeFloat] | None = None,
        target: PositiveFloat | None = None,
        stiffness: PositiveFloat = 20.0,
        budget: PositiveFloat | None = None,
        validate_every: PositiveInt = 1,
        checkpointing: bool = False,
    ) -> None:
        self.settings = settings
        self.architecture = ArchitectureSettings(
            warm_up=warm_up,
            lr=lr,
            betas=betas,
            regularisers=regularisers or {},
            target=target,
            stiffness=stiffness,
            budget=budget,
            validate_every=validate_every,
            checkpointing=checkpointing,
        )
        self.limits = _window(self.architecture.target, self.architecture.budget)
        self._supernet: Supernet | None = None
        self._costs: Costs | None = None
        self._trained: tuple[str, str] | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Class and arguments, those of ArchitectureSettings by name."""
        return {
            "class": public_path(type(self)),
            "settings": identity_of(self.settings),
            **{name: value for name, value in described(self.architecture).items() if name != "class"},
        }

    def check(self, problem: Problem) -> None:
        """Check that budget and target can be kept.

        Args:
            problem: Space, task, cost, objectives and constraints.

        Raises:
            NASError: If the budget is below every architecture, no architecture is near the target, or the cost has no
                expectation.
        """
        cost = problem.cost
        budget, target = self.architecture.budget, self.architecture.target
        if budget is None and target is None:
            return
        supernet = _fresh(cost.space, cost.task, 0)
        found = supernet.decode(costs=costs_of(cost), budget=budget, target=target)[0]
        if target is not None and supernet.decodes_exactly and cost.of(found.arch) < self.limits.low:
            raise NASError(
                f"strategy.target={target:.12g}",
                f"a {cost.metric} that networks of the space have; the nearest found has {cost.of(found.arch):.12g}",
                "a smaller target, or a larger space",
            )

    def prepare(self, problem: Problem, context: RunContext) -> None:
        """Train the supernet, once for all workers of a folder; a second call for the same folder does nothing.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Raises:
            NASError: If the training part cannot be halved, or the loss is no longer finite.
        """
        folder = context.folder / FOLDER
        which = (problem.space.fingerprint, str(folder.resolve()))
        if self._trained == which:
            return
        training = self._training(problem, context)
        self._supernet, self._costs = training.supernet, training.costs
        training.run_alone(context.on_epoch)
        self._trained = which

    def estimate(self, problem: Problem, context: RunContext) -> Estimate:
        """Time steps of the supernet's training."""
        training = self._training(problem, context)
        return Estimate(training.expected_seconds(), training.checkpoint_bytes())

    def _training(self, problem: Problem, context: RunContext) -> SupernetTraining:
        space, task, cost = problem.space, problem.task, problem.cost
        return SupernetTraining(
            _fresh(space, task.spec, context.seed),
            task,
            context.train,
            context.valid,
            self.settings,
            self.architecture,
            costs_of(cost),
            seed=context.seed,
            device=context.device,
            folder=context.folder / FOLDER,
            fingerprint=f"{network_name(space)}, cost {cost.identity}",
            tracker=context.tracker,
        )

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Propose the best untried architecture.

        Before `prepare` there are no costs to decode by: the limits are checked on the most probable architectures.
        """
        budget, target = self.architecture.budget, self.architecture.target
        supernet = _fresh(space, None, 0) if self._supernet is None else self._supernet
        begun = self._costs is not None
        count = 1
        while count <= LOOKED_AT:
            decoded = supernet.decode(count, self._costs, budget, target) if begun else supernet.decode(count)
            likely = [one.arch for one in decoded]
            for found in untried(space, history, likely):
                answer = begun and found == likely[0]  # as near to the target as there is
                if answer or self.limits(space.encode([found]), history.cost).all():
                    return Proposal(found)
            count *= 4
        arch = draw(space, history, self.limits, rng)
        return None if arch is None else Proposal(arch)


def _window(target: float | None, budget: float | None) -> CostWindow:
    """Return the cost limits of the proposals after the first."""
    least, most = allowed_costs(target, budget)
    return CostWindow(least if least > -math.inf else None, most if most < math.inf else None)


def costs_of(cost: CostModel) -> Costs:
    """Bind the study's cost model for a supernet.

    Args:
        cost: The cost model.

    Returns:
        The model with the costs of its blocks.
    """
    return Costs(cost, cost.of_blocks())


def _fresh(space: SearchSpace, task: TaskSpec | None, seed: int) -> Supernet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return supernet_of(space, task)
