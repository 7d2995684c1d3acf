"""What a strategy sees: immutable records of the finished and running trials, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from nas.architecture import Architecture
from nas.multiobjective.constraints import Constraint, violation
from nas.multiobjective.pareto import front_mask


class State(str, Enum):
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a strategy asks to be evaluated. budget: training epochs; 0 = the evaluator's own."""

    arch: Architecture
    budget: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One trial. started, finished: seconds since the epoch (finished 0.0 while running)."""

    number: int
    arch: Architecture
    budget: int
    state: State
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    worker: str = ""
    started: float = 0.0
    finished: float = 0.0


CostFunction = Callable[[np.ndarray], np.ndarray]  # genes (N, G) -> cost (N,), deterministic


@dataclass(frozen=True)
class History(Sequence[Record]):
    """Records in order of trial number, with what the study asks for.

    objectives: metric name -> "maximize" or "minimize". cost: the deterministic cost of a gene matrix (N, G) -> (N,),
    named cost_name; it is the only cost a pruning rule may read. constraints: hard limits on any metrics. costs: the
    functions of those constrained metrics that are known before training.
    """

    records: tuple[Record, ...]
    objectives: Mapping[str, str]
    cost: CostFunction
    cost_name: str = "macs"
    constraints: tuple[Constraint, ...] = ()
    costs: Mapping[str, CostFunction] = field(default_factory=dict)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def score(self) -> str:
        """The first maximised objective, else the first."""
        return next((name for name, way in self.objectives.items() if way == "maximize"), next(iter(self.objectives)))

    @property
    def sign(self) -> dict[str, float]:
        """1.0 for what is maximised, -1.0 for what is minimised."""
        return {name: 1.0 if way == "maximize" else -1.0 for name, way in self.objectives.items()}

    def complete(self) -> tuple[Record, ...]:
        """Finished trials in the order in which they finished."""
        return self._complete

    @cached_property
    def _complete(self) -> tuple[Record, ...]:
        done = [record for record in self.records if record.state is State.COMPLETE]
        return tuple(sorted(done, key=lambda record: (record.finished, record.number)))

    def final(self) -> tuple[Record, ...]:
        """Of every architecture the first finished trial of its largest budget, in the order in which they finished."""
        best: dict[str, Record] = {}
        for record in self.complete():
            if record.arch.id not in best or record.budget > best[record.arch.id].budget:
                best[record.arch.id] = record
        return tuple(sorted(best.values(), key=lambda record: (record.finished, record.number)))

    def values(self, records: Sequence[Record]) -> np.ndarray:
        """(N, M) objective values, each column turned so that larger is better."""
        sign = list(self.sign.values())
        rows = [[record.metrics[name] for name in self.objectives] for record in records]
        return np.array(rows, dtype=np.float64).reshape(len(records), len(sign)) * sign

    def scores(self, records: Sequence[Record]) -> np.ndarray:
        """(N,) the score, turned so that larger is better."""
        name = self.score
        return self.sign[name] * np.array([record.metrics[name] for record in records], dtype=np.float64)

    def admits(self, genes_NG: np.ndarray) -> np.ndarray:
        """(N,) bool: which networks keep every constraint that is known before training."""
        kept_N = np.ones(len(genes_NG), dtype=bool)
        for constraint in self.constraints:
            if constraint.metric in self.costs and kept_N.any():
                kept_N[kept_N] = constraint.excess(self.costs[constraint.metric](genes_NG[kept_N])) == 0
        return kept_N

    def violations(self, records: Sequence[Record]) -> np.ndarray:
        """(N,) how far finished trials break the constraints, 0 = feasible."""
        if not self.constraints:
            return np.zeros(len(records))
        return np.array([violation(self.constraints, record.metrics) for record in records])

    @property
    def best(self) -> Record:
        """The chosen trial: the best score of the front; of equal ones the cheapest, which the front holds."""
        return self.front()[0]

    def front(self) -> tuple[Record, ...]:
        """The Pareto front of the feasible networks at their largest budget, best score first; of the least infeasible
        ones where no network keeps the constraints."""
        return self._front

    @cached_property
    def _front(self) -> tuple[Record, ...]:
        done = self.final()
        excess_N = self.violations(done)
        done = tuple(record for record, excess in zip(done, excess_N, strict=True) if excess == excess_N.min())
        kept = [record for record, keep in zip(done, front_mask(self.values(done)), strict=True) if keep]
        return tuple(sorted(kept, key=lambda record: -self.sign[self.score] * record.metrics[self.score]))
