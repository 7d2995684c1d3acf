"""The problem of a search: which networks are compared, for which task, by which objectives and under which limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.cost.model import METRICS, CostModel
from nas.errors import NASError
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.tasks.default import default_task

if TYPE_CHECKING:
    from nas.cost.latency import LatencyTable
    from nas.data.store import VolumeStore

DIRECTIONS = ("maximize", "minimize")
SCORE = "score"  # in objectives: the metric by which the task chooses the best epoch


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of a search, shared by its strategy, evaluator and study.

    Args:
        space: The networks.
        task: Loss, inference and metrics.
        cost: The deterministic cost; the only one that a pruning rule reads.
        objectives: Metric name -> "maximize" or "minimize"; the first maximised one is the score.
        constraints: Hard limits on metrics.

    Raises:
        NASError: If there is no objective, a direction is unknown, or the space has no networks for the task.
    """

    space: SearchSpace
    task: Task
    cost: CostModel
    objectives: Mapping[str, str]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if not self.objectives:
            raise NASError("objectives={}", "at least one", "set objectives, for example to {score: maximize}")
        for metric, direction in self.objectives.items():
            if direction not in DIRECTIONS:
                raise NASError(
                    f"objectives={{{metric}: {direction}}}",
                    "maximize or minimize for each metric",
                    f"set objectives.{metric} to maximize or minimize",
                )
        object.__setattr__(self, "objectives", dict(self.objectives))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        self.space.require_kind(self.task.spec)

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        data: VolumeStore,
        *,
        objectives: Mapping[str, str],
        constraints: Sequence[str | Constraint] = (),
        task: Task | None = None,
        cost: str = "macs",
        table: LatencyTable | None = None,
    ) -> Problem:
        """Make the problem of searching a space on a data set.

        Args:
            space: The networks.
            data: The prepared data set; it gives channels, classes and sides.
            objectives: Metric name -> "maximize" or "minimize"; "score" stands for the task's first metric in
                the direction of that metric.
            constraints: Hard limits such as "macs<=2e7".
            task: If None, the default task of the data's kind.
            cost: Name of the deterministic cost.
            table: Latency table, needed for the cost "latency_ms".

        Returns:
            The problem.

        Raises:
            NASError: If objectives, constraints or cost are unknown, or the space or the task does not fit the data.
        """
        task = default_task(data) if task is None else task
        task.require_data(data)
        task = task.for_classes(data.classes)
        model = CostModel(space, task.spec, data.input_shape, cost, table)
        score = task.metrics[0]
        named = {
            score.name if name == SCORE else name: score.direction if name == SCORE else direction
            for name, direction in objectives.items()
        }
        limits = tuple(item if isinstance(item, Constraint) else Constraint.parse(item) for item in constraints)
        return cls(space, task, model, named, limits)

    @property
    def metrics(self) -> frozenset[str]:
        """Names of all metrics that objectives, constraints and pruning read."""
        return frozenset({*self.objectives, *(limit.metric for limit in self.constraints), self.cost.metric})

    @property
    def limiting_costs(self) -> dict[str, CostModel]:
        """Metric -> cost model, of the constrained metrics that are known before training."""
        return {
            limit.metric: self.cost.of_metric(limit.metric) for limit in self.constraints if limit.metric in METRICS
        }

    def check(self, reported: frozenset[str] | None) -> None:
        """Check, before a study is created, that every metric is known and that the data fit the largest network.

        Args:
            reported: Names of the metrics that the evaluator reports, or None if they are not known beforehand.

        Raises:
            NASError: If an objective or a constraint names an unknown metric, or a network refuses the data.
        """
        names = (*self.objectives, *(limit.metric for limit in self.constraints))
        if reported is not None:
            require_known(names, reported)
        for name in names:
            if name in METRICS:
                self.cost.of_metric(name)
        self.cost.of(self.space.repair([len(gene.choices) - 1 for gene in self.space.genes]))


def require_known(names: Iterable[str], reported: frozenset[str]) -> None:
    """Check that metrics of objectives and constraints are known.

    Args:
        names: The metrics.
        reported: Names of the metrics that the evaluator reports; costs are known beside them.

    Raises:
        NASError: For the first unknown metric.
    """
    for name in names:
        if name not in reported and name not in METRICS:
            raise NASError(
                f"the metric {name!r}",
                f"one of {', '.join(sorted({*reported, *METRICS}))}",
                "set objectives and constraints to these",
            )
