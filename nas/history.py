"""What a strategy sees: immutable records of the finished and running trials, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from nas.architecture import Architecture
from nas.pareto import front_mask


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
    """Records in order of trial number, with the objectives of the study.

    objectives: metric name -> "maximize" or "minimize". cost: the deterministic cost of a gene matrix (N, G) -> (N,),
    named cost_name; it is the only cost a pruning rule may read.
    """

    records: tuple[Record, ...]
    objectives: Mapping[str, str]
    cost: CostFunction
    cost_name: str = "macs"

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def score(self) -> str:
        """The first maximised objective."""
        return next(name for name, direction in self.objectives.items() if direction == "maximize")

    def complete(self) -> tuple[Record, ...]:
        """Finished trials in the order in which they finished."""
        done = (record for record in self.records if record.state is State.COMPLETE)
        return tuple(sorted(done, key=lambda record: (record.finished, record.number)))

    def values(self, records: Sequence[Record]) -> np.ndarray:
        """(N, M) objective values, each column turned so that larger is better."""
        sign = [1.0 if direction == "maximize" else -1.0 for direction in self.objectives.values()]
        rows = [[record.metrics[name] for name in self.objectives] for record in records]
        return np.array(rows, dtype=np.float64).reshape(len(records), len(sign)) * sign

    def front(self) -> tuple[Record, ...]:
        """The Pareto front of the finished trials, best score first."""
        done = self.complete()
        kept = [record for record, keep in zip(done, front_mask(self.values(done)), strict=True) if keep]
        return tuple(sorted(kept, key=lambda record: -record.metrics[self.score]))
