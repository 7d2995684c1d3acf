"""The check of an evaluator."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from nas.context import RunContext
from nas.cost.model import METRICS as COSTS
from nas.data.store import VolumeStore
from nas.errors import TrialFailed, first_line
from nas.evaluators.base import Evaluator
from nas.history import Proposal
from nas.problem import Problem
from nas.testing.examples import example
from nas.testing.findings import CheckFailed, joined, no_error, require
from nas.utils.identity import identity_of

EXAMPLES = (("classification", 3), ("segmentation", 2), ("regression", 3))
REPEATABLE = "equal metrics for equal proposals"


def check_evaluator(
    evaluator: Evaluator,
    problem: Problem | None = None,
    context: RunContext | None = None,
    proposal: Proposal | None = None,
    timings: Collection[str] = ("seconds",),
    examples: Collection[tuple[str, int]] = EXAMPLES,
) -> Mapping[str, float]:
    """Check the properties of an evaluator that a search needs.

    Metrics are finite numbers; they include the task's score, all objectives that are no costs, and what
    `Evaluator.metrics` announces. They are equal when repeated in the same folder, in an empty folder, and after an
    interruption at the first epoch. Only volumes of the context are read, and the problem stays as it was.

    Args:
        evaluator: Evaluator to check.
        problem: Space, task, cost and objectives of the search; if None, small problems are drawn.
        context: Data, device, seed and folder, with `problem`.
        proposal: Architecture and budget to evaluate, with `problem`.
        timings: Metrics that measure time and may differ.
        examples: Kind and dimensions of the problems that are drawn: "classification", "segmentation" or
            "regression" (whose score is better if it is smaller), in 2D or 3D.

    Returns:
        The metrics, of the last problem.

    Raises:
        CheckFailed: For the first property that does not hold.
    """
    with no_error("identity", "arguments that a study can record", "keep every argument of __init__ under its name"):
        identity_of(evaluator)
    if problem is not None:
        assert context is not None
        assert proposal is not None
        return _check(evaluator, problem, context, proposal, timings)
    metrics: Mapping[str, float] = {}
    for kind, dims in examples:
        with tempfile.TemporaryDirectory() as folder:
            metrics = _check(evaluator, *example(Path(folder), kind, dims), timings)
    return metrics


def _check(
    evaluator: Evaluator, problem: Problem, context: RunContext, proposal: Proposal, timings: Collection[str]
) -> Mapping[str, float]:
    where = f"for {problem.task.spec.kind} in {problem.task.spec.dims}D"
    with tempfile.TemporaryDirectory() as folder, _only_data_of(context):

        def evaluate(name: str, context: RunContext = context) -> Mapping[str, float]:
            before = _facts(problem)
            with no_error(f"evaluate() {where}", "metrics, or TrialFailed", "see the error"):
                metrics = evaluator.evaluate(proposal, problem, replace(context, folder=Path(folder) / name))
            changed = [part for part, value in _facts(problem).items() if value != before[part]]
            found = f"evaluate() {where}, which changed {joined(changed)} of the problem"
            require(not changed, found, "a problem that is only read", "copy what you change")
            return metrics

        def interrupt(epoch: int, epochs: int) -> None:
            raise KeyboardInterrupt

        def compare(name: str, what: str, fix: str) -> None:
            again = {key: value for key, value in evaluate(name).items() if key not in timings}
            other = [key for key in {**expected, **again} if expected.get(key) != again.get(key)]
            found = f"other metrics {what} {where}: " + ", ".join(
                f"{key}={expected.get(key)} and {again.get(key)}" for key in sorted(other)
            )
            require(not other, found, REPEATABLE, fix)

        try:
            metrics = evaluate("first")
        except TrialFailed as error:
            found = f"evaluate() {where}, which raised TrialFailed: {first_line(error)}"
            fix = "raise TrialFailed only for networks that cannot be scored"
            raise CheckFailed(found, "metrics of a network that can be trained", fix) from error
        _check_metrics(metrics, evaluator, problem, where)
        expected = {key: value for key, value in metrics.items() if key not in timings}
        seeds = "derive every seed from context.seed and proposal, as nas.evaluators.Train does"
        compare("first", "the second time in one folder", f"{seeds}, and let a finished result stay")
        compare("second", "in an empty folder", seeds)
        with suppress(KeyboardInterrupt):
            evaluate("third", replace(context, on_epoch=interrupt))
        compare("third", "after an interruption", "write files at once (nas.utils.files), and continue from them")
    return metrics


def _check_metrics(metrics: Any, evaluator: Evaluator, problem: Problem, where: str) -> None:
    found = f"a {type(metrics).__name__} from evaluate()"
    require(isinstance(metrics, Mapping), found, "a mapping of metrics", "return {name: value}")
    names = f"the metrics {joined(metrics)}"
    for name in (problem.task.score_name, *problem.objectives):
        found = f"no {name} among {names} {where}"
        known = name in metrics or name in COSTS
        require(
            known, found, "the task's score and all objectives", f"report {name}, or name it problem.task.score_name"
        )
    announced = evaluator.metrics(problem.task)
    for name in sorted(announced or ()):
        found = f"no {name} among {names} {where}, although metrics() announces it"
        require(name in metrics, found, "what metrics() announces", f"report {name}, or leave it out of metrics()")
    for name, value in metrics.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number, f"{name}={value!r}, which is no number", "numbers", f"report float({name})")
        fix = "raise TrialFailed for a network that cannot be scored"
        require(math.isfinite(value), f"{name}={value}, which is not finite", "finite numbers", fix)


def _facts(problem: Problem) -> dict[str, Any]:
    space = problem.space
    genes = [(gene.name, gene.choices, gene.ordered) for gene in space.genes]
    return {
        "space": (space.arguments, genes),
        "task": copy.deepcopy(problem.task.identity),
        "objectives": dict(problem.objectives),
        "constraints": problem.constraints,
        "cost": problem.cost.metric,
    }


@contextmanager
def _only_data_of(context: RunContext) -> Iterator[None]:
    """Check that the block reads volumes from the rows of the context's parts only."""
    allowed: dict[Path, set[int]] = {}
    for part in (context.train, context.valid):
        allowed.setdefault(Path(part.store.path).resolve(), set()).update(part.indices.tolist())
    read_of_store, file_of_h5py = VolumeStore.read, h5py.File
    own, fix = "context.train and context.valid alone", "read volumes from context.train and context.valid"

    def read(store: VolumeStore, indices: np.ndarray) -> np.ndarray:
        rows = {int(row) for row in np.asarray(indices).reshape(-1)}
        beyond = rows - allowed.get(Path(store.path).resolve(), set())
        require(not beyond, f"row {min(beyond or [0])} of {store.name}, which is no part of the context", own, fix)
        return read_of_store(store, indices)

    class File(file_of_h5py):  # type: ignore[misc, valid-type]
        def __init__(self, name: str | Path, *args, **options) -> None:  # type: ignore[no-untyped-def]
            require(Path(name).resolve() in allowed, f"{name}, which is no store of the context", own, fix)
            super().__init__(name, *args, **options)

    with mock.patch.object(VolumeStore, "read", read), mock.patch.object(h5py, "File", File):
        yield
