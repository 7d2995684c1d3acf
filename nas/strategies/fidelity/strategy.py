"""Multi-fidelity search: one strategy proposes networks, a rule decides how long they are trained."""

from __future__ import annotations

import numpy as np

from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import History, Proposal, State
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import RuledOut, Strategy
from nas.strategies.fidelity.comparable import comparable
from nas.strategies.fidelity.schedule import Fidelity
from nas.utils.checked import checked


@checked("strategy")
class MultiFidelity(Strategy):
    """Train the networks of any strategy in steps, and only the good ones to the end.

    New networks come from `proposer`, which sees each network once, with its result at its largest budget; results of
    smaller budgets are raised by the mean gain of the networks that have both (see
    `nas.strategies.fidelity.comparable`). Whether a network is trained on or a new one begins is decided by `fidelity`.
    A training continues from its checkpoint with training.schedule=constant or warm_restarts; with any other schedule
    each step begins anew.

    Args:
        proposer: Strategy that proposes the networks.
        fidelity: Rule that decides how long they are trained.

    Raises:
        NASError: If `proposer` has budgets itself.
    """

    def __init__(self, proposer: Strategy, fidelity: Fidelity) -> None:
        self.proposer, self.fidelity = proposer, fidelity
        self.limits, self.trains_supernet = proposer.limits, proposer.trains_supernet
        if isinstance(proposer, MultiFidelity):
            raise NASError(
                f"fidelity={type(fidelity).__name__} for a strategy that has {type(proposer.fidelity).__name__}",
                "one rule for the budgets",
                "leave out one of the two",
            )

    def check(self, problem: Problem) -> None:
        """Check the proposer, and that no recipe decides the number of epochs."""
        if any("training.epochs" in problem.space.recipe(arch) for arch in problem.space.recipe_examples()):
            raise NASError(
                f"recipe.training.epochs with {type(self.fidelity).__name__}, which decides the number of epochs",
                "one of the two",
                "~recipe.training.epochs, or a strategy without budgets and fidelity=null",
            )
        self.proposer.check(problem)

    def check_evaluator(self, evaluator: Evaluator, context: RunContext) -> None:
        """Check the evaluator for the proposer, and that it can evaluate networks with each of the budgets."""
        self.proposer.check_evaluator(evaluator, context)
        evaluator.check_budgets(self.fidelity.budgets)

    def prepare(self, problem: Problem, context: RunContext) -> None:
        """Prepare the proposer."""
        self.proposer.prepare(problem, context)

    def estimate(self, problem: Problem, context: RunContext) -> Estimate:
        """Estimate the preparation of the proposer."""
        return self.proposer.estimate(problem, context)

    def mean_budget(self, continues: bool) -> float | None:
        """Return the mean of the epochs of a step; see `Fidelity.mean_budget`."""
        return self.fidelity.mean_budget(continues)

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks that may be promoted."""
        return self.fidelity.unfinished(history)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        promotion = self.fidelity.promotion(history)
        if promotion is not None:
            return promotion
        proposal = self.new_network(space, history, rng)
        if proposal is None:
            running = any(trial.state is State.RUNNING for trial in history)
            return None if running else self.fidelity.promotion(history, closed=True)
        if proposal.budget:
            raise NASError(
                f"fidelity={type(self.fidelity).__name__} for {type(self.proposer).__name__}, which has budgets",
                "a strategy that proposes networks without budgets",
                "fidelity=null",
            )
        if proposal.replicate:  # of a network that is known: it is repeated where it stands
            largest = max(trial.budget for trial in history.complete() if trial.arch == proposal.arch)
            return Proposal(proposal.arch, largest, proposal.replicate)
        return Proposal(proposal.arch, self.fidelity.start(history))

    def new_network(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Return the next new network.

        Args:
            space: The space that is searched.
            history: Finished and running trials, at any budget.
            rng: Source of randomness.

        Returns:
            A network without a budget, or None if there is none; by default that of the proposer.
        """
        return self.proposer.propose(space, comparable(history, self.fidelity.budgets), rng)

    def ruled_out(self, problem: Problem, history: History) -> RuledOut | None:
        """Return what the proposer has ruled out."""
        return self.proposer.ruled_out(problem, comparable(history, self.fidelity.budgets))
