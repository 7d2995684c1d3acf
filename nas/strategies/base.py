"""Base class of strategies, which propose the next architecture from the history of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import History, Proposal
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.prior import Prior
from nas.strategies.sampling import OPEN, CostWindow
from nas.supernets.loading import FOLDER
from nas.training.loop import LAST
from nas.utils.identity import described


@dataclass(frozen=True)
class RuledOut:
    """Networks that a strategy will never propose.

    Args:
        share: Share of the space, 0 to 1.
        genes_NG: Their genes.
        cost_N: Their costs.
        bound_N: The best score that each could reach; the lowest, if the score is minimised.
    """

    share: float
    genes_NG: np.ndarray
    cost_N: np.ndarray
    bound_N: np.ndarray


class Strategy(ABC):
    """Proposes architectures from the history alone.

    A strategy has no state, so that any number of workers can run it, a killed worker loses nothing, and a resumed
    study continues as if it had never stopped. An instance may cache values to save time, but the cache never changes
    an answer; what `prepare` learns follows from the settings of the study alone.

    Attributes:
        trains_supernet: Whether `prepare` trains a supernet, in which several processes may take part.
        limits: Costs to which all proposals keep, and to which a random search beside this strategy has to keep too.
        warm_start: Trials of another study that the strategy learns from; None for none, or for strategies that cannot.
    """

    trains_supernet: bool = False
    limits: CostWindow = OPEN
    warm_start: Prior | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """The strategy as a study records it: by default its class and arguments, without a `warm_start` of None."""
        own = described(self)
        return {name: value for name, value in own.items() if (name, value) != ("warm_start", None)}

    def check(self, problem: Problem) -> None:
        """Check the settings before a study is created, so that a mistake leaves nothing behind.

        Args:
            problem: Space, task, cost, objectives and constraints.

        Raises:
            NASError: If the settings cannot work for this problem, or `warm_start` has trials of another space.
        """
        if self.warm_start is not None:
            self.warm_start.check(problem)

    def check_evaluator(self, evaluator: Evaluator, context: RunContext) -> None:
        """Check that an evaluator that needs a supernet gets one.

        Args:
            evaluator: The evaluator of the search.
            context: Data, device, seed and folder.

        Raises:
            NASError: If neither this strategy trains one nor the folder holds one.
        """
        if evaluator.needs_supernet and not self.trains_supernet and not (context.folder / FOLDER / LAST).is_file():
            raise NASError(
                f"evaluator=supernet with {type(self).__name__}, which trains no supernet",
                "a strategy that trains one (strategy=differentiable), or evaluator.checkpoint=<last.pt of a supernet>",
                "evaluator=train",
            )

    def prepare(self, problem: Problem, context: RunContext) -> None:
        """Prepare the strategy before the first proposal; most strategies do nothing.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.
        """
        return

    def estimate(self, problem: Problem, context: RunContext) -> Estimate:
        """Estimate the time and the disk of `prepare`, from a timed step if it takes long; nothing is written.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Returns:
            The estimate; nothing by default.
        """
        return Estimate()

    def mean_budget(self, continues: bool) -> float | None:
        """Return the expected mean number of epochs that a trial runs.

        Args:
            continues: Whether a training with a larger budget continues from its checkpoint.

        Returns:
            Epochs; None, as by default, if trials have the evaluator's own.
        """
        return None

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks whose training a later proposal may continue, so that their checkpoints are kept.

        Args:
            history: Finished and running trials.

        Returns:
            Ids of architectures; by default of those with a budget of their own.
        """
        return frozenset(trial.arch.id for trial in history if trial.budget > 0)

    @abstractmethod
    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Propose the next architecture to evaluate.

        Args:
            space: The space that is searched.
            history: Finished and running trials.
            rng: Source of randomness; the same history and generator give the same proposal.

        Returns:
            An architecture with a budget at which no trial holds it, or None if the search is over.
        """

    def ruled_out(self, problem: Problem, history: History) -> RuledOut | None:
        """Return the part of the space that the history has ruled out, for progress lines and reports.

        Args:
            problem: Space, task, cost, objectives and constraints.
            history: Finished and running trials.

        Returns:
            The networks that are ruled out, or None if this strategy rules out nothing or finding out is expensive.
        """
        return None
