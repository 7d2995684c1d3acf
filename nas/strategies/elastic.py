"""Search over the networks of an elastic supernet, which is trained once.

Sources: Cai et al., Once-for-All (ICLR 2020, arXiv 1908.09791); Yu et al., BigNAS (ECCV 2020, arXiv 2003.11142).
"""

from __future__ import annotations

import numpy as np
import torch

from nas.budget import Estimate
from nas.context import RunContext
from nas.evaluators.base import Evaluator
from nas.history import History, Proposal
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import RuledOut, Strategy
from nas.supernets.elastic import ElasticSupernet, require_elastic
from nas.supernets.elastic_training import ElasticTraining, Sandwich
from nas.supernets.loading import FOLDER, elastic_name
from nas.training.settings import TrainingSettings
from nas.utils.annotations import Count, Share
from nas.utils.checked import checked


@checked("strategy")
class Elastic(Strategy):
    """Train one set of weights for all networks of a space, then search with another strategy.

    With `evaluator=supernet` each network is scored with its slice of the weights, without any training; with
    `evaluator=train` the supernet has no use. Spaces with elastic weights: unet, unet_flexible, naslung. `prepare`
    trains once for all workers of a folder, while the others wait, and continues an interrupted training. How well
    inherited weights rank networks is in docs/explanation/zero-cost-and-shared-weights.md.

    Args:
        settings: Training of the weights.
        proposer: Strategy that proposes the networks.
        sampled: Networks drawn in each step beside the largest and the smallest one.
        distillation: Share of the loss of all but the largest network that is the cross entropy to its output, 0 to 1.
    """

    trains_supernet = True

    def __init__(
        self, settings: TrainingSettings, proposer: Strategy, sampled: Count = 2, distillation: Share = 0.5
    ) -> None:
        self.settings, self.proposer = settings, proposer
        self.sampled, self.distillation = sampled, distillation
        self.limits = proposer.limits
        self._trained: tuple[str, str] | None = None

    def check(self, problem: Problem) -> None:
        """Check that the space has elastic weights, and the settings of the proposer.

        Args:
            problem: Space, task, cost, objectives and constraints.

        Raises:
            NASError: If the space has none, or the proposer cannot work.
        """
        require_elastic(problem.space)
        self.proposer.check(problem)

    def check_evaluator(self, evaluator: Evaluator, context: RunContext) -> None:
        """Check nothing: a supernet is trained."""

    def prepare(self, problem: Problem, context: RunContext) -> None:
        """Train the supernet, once for all workers of a folder; a second call for the same folder does nothing.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Raises:
            NASError: If the loss is no longer finite, or memory runs out.
        """
        folder = context.folder / FOLDER
        which = (problem.space.fingerprint, str(folder.resolve()))
        if self._trained != which:
            self._training(problem, context).run_alone(context.on_epoch)
            self._trained = which
        self.proposer.prepare(problem, context)

    def estimate(self, problem: Problem, context: RunContext) -> Estimate:
        """Time steps of the supernet's training, and the preparation of the proposer."""
        training = self._training(problem, context)
        own = Estimate(training.expected_seconds(), training.checkpoint_bytes())
        return own + self.proposer.estimate(problem, context)

    def _training(self, problem: Problem, context: RunContext) -> ElasticTraining:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            supernet = ElasticSupernet(problem.space, problem.task.spec)
        return ElasticTraining(
            supernet,
            problem.task,
            context.train,
            context.valid,
            self.settings,
            Sandwich(self.sampled, self.distillation),
            seed=context.seed,
            device=context.device,
            folder=context.folder / FOLDER,
            fingerprint=f"{elastic_name(problem.space)}, slices",
            tracker=context.tracker,
        )

    def mean_budget(self, continues: bool) -> float | None:
        """Return the expected mean number of epochs of the proposer's trials."""
        return self.proposer.mean_budget(continues)

    def unfinished(self, history: History) -> frozenset[str]:
        """Return the networks that the proposer may continue."""
        return self.proposer.unfinished(history)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        """Propose as the proposer does."""
        return self.proposer.propose(space, history, rng)

    def ruled_out(self, problem: Problem, history: History) -> RuledOut | None:
        """Return what the proposer has ruled out."""
        return self.proposer.ruled_out(problem, history)
