"""Evaluators: from a proposed architecture to its metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import NASError
from nas.history import Proposal
from nas.problem import Problem
from nas.tasks.base import Task
from nas.utils.identity import described

if TYPE_CHECKING:
    from torch import nn


class Evaluator(ABC):
    """Scores proposals; an interrupted evaluation of the same architecture and budget continues where it stopped.

    Attributes:
        trains: Whether the networks are trained for their scores.
        needs_supernet: Whether the strategy of the search has to train the supernet that scores the networks.
        replicates: Largest number of evaluations of a network that differ; None for any.
        uses_recipe: Whether an evaluation applies the recipe of an architecture (`SearchSpace.recipe`); a joint search
            needs such an evaluator.
    """

    trains: ClassVar[bool] = True
    needs_supernet: bool = False
    replicates: int | None = None
    uses_recipe: ClassVar[bool] = False

    @property
    def continues(self) -> bool:
        """Whether an evaluation with a larger budget continues from the checkpoint of one with a smaller budget."""
        return False

    def folder_of(self, proposal: Proposal, problem: Problem, context: RunContext) -> Path | None:
        """Return the folder in which an evaluation keeps its checkpoints.

        Args:
            proposal: The architecture and its budget.
            problem: The search problem.
            context: Data, device, seed and folder.

        Returns:
            The folder; None, as by default, if it keeps none.
        """
        return None

    def weights_of(self, folder: Path) -> Sequence[Path]:
        """Return the files with weights in a folder of an evaluation, which a search deletes if nothing needs them.

        Args:
            folder: From `folder_of`.

        Returns:
            By default the files `*.pt`.
        """
        return sorted(folder.glob("*.pt"))

    @property
    def identity(self) -> Mapping[str, Any]:
        """The evaluator as a study records it: by default its class and arguments."""
        return described(self)

    def metrics(self, task: Task) -> frozenset[str] | None:
        """Return the names of the metrics that `evaluate` reports, if known beforehand.

        Args:
            task: The task whose validation metrics the evaluator may report.

        Returns:
            The names, or None if they are only known from the results.
        """
        return None

    def check(self, problem: Problem, context: RunContext) -> None:
        """Check the settings before a study is created.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Raises:
            NASError: If proposals of this problem cannot be evaluated.
        """
        return

    def check_budgets(self, budgets: Sequence[int]) -> None:
        """Check, before a study is created, that networks can be evaluated with the budgets of a strategy.

        Args:
            budgets: Training epochs in ascending order.

        Raises:
            NASError: If not, as by default for an evaluator that trains no networks.
        """
        if not self.trains:
            raise NASError(
                f"budgets of {', '.join(map(str, budgets))} epochs with {type(self).__name__}, which trains nothing",
                "an evaluator that trains them",
                "evaluator=train, or fidelity=null",
            )

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate | None:
        """Estimate the time and the disk of one evaluation, from a timed step if it takes long; nothing is written.

        Args:
            proposal: The architecture and its budget.
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Returns:
            The estimate; None, as by default, if it is unknown.
        """
        return None

    def network(self, proposal: Proposal, problem: Problem, context: RunContext) -> nn.Module:
        """Return the network of an evaluated proposal with the weights that the evaluation kept.

        Args:
            proposal: The architecture and its budget.
            problem: Space, task, cost, objectives and constraints.
            context: The surroundings of the evaluation.

        Returns:
            The network, on the CPU.

        Raises:
            NASError: If the evaluator keeps no weights, as by default, or they cannot be read.
        """
        raise NASError(
            f"{type(self).__name__}, which keeps no weights",
            "an evaluator that trains networks",
            "use nas.evaluators.Train, or train the network by nas.retrain",
        )

    @abstractmethod
    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        """Evaluate a proposal.

        Args:
            proposal: The architecture and its budget.
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Returns:
            The metrics by name.

        Raises:
            TrialFailed: If the candidate cannot be scored.
        """
