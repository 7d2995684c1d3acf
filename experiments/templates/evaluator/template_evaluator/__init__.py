"""An evaluator: the mean over several trainings of a network."""

from collections.abc import Mapping
from dataclasses import replace

from nas import Problem, Proposal, RunContext
from nas.evaluators import Evaluator, Train
from nas.tasks import Task
from nas.training import TrainingSettings


class TemplateEvaluator(Evaluator):
    """Trains each network several times from different weights; every metric is the mean.

    An evaluation depends on proposal, problem and context alone, and may be repeated in the same folder: files that it
    keeps in `context.folder` let it continue after an interruption.

    Args:
        settings: Settings of each training.
        repeats: Number of trainings.
    """

    def __init__(self, settings: TrainingSettings | None = None, repeats: int = 2) -> None:
        self.settings, self.repeats = settings or TrainingSettings(), repeats

    def metrics(self, task: Task) -> frozenset[str] | None:
        """Return the names of the metrics, so that objectives are checked before the first trial."""
        return Train(self.settings).metrics(task)

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        """Train and score one network."""
        results = []
        for repeat in range(self.repeats):
            own = replace(context, seed=context.seed + 1000 * repeat, folder=context.folder / f"repeat{repeat}")
            results.append(Train(self.settings).evaluate(proposal, problem, own))
        return {name: sum(result[name] for result in results) / len(results) for name in results[0]}
