"""Problems, contexts and studies that many tests make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas.context import RunContext
from nas.cost.model import CostModel
from nas.data.loading import VolumeSet
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.multiobjective.constraints import Constraint
from nas.problem import Problem
from nas.space import SearchSpace
from nas.study.study import Study
from nas.tasks.base import Task
from nas.tasks.classification import Classification

SHAPE = (1, 16, 16, 16)


def problem_of(
    space: SearchSpace,
    objectives: Mapping[str, str],
    *,
    task: Task | None = None,
    shape: Sequence[int] = SHAPE,
    cost: str = "macs",
    constraints: Sequence[Constraint] = (),
) -> Problem:
    """A problem whose costs are counted on inputs of `shape` (C, D, H, W)."""
    task = task or Classification()
    return Problem(space, task, CostModel(space, task.spec, shape, cost), objectives, tuple(constraints))


def context_in(folder: Path, train: VolumeSet, valid: VolumeSet, seed: int = 0) -> RunContext:
    return RunContext(train, valid, folder, torch.device("cpu"), seed)


def study_of(
    url: str, name: str, space: SearchSpace, objectives: Mapping[str, str], spec: Mapping[str, Any], **more: Any
) -> Study:
    return Study(url, name, problem_of(space, objectives), spec, **more)


class EvaluatorOf(Evaluator):
    """An evaluator whose metrics a function of proposal and context gives."""

    def __init__(self, function: Callable[[Proposal, RunContext], Mapping[str, float]]) -> None:
        self.function = function

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"function": getattr(self.function, "__name__", "function")}

    def evaluate(self, proposal: Proposal, problem: Problem, context: RunContext) -> Mapping[str, float]:
        return self.function(proposal, context)
