"""Simulated searches on a table of trained networks, with a simulated clock: thousands of trials per minute."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from nas.errors import NASError, TrialFailed
from nas.evaluators.tabular import LookUp
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.enumeration import enumeration_of
from nas.strategies.first_trial import next_proposal
from nas.trials_table import TrialsTable

IN_TABLE = "in_table"  # metric of networks that the table has


@dataclass(frozen=True)
class Simulation:
    """Result of a simulated search.

    Attributes:
        history: Trials at the end of the search.
        time_T: (T,) simulated seconds at the end of each trial, ascending.
        best_T: (T,) best score so far, in the score's own sign; NaN before the first finished trial.
    """

    history: History
    time_T: np.ndarray
    best_T: np.ndarray


class Results(Protocol):
    """Results of simulated trials: recorded ones, or those of a `nas.surrogate.Surrogate`."""

    @property
    def space(self) -> SearchSpace:
        """The space that is searched."""

    @property
    def continues(self) -> bool:
        """Whether a larger budget continues the training of a smaller one, and takes only the difference in time."""

    def history(self) -> History:
        """Return the history of a search that has not begun.

        Returns:
            No trials, with the objectives, the cost and the constraints of the search.
        """

    def outcome(self, proposal: Proposal) -> tuple[float, dict[str, object]]:
        """Return how a trial ends.

        Args:
            proposal: Architecture, budget and replicate.

        Returns:
            Its seconds, and the state, metrics and reason of its record.
        """


class Recorded:
    """The results of recorded trials; a network that the table lacks, or that failed there, fails.

    Args:
        table: Recorded trials.
        space: Space of the search. If None, that of the table.
    """

    def __init__(self, table: TrialsTable, space: SearchSpace | None = None) -> None:
        self.table, self.space = table, table.space.build() if space is None else space
        self.continues = bool(table.curves)
        self._look_up = LookUp(table)

    def history(self) -> History:
        """Return the history of a search that has not begun.

        Returns:
            No trials; if the table lacks networks of the space, with a constraint.
        """
        return _empty_history(self.table, self.space)

    def outcome(self, proposal: Proposal) -> tuple[float, dict[str, object]]:
        """Look up how a trial ends.

        Args:
            proposal: Architecture, budget and replicate.

        Returns:
            The recorded seconds, and the state, metrics and reason of the record.
        """
        return _outcome(self._look_up, proposal)


def simulate(
    strategy: Strategy,
    results: TrialsTable | Results,
    trials: int,
    seed: int,
    workers: int = 1,
    space: SearchSpace | None = None,
    until: float = math.inf,
) -> Simulation:
    """Run a strategy on recorded trials.

    The trial of a worker ends after its recorded seconds; until then other workers see it as running. Proposals use the
    random generator of `nas.search`. Costs are read from the table. If it lacks networks of the space, strategies
    see a constraint; a trial of such a network, or of one that failed in the table, fails.

    Args:
        strategy: Strategy to run.
        results: Recorded trials, or a surrogate.
        trials: Number of trials to end; fewer if the strategy has no more proposals.
        seed: Seed of the search.
        workers: Number of simulated workers.
        space: Space of the search. If None, that of the results.
        until: Simulated seconds after which no trial begins.

    Returns:
        History and learning curve of the search.

    Raises:
        NASError: If the table lacks the cost or a proposed budget.
    """
    source: Results = Recorded(results, space) if isinstance(results, TrialsTable) else results
    space, empty = source.space if space is None else space, source.history()
    records: list[Trial] = []
    running: list[tuple[float, int, int]] = []  # end, number, worker
    free = list(range(workers))
    outcomes: dict[int, Trial] = {}
    ends: list[Trial] = []
    now = 0.0
    while len(ends) < trials:
        while free and len(records) < trials and now < until:
            worker = free[0]
            rng = np.random.default_rng([seed, worker, len(records)])
            proposal = next_proposal(strategy, space, replace(empty, records=tuple(records)), rng)
            if proposal is None:
                break
            free.pop(0)
            number = len(records)
            seconds, outcome = source.outcome(proposal)
            if source.continues:
                seconds -= _seconds_before(source, proposal, records)
            started = Trial(
                number,
                proposal.arch,
                proposal.budget,
                State.RUNNING,
                worker=str(worker),
                started=now,
                replicate=proposal.replicate,
            )
            outcomes[number] = replace(started, finished=now + seconds, **outcome)  # type: ignore[arg-type]
            records.append(started)
            heapq.heappush(running, (now + seconds, number, worker))
        if not running:
            break
        now, number, worker = heapq.heappop(running)
        records[number] = outcomes[number]
        ends.append(outcomes[number])
        free = sorted([*free, worker])
    history = replace(empty, records=tuple(records))
    return Simulation(history, np.array([record.finished for record in ends]), best_so_far(history, ends))


def best_so_far(history: History, ends: list[Trial]) -> np.ndarray:
    """Return the running maximum of the score.

    Args:
        history: Objectives of the search.
        ends: T ended trials in their order.

    Returns:
        (T,) best score so far, in the score's own sign; NaN before the first finished trial.
    """
    sign = history.sign[history.score]
    scores = [sign * r.metrics[history.score] if r.state is State.COMPLETE else -np.inf for r in ends]
    best_T = np.maximum.accumulate(np.array(scores, dtype=np.float64)) if scores else np.empty(0)
    return sign * np.where(np.isfinite(best_T), best_T, np.nan)


class TabularCost:
    """Cost function, (N, G) -> (N,), that reads a metric of recorded trials; NaN for networks without one.

    Args:
        table: Recorded trials.
        metric: Name of the metric.

    Raises:
        NASError: If the table lacks the metric.
    """

    def __init__(self, table: TrialsTable, metric: str) -> None:
        if metric not in table.metrics:
            raise NASError(
                f"a table without the metric {metric!r}",
                f"one of {', '.join(table.metrics)}",
                "export the whole study with `voxnas study export`",
            )
        rows = zip(map(tuple, table.genes_NG.tolist()), table.metrics[metric].tolist(), strict=True)
        self._cost: Mapping[tuple[int, ...], float] = {genes: cost for genes, cost in rows if cost == cost}

    def __call__(self, genes_NG: np.ndarray) -> np.ndarray:
        nan = float("nan")
        return np.array([self._cost.get(tuple(genes), nan) for genes in np.atleast_2d(genes_NG).tolist()])

    def contains(self, genes_NG: np.ndarray) -> np.ndarray:
        """Check which networks the table has.

        Args:
            genes_NG: (N, G) gene indices.

        Returns:
            (N,) 1.0 or 0.0.
        """
        return np.isfinite(self(genes_NG)).astype(np.float64)


def _seconds_before(source: Results, proposal: Proposal, records: Sequence[Trial]) -> float:
    """Return the seconds of the trainings that a proposal continues."""
    own = [trial for trial in records if (trial.arch, trial.replicate) == (proposal.arch, proposal.replicate)]
    smaller = [t.budget for t in own if t.state is State.COMPLETE and 0 < t.budget < (proposal.budget or math.inf)]
    return source.outcome(replace(proposal, budget=max(smaller)))[0] if smaller else 0.0


def _empty_history(table: TrialsTable, space: SearchSpace) -> History:
    """History without trials; if the table lacks networks of the space, with a constraint."""
    name = str(table.spec.get("cost", {}).get("metric", "macs"))
    cost = TabularCost(table, name)
    history = History((), table.objectives, cost, name)
    listed = enumeration_of(space)
    if listed is None or len(listed.genes_NG) > len(table) or not cost.contains(listed.genes_NG).all():
        limit = Constraint(IN_TABLE, 1.0, at_most=False)
        history = replace(history, constraints=(limit,), costs={IN_TABLE: cost.contains})
    return history


def _outcome(look_up: LookUp, proposal: Proposal) -> tuple[float, dict[str, object]]:
    """Seconds of the trial, and the fields of its record."""
    try:
        row = look_up.row(proposal)
    except TrialFailed as failure:
        return 0.0, {"state": State.FAILED, "reason": str(failure)}
    try:
        return look_up.seconds(row), {"state": State.COMPLETE, "metrics": {**look_up.metrics(row), IN_TABLE: 1.0}}
    except TrialFailed as failure:
        return look_up.seconds(row), {"state": State.FAILED, "reason": str(failure)}
