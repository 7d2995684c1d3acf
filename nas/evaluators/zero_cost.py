"""The evaluator that scores networks before any training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Le

from nas.budget import Estimate
from nas.context import RunContext
from nas.errors import TrialFailed
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.problem import Problem
from nas.tasks.base import Task
from nas.training.loop import describe_subset
from nas.utils.annotations import MOST, OneOf
from nas.utils.checked import checked
from nas.zero_cost.measure import BATCH_SIZE, SCORES, zero_cost_score
from nas.zero_cost.minibatch import Minibatch

METRIC = "zero_cost"


@checked("evaluator")
class ZeroCost(Evaluator):
    """Evaluator that reports one score of the untrained network as the metric `zero_cost`, larger meant to be better.

    The exact definitions with their sources are in `nas/zero_cost/`. How well they rank networks depends on the space
    and the data; on VoxNAS's own tables none ranks better than `width`
    (docs/explanation/zero-cost-and-shared-weights.md). A proposal's budget has no effect; each replicate has other
    initial weights and samples.

    Args:
        score: "width", "macs", "params", "snip", "naswot", "synflow", "jacob_cov" or "grad_norm".
        batch_size: Samples of the training part, at least 2, the same for all networks.
    """

    trains = False

    def __init__(
        self, score: Annotated[str, OneOf(*SCORES)], batch_size: Annotated[int, Ge(2), Le(MOST)] = BATCH_SIZE
    ) -> None:
        self.score, self.batch_size = score, batch_size
        self._minibatches: dict[tuple[str, int, int], Minibatch] = {}

    def metrics(self, task: Task) -> frozenset[str]:
        """Return `zero_cost` and `seconds`."""
        return frozenset({METRIC, "seconds"})

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate:
        """Time one score."""
        started = time.perf_counter()
        try:
            self._score(proposal, problem, context)
        except TrialFailed:
            return Estimate()
        return Estimate(time.perf_counter() - started)

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        started = time.perf_counter()
        value = self._score(proposal, problem, context)
        context.on_epoch(1, 1)
        return {METRIC: value, "seconds": time.perf_counter() - started}

    def _score(self, proposal: Proposal, problem: Problem, context: RunContext) -> float:
        key = (describe_subset(context.train), context.seed, proposal.replicate)
        if key not in self._minibatches:  # reads the training part
            self._minibatches[key] = Minibatch.of(context, problem.task, self.batch_size, proposal.replicate)
        return zero_cost_score(
            self.score, proposal.arch, problem, self._minibatches[key], context.seed, proposal.replicate
        )
