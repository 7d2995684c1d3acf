"""The evaluator that trains nothing: each network is scored with the weights that it has in a trained supernet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from nas.budget import Estimate
from nas.context import RunContext
from nas.data.loading import VolumeSet
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.problem import Problem
from nas.supernets.base import SharedWeights
from nas.supernets.loading import FOLDER, load_supernet
from nas.supernets.recalibration import recalibrate
from nas.tasks.base import Task
from nas.training.loop import LAST, predict
from nas.training.timing import CASES, seconds_per_call
from nas.utils.annotations import PathName, PositiveInt
from nas.utils.checked import checked


@checked("evaluator")
class InheritedWeights(Evaluator):
    """Evaluator that scores networks with inherited weights, as in one-shot search (Bender et al., ICML 2018).

    A proposal's budget has no effect on its score. Networks of an elastic supernet get their own statistics of batch
    normalisation, measured on training samples.

    Args:
        checkpoint: last.pt of a supernet of the same space, data and split. If None, the supernet that
            strategy=differentiable or strategy=elastic trains in the study's folder.
        batch_size: Batch size of predictions.
    """

    trains = False
    replicates = 1

    def __init__(self, checkpoint: PathName | None = None, batch_size: PositiveInt = 4) -> None:
        self.checkpoint, self.batch_size = checkpoint, batch_size
        self.needs_supernet = checkpoint is None
        self._loaded: tuple[Path, SharedWeights] | None = None

    def metrics(self, task: Task) -> frozenset[str]:
        """Return the names of the task's validation metrics."""
        return task.quick_metrics

    def check(self, problem: Problem, context: RunContext) -> None:
        """Check that a given supernet is of the same space, task and training samples.

        Args:
            problem: Space, task, cost, objectives and constraints.
            context: Data, device, seed and folder.

        Raises:
            NASError: If it cannot be read, or differs.
        """
        if self.checkpoint is not None:
            self._supernet(problem, context)

    def _supernet(self, problem: Problem, context: RunContext) -> SharedWeights:
        path = Path(self.checkpoint) if self.checkpoint else context.folder / FOLDER / LAST
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = (path, load_supernet(path, problem.space, problem.task.spec, context.train))
        return self._loaded[1]

    def estimate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Estimate:
        """Time the prediction of a few samples by the network, with random weights."""
        model = problem.space.build(proposal.arch, problem.task.spec).to(context.device)
        few = VolumeSet(context.valid.store, context.valid.indices[:CASES], context.device)
        data = few.normalised_like(context.train)
        seconds = seconds_per_call(lambda: predict(model, problem.task, data, self.batch_size))
        return Estimate(seconds * len(context.valid) / len(few))

    def network(self, proposal: Proposal, problem: Problem, context: RunContext) -> nn.Module:
        return self._network(proposal, problem, context).cpu()

    def _network(self, proposal: Proposal, problem: Problem, context: RunContext) -> nn.Module:
        supernet = self._supernet(problem, context).eval()
        network = supernet.subnetwork(proposal.arch).to(context.device)
        if supernet.recalibrated:
            recalibrate(network, context.train.normalised_like(context.train), max(self.batch_size, 2), context.seed)
        return network

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        network = self._network(proposal, problem, context)
        valid = context.valid.normalised_like(context.train)
        prediction = predict(network, problem.task, valid, self.batch_size)
        context.on_epoch(1, 1)
        return dict(problem.task.score(prediction, valid.targets, quick=True).over())
