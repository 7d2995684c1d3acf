"""A whole search on a table of trained networks, in memory and by a simulated clock: thousands of trials a minute."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from nas.errors import NASError, TrialFailed
from nas.evaluators.tabular import LookUp
from nas.history import History, Proposal, Record, State
from nas.multiobjective.constraints import Constraint
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.trials_table import TrialsTable

HELD = "in_table"


@dataclass(frozen=True)
class Replay:
    """What a simulated search found.

    history: as the study would be at the end. time_T: simulated seconds at which each of T trials ended, rising.
    best_T: the best score of a finished trial by then, in the score's own sign; NaN before the first.
    """

    history: History
    time_T: np.ndarray
    best_T: np.ndarray


def replay(
    strategy: Strategy,
    table: TrialsTable,
    trials: int,
    seed: int,
    workers: int = 1,
    space: SearchSpace | None = None,
) -> Replay:
    """Runs a strategy until so many trials have ended, or nothing is left to propose.

    Each worker's trial ends after its recorded seconds; until then the strategies of the others see it running. The
    random generator of a proposal is that of `nas.search`. Costs are those that the table holds. Where it holds only a
    part of the space, the strategy sees that as a constraint; a trial outside of it, or one that failed in the table,
    fails. space: the table's own where it is not given. Raises NASError for a budget that the table does not have.
    """
    space = table.space.build() if space is None else space
    look_up = LookUp(table)
    cost_name = str(table.spec.get("cost", {}).get("metric", "macs"))
    records: list[Record] = []
    cost = CostsInTable(table, cost_name)
    empty = History((), table.objectives, cost, cost_name)
    every = space.enumerate()
    if every is None or not cost.holds(every).all():
        limit = Constraint(HELD, 1.0, at_most=False)
        empty = replace(empty, constraints=(limit,), costs={HELD: cost.holds})
    running: list[tuple[float, int, int]] = []  # end, number, worker
    free = list(range(workers))
    outcomes: dict[int, Record] = {}
    ends: list[Record] = []
    now = 0.0
    while len(ends) < trials:
        while free and len(records) < trials:
            worker = free[0]
            rng = np.random.default_rng([seed, worker, len(records)])
            proposal = strategy.propose(space, replace(empty, records=tuple(records)), rng)
            if proposal is None:
                break
            free.pop(0)
            number = len(records)
            seconds, outcome = _outcome(look_up, proposal)
            begun = Record(number, proposal.arch, proposal.budget, State.RUNNING, worker=str(worker), started=now)
            outcomes[number] = replace(begun, finished=now + seconds, **outcome)  # type: ignore[arg-type]
            records.append(begun)
            heapq.heappush(running, (now + seconds, number, worker))
        if not running:
            break
        now, number, worker = heapq.heappop(running)
        records[number] = outcomes[number]
        ends.append(outcomes[number])
        free = sorted([*free, worker])
    history = replace(empty, records=tuple(records))
    return Replay(history, np.array([record.finished for record in ends]), best_so_far(history, ends))


def best_so_far(history: History, ends: list[Record]) -> np.ndarray:
    """(T,) the best score among the first trials that ended, in the score's own sign; NaN before the first."""
    sign = history.sign[history.score]
    scores = [sign * r.metrics[history.score] if r.state is State.COMPLETE else -np.inf for r in ends]
    best_T = np.maximum.accumulate(np.array(scores, dtype=np.float64)) if scores else np.empty(0)
    return sign * np.where(np.isfinite(best_T), best_T, np.nan)


class CostsInTable:
    """genes (N, G) -> (N,) one metric of the table's finished trials; NaN for networks that it does not hold."""

    def __init__(self, table: TrialsTable, metric: str) -> None:
        if metric not in table.metrics:
            raise NASError(
                f"a table without the metric {metric}", f"one of {', '.join(table.metrics)}", "export the whole study"
            )
        rows = zip(map(tuple, table.genes_NG.tolist()), table.metrics[metric].tolist(), strict=True)
        self._cost: Mapping[tuple[int, ...], float] = {genes: cost for genes, cost in rows if cost == cost}

    def __call__(self, genes_NG: np.ndarray) -> np.ndarray:
        nan = float("nan")
        return np.array([self._cost.get(tuple(genes), nan) for genes in np.atleast_2d(genes_NG).tolist()])

    def holds(self, genes_NG: np.ndarray) -> np.ndarray:
        """(N,) 1.0 for the networks that the table holds, else 0.0."""
        return np.isfinite(self(genes_NG)).astype(np.float64)


def _outcome(look_up: LookUp, proposal: Proposal) -> tuple[float, dict[str, object]]:
    """Seconds, and what is to be recorded."""
    try:
        row = look_up.row(proposal)
    except TrialFailed as failure:
        return 0.0, {"state": State.FAILED, "reason": str(failure)}
    try:
        return look_up.seconds(row), {"state": State.COMPLETE, "metrics": {**look_up.metrics(row), HELD: 1.0}}
    except TrialFailed as failure:
        return look_up.seconds(row), {"state": State.FAILED, "reason": str(failure)}
