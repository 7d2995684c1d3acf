"""One worker of a search whose evaluator is a clock: it sleeps for a few epochs and keeps a real checkpoint."""

from __future__ import annotations

import datetime
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture, Gene
from nas.context import RunContext
from nas.cost.model import CostModel
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.multiobjective.constraints import Constraint
from nas.problem import Problem
from nas.search import SearchJob, search
from nas.space import SearchSpace
from nas.strategies.random import RandomSearch
from nas.study.study import Study
from nas.task_spec import TaskSpec
from nas.tasks.classification import Classification
from nas.utils.files import write_text

OBJECTIVES = {"score": "maximize", "params": "minimize"}
NAME = "faults"
EPOCHS = 4


class Boxes(SearchSpace):
    """512 one-layer networks."""

    def __init__(self, side: int = 8) -> None:
        self.side = side
        self.genes = tuple(Gene(name, tuple(range(1, side + 1)), ordered=True) for name in "abc")

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        a, b, c = self.values(arch)
        return nn.Conv3d(1, int(a) * 64 + int(b) * 8 + int(c), 1)


@dataclass(frozen=True)
class Orders:
    """Settings of a worker.

    lease_s: long, as workers of a busy machine may be silent for seconds. fault: what goes wrong in its evaluator (see
    `Clock`). patience_s: how long it waits for a store that is out of reach; far longer than an outage, as a server
    takes its time to start on a busy machine.
    """

    url: str
    folder: str
    trials: int
    lease_s: float = 100.0
    epoch_s: float = 0.06
    fault: str = ""
    time_limit_s: float | None = None
    patience_s: float = 240.0


def score_of(arch: Architecture) -> float:
    """A number that looks random and is a function of the architecture."""
    return int(arch.id[:6], 16) / 16**6


class Clock(Evaluator):
    """Sleeps EPOCHS epochs, each checkpointed; logs what it began and what it finished."""

    def __init__(self, orders: Orders) -> None:
        self.orders, self.folder = orders, Path(orders.folder)

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        arch, fault = proposal.arch, self.orders.fault
        if fault and int(arch.id[-1], 16) % 4 == 0:
            if fault == "nan":
                return {"score": float("nan")}
            if fault == "failed":
                raise TrialFailed("the loss became NaN")
            if fault == "raises":
                raise ValueError("a defect of the evaluator")
            if fault == "hangs":
                time.sleep(60)
        checkpoint = self.folder / "checkpoints" / arch.id
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for epoch in range(done + 1, EPOCHS + 1):
            self._log(f"begin {arch.id} {epoch}")
            time.sleep(self.orders.epoch_s)
            write_text(checkpoint, str(epoch))
            self._log(f"end {arch.id} {epoch}")
            context.on_epoch(epoch, EPOCHS)
        return {"score": score_of(arch), "pid": float(os.getpid())}

    def _log(self, line: str) -> None:
        handle = os.open(self.folder / "log.txt", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(handle, f"{line} {os.getpid()}\n".encode())
        os.close(handle)


def attach(orders: Orders) -> Study:
    study = Study(orders.url, NAME, boxes_problem(OBJECTIVES), {"data": "none"}, lease_s=orders.lease_s)
    study.store.patience_s = orders.patience_s
    return study


def boxes_problem(objectives: Mapping[str, str], constraints: Sequence[Constraint] = ()) -> Problem:
    space = Boxes()
    return Problem(space, Classification(), cost_of(space), objectives, tuple(constraints))


def cost_of(space: SearchSpace) -> CostModel:
    return CostModel(space, TaskSpec(), (1, 4, 4, 4), "params")


def work(orders: Orders, worker: int, skew_s: float = 0.0) -> None:
    """The whole life of one worker process. skew_s: how far its wall clock is off."""
    torch.set_num_threads(1)
    if skew_s:
        set_clock(skew_s)
    study = attach(orders)
    nothing: Any = None
    context = RunContext(nothing, nothing, Path(orders.folder), torch.device("cpu"), 0)
    job = SearchJob(study.problem, RandomSearch(), Clock(orders), context, orders.trials, orders.time_limit_s)
    search(job, study, worker=worker)
    study.close()


def work_on_a_full_disk(orders: Orders, worker: int, full_s: float) -> None:
    """From its third finished trial on no file of this process may grow, for `full_s` seconds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    clock = Clock.evaluate
    calls: list[float] = []

    def limited(self: Clock, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        metrics = clock(self, proposal, problem, context)
        calls.append(time.monotonic())
        if len(calls) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
            lifted = time.monotonic() + full_s

            def lift() -> None:
                time.sleep(max(0.0, lifted - time.monotonic()))
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

            import threading

            threading.Thread(target=lift, daemon=True).start()
        return metrics

    Clock.evaluate = limited  # type: ignore[method-assign]
    work(orders, worker)


def set_clock(skew_s: float) -> None:
    """Moves this process's wall clock, as Python code reads it."""
    real, now = time.time, datetime.datetime.now

    class Skewed(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now(tz) + datetime.timedelta(seconds=skew_s)

    time.time = lambda: real() + skew_s
    datetime.datetime = Skewed  # type: ignore[misc]
    import optuna.storages._rdb.storage as rdb
    import optuna.trial._frozen as frozen

    for module in (rdb, frozen):
        if isinstance(getattr(module, "datetime", None), type):
            module.datetime = Skewed


def front_from_raw(study: Study) -> set[tuple[float, float]]:
    """The Pareto front by brute force over what the store holds."""
    points = [(r.metrics["score"], r.metrics["params"]) for r in study.records() if r.state.value == "complete"]
    return {(s, p) for s, p in points if not any((s2 >= s and p2 <= p) and (s2 > s or p2 < p) for s2, p2 in points)}


def front_of(study: Study) -> set[tuple[float, float]]:
    return {(r.metrics["score"], r.metrics["params"]) for r in study.history().front()}


def cost_of_genes(genes_NG: np.ndarray) -> np.ndarray:
    return cost_of(Boxes())(genes_NG)


__all__ = ["NASError", "Orders", "attach", "front_from_raw", "front_of", "score_of", "work", "work_on_a_full_disk"]
