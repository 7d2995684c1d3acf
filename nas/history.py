"""History of a study: immutable records of its trials, with objectives and constraints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from operator import attrgetter

import numpy as np

from nas.architecture import Architecture
from nas.errors import NASError
from nas.multiobjective.constraints import Constraint, violation
from nas.multiobjective.pareto import front_mask

CONFIRMATION = 1000  # the first replicate of a confirmation; those of the search are below


class State(str, Enum):
    """State of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Evaluation that a strategy asks for.

    Args:
        arch: Architecture to evaluate.
        budget: Training epochs; 0 for the evaluator's own.
        replicate: Which repetition of the evaluation, from 0. Its seeds follow from (study seed, replicate), so that
            all networks of one replicate are compared on equal terms.
    """

    arch: Architecture
    budget: int = 0
    replicate: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Args:
        number: Number of the trial in its study.
        arch: Evaluated architecture.
        budget: Training epochs; 0 for the evaluator's own.
        state: State of the trial.
        metrics: Metrics by name; empty unless complete.
        reason: Reason of a failure; else empty.
        worker: Name of the worker.
        started: Start in seconds since the epoch.
        finished: End in seconds since the epoch; 0.0 while running.
        replicate: Which repetition of the evaluation, from 0.
    """

    number: int
    arch: Architecture
    budget: int
    state: State
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    worker: str = ""
    started: float = 0.0
    finished: float = 0.0
    replicate: int = 0

    @property
    def proposal(self) -> Proposal:
        """Architecture, budget and replicate of the trial."""
        return Proposal(self.arch, self.budget, self.replicate)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A metric over the replicates of one network at one budget.

    Args:
        mean: Mean over the replicates.
        deviation: Sample standard deviation; NaN with one replicate.
        count: Number of replicates, at least 1.
    """

    mean: float
    deviation: float
    count: int

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN with one replicate."""
        return self.deviation / math.sqrt(self.count)


FINISHING = attrgetter("finished", "number")  # order of finishing
CostFunction = Callable[[np.ndarray], np.ndarray]  # genes (N, G) -> cost (N,), deterministic


@dataclass(frozen=True)
class History(Sequence[Trial]):
    """Trials of a study with its objectives and constraints.

    Args:
        records: Trials in order of number.
        objectives: "maximize" or "minimize" by metric.
        cost: Deterministic cost of genes, (N, G) -> (N,), the only cost that pruning rules may use.
        cost_name: Name of that cost.
        constraints: Hard limits on any metrics.
        costs: Cost functions of the constrained metrics that are known before training, by name.
    """

    records: tuple[Trial, ...]
    objectives: Mapping[str, str]
    cost: CostFunction
    cost_name: str = "macs"
    constraints: tuple[Constraint, ...] = ()
    costs: Mapping[str, CostFunction] = field(default_factory=dict)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.records)

    @property
    def score(self) -> str:
        """Name of the first maximised objective; without one, of the first objective."""
        return next((name for name, way in self.objectives.items() if way == "maximize"), next(iter(self.objectives)))

    @property
    def sign(self) -> dict[str, float]:
        """1.0 for maximised and -1.0 for minimised objectives, by name."""
        return {name: 1.0 if way == "maximize" else -1.0 for name, way in self.objectives.items()}

    @cached_property
    def searched(self) -> History:
        """The history without the trials of the confirmation."""
        kept = tuple(record for record in self.records if record.replicate < CONFIRMATION)
        return self if len(kept) == len(self.records) else replace(self, records=kept)

    @cached_property
    def confirmed(self) -> History:
        """The history of the confirmation alone, which trained the best networks again after the search."""
        return replace(self, records=tuple(record for record in self.records if record.replicate >= CONFIRMATION))

    def complete(self) -> tuple[Trial, ...]:
        """Return the finished trials.

        Returns:
            Trials in the order in which they finished.
        """
        return self._complete

    @cached_property
    def _complete(self) -> tuple[Trial, ...]:
        done = [record for record in self.records if record.state is State.COMPLETE]
        return tuple(sorted(done, key=FINISHING))

    def require_finished(self) -> None:
        """Check that there is a network to choose.

        Raises:
            NASError: If no trial finished.
        """
        if self.complete():
            return
        if not len(self):
            raise NASError(
                f"no network that keeps {', '.join(map(str, self.constraints)) or 'the limits of the strategy'}",
                "limits that some network of the space keeps",
                "change constraints or the strategy's limits, and the name of the study",
            )
        reasons = [trial.reason for trial in self if trial.state is State.FAILED]
        last = f", the last failed with {reasons[-1]!r}" if reasons else ""
        raise NASError(
            f"a search without a finished trial{last}",
            "at least one",
            "change the settings or the data that the reasons name, and the name of the study",
        )

    def replicates(self, arch: Architecture, budget: int) -> tuple[Trial, ...]:
        """Return the finished replicates of a network at a budget; of two trials of one replicate the first one.

        If a network was confirmed, these are the replicates of the confirmation alone: by those of the search it was
        selected, so that they are too good on average.

        Args:
            arch: The architecture.
            budget: Training epochs; 0 for the evaluator's own.

        Returns:
            Trials in ascending order of replicate.
        """
        return self._replicates.get((arch.id, budget), ())

    @cached_property
    def _replicates(self) -> dict[tuple[str, int], tuple[Trial, ...]]:
        found: dict[tuple[str, int], dict[int, Trial]] = {}
        keys = [(record.arch.id, record.budget) for record in self.complete()]
        if len(set(keys)) == len(keys):  # no replicates: the common case, in a third of the time
            return {key: (record,) for key, record in zip(keys, self.complete(), strict=True)}
        for key, record in zip(keys, self.complete(), strict=True):
            found.setdefault(key, {}).setdefault(record.replicate, record)
        for trials in found.values():
            if max(trials) >= CONFIRMATION:
                for replicate in [one for one in trials if one < CONFIRMATION]:
                    del trials[replicate]
        return {key: tuple(trials[number] for number in sorted(trials)) for key, trials in found.items()}

    def statistic(self, trial: Trial, metric: str) -> Statistic:
        """Return a metric over the replicates of a finished trial's network at its budget.

        Args:
            trial: A finished trial, or one of `final`.
            metric: Name of the metric, which every replicate has.

        Returns:
            Mean, deviation, count and standard error.
        """
        values = np.array([one.metrics[metric] for one in self.replicates(trial.arch, trial.budget)])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return Statistic(float(values.mean()), deviation, len(values))

    def means(self) -> tuple[Trial, ...]:
        """Return every finished architecture at each of its budgets, with means over its replicates; see `final`.

        Returns:
            The first replicates in the order in which they finished; without replicates, the finished trials.
        """
        if not any(record.replicate for record in self.records):
            return self.complete()
        found = map(_mean, self._replicates.values())
        return tuple(sorted(found, key=lambda record: (record.finished, record.number)))

    def final(self) -> tuple[Trial, ...]:
        """Return every finished architecture once, at its largest budget, with means over its replicates.

        Returns:
            The first replicates in the order in which they finished. A metric is the mean over all replicates; one
            that some replicate lacks is left out.
        """
        return self._final

    @cached_property
    def _final(self) -> tuple[Trial, ...]:
        largest: dict[str, int] = {}
        if len({arch_id for arch_id, _ in self._replicates}) == len(self.complete()):
            return self.complete()  # every network was trained once
        for arch_id, budget in self._replicates:
            largest[arch_id] = max(budget, largest.get(arch_id, budget))
        means = [_mean(self._replicates[key]) for key in largest.items()]
        return tuple(sorted(means, key=FINISHING))

    def values(self, records: Sequence[Trial]) -> np.ndarray:
        """Return the objectives of finished trials.

        Args:
            records: N finished trials.

        Returns:
            (N, M) values, with minimised objectives negated, so that larger is better.
        """
        sign = list(self.sign.values())
        rows = [[record.metrics[name] for name in self.objectives] for record in records]
        return np.array(rows, dtype=np.float64).reshape(len(records), len(sign)) * sign

    def scores(self, records: Sequence[Trial]) -> np.ndarray:
        """Return the scores of finished trials.

        Args:
            records: N finished trials.

        Returns:
            (N,) scores, negated if minimised, so that larger is better.
        """
        name = self.score
        return self.sign[name] * np.array([record.metrics[name] for record in records], dtype=np.float64)

    def admits(self, genes_NG: np.ndarray) -> np.ndarray:
        """Check the constraints that are known before training.

        Args:
            genes_NG: (N, G) gene indices.

        Returns:
            (N,) bool, True for networks that satisfy all of them.
        """
        kept_N = np.ones(len(genes_NG), dtype=bool)
        for constraint in self.constraints:
            if constraint.metric in self.costs and kept_N.any():
                kept_N[kept_N] = constraint.excess(self.costs[constraint.metric](genes_NG[kept_N])) == 0
        return kept_N

    def violations(self, records: Sequence[Trial]) -> np.ndarray:
        """Return the violation of all constraints by finished trials.

        Args:
            records: N finished trials.

        Returns:
            (N,) sums of relative excesses, 0 for feasible trials.

        Raises:
            NASError: If a constrained metric is missing.
        """
        if not self.constraints:
            return np.zeros(len(records))
        return np.array([violation(self.constraints, record.metrics) for record in records])

    @property
    def best(self) -> Trial:
        """The chosen trial: the best score; of equal scores the cheapest network, which the front holds."""
        return self.front()[0]

    def front(self) -> tuple[Trial, ...]:
        """Return the Pareto front of the feasible networks at their largest budget, of the confirmed ones if there are.

        Returns:
            Trials in descending order of score. If no network is feasible, the front of the least infeasible ones.
        """
        return self._front

    @cached_property
    def _front(self) -> tuple[Trial, ...]:
        done = self.final()
        done = tuple(record for record in done if record.replicate >= CONFIRMATION) or done
        excess_N = self.violations(done)
        done = tuple(record for record, excess in zip(done, excess_N, strict=True) if excess == excess_N.min())
        kept = [record for record, keep in zip(done, front_mask(self.values(done)), strict=True) if keep]
        return tuple(sorted(kept, key=lambda record: -self.sign[self.score] * record.metrics[self.score]))


def _mean(trials: Sequence[Trial]) -> Trial:
    """Average the metrics of replicates, which are in ascending order; the first stands for all."""
    first = trials[0]
    if len(trials) == 1:
        return first
    shared = set.intersection(*(set(trial.metrics) for trial in trials))
    names = [name for name in first.metrics if name in shared]
    return replace(first, metrics={name: float(np.mean([trial.metrics[name] for trial in trials])) for name in names})
