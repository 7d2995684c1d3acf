"""Conformance checks for spaces, strategies and evaluators of this and other packages."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch

from nas.context import RunContext
from nas.data.store import VolumeStore
from nas.evaluators.base import Evaluator
from nas.history import History, Proposal, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.problem import Problem
from nas.space import SearchSpace, takes_target
from nas.strategies.base import Strategy
from nas.task_spec import TaskSpec

OBJECTIVES = {"score": "maximize", "cost": "minimize"}


def check_space(space: SearchSpace, input_shape: tuple[int, ...] | None = None, outputs: int = 2) -> None:
    """Assert the properties of a space that strategies and `arch.json` need.

    Arguments rebuild the space; `repair` is total and idempotent; samples, mutants and children are in the space;
    `encode` agrees with the genes; the enumeration has no duplicates; blocks add up; networks accept (B, C, D, H, W)
    and have gradients.

    Args:
        space: Space to check.
        input_shape: (C, D, H, W) of a small volume that the space accepts. If None, one channel and 16 voxels per axis,
            in 2D for spaces with `spatial_dims` 2.
        outputs: Number of outputs of the networks.
    """
    input_shape = input_shape or (1, *(16,) * space.spatial_dims)
    again = type(space)(**json.loads(json.dumps(space.arguments)))
    assert again.fingerprint == space.fingerprint, "arguments do not rebuild the space"
    rng = np.random.default_rng(0)
    sizes = np.array([len(gene.choices) for gene in space.genes])
    archs = [space.sample(rng) for _ in range(20)]
    archs += [space.mutate(arch, rng) for arch in archs[:5]]
    archs += [space.crossover(archs[0], arch, rng) for arch in archs[1:6]]
    for arch in archs:
        assert arch.space == space.fingerprint
        assert space.architecture(arch.genes) == arch, "a sample, mutant or child outside the space"
        assert space.describe(arch).strip()
    for _ in range(50):
        repaired = space.repair([int(gene) for gene in rng.integers(-2, sizes + 2)])
        assert space.repair(repaired.genes) == repaired, "repair is not idempotent"
    matrix = space.encode(archs)
    assert matrix.shape == (len(archs), len(space.genes))
    assert [tuple(row) for row in matrix.tolist()] == [arch.genes for arch in archs]
    enumerated = space.enumerate()
    if enumerated is not None:
        assert len(np.unique(enumerated, axis=0)) == len(enumerated), "the enumeration repeats itself"
        rows = rng.choice(len(enumerated), size=min(50, len(enumerated)), replace=False)
        for row in enumerated[rows]:
            space.architecture([int(gene) for gene in row])
    task = TaskSpec(space.kind, len(input_shape) - 1, input_shape[0], outputs)
    _check_networks(space, archs[:2], task, input_shape)
    for name in space.published:
        home, arch = type(space).from_name(name)
        assert home.architecture(arch.genes) == arch, f"{name} is no point of its space"


def _check_networks(space: SearchSpace, archs: list, task: TaskSpec, input_shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *input_shape)
    for arch in archs:
        network = space.build(arch, task)
        out = network(x, torch.zeros(2, dtype=torch.long)) if takes_target(network) else network(x)
        out = out[0] if isinstance(out, tuple) else out  # the finest output of deep supervision
        assert out.shape[:2] == (2, space.output_channels(task)), f"output of shape {tuple(out.shape)}"
        out.square().mean().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters()), (
            "nothing can be trained"
        )
    offered = space.blocks(space.encode(archs), tuple(input_shape[1:]), task)
    if offered is not None:
        vocabulary, ids_NK = offered
        for arch, ids in zip(archs, ids_NK, strict=True):
            blocks = [vocabulary[i].build() for i in ids if i >= 0]
            whole = sum(p.numel() for p in space.build(arch, task).parameters())
            assert sum(p.numel() for block in blocks for p in block.parameters()) == whole, "blocks do not add up"


def check_strategy(strategy: Strategy, space: SearchSpace, trials: int = 12) -> History:
    """Assert the properties of a strategy that a study needs.

    Proposals are a pure function of the history: a fresh copy of the strategy agrees. They are in the space and satisfy
    the constraints known beforehand. No architecture is proposed twice with the same budget; a larger budget follows
    only after the smaller one has finished. Simulated searches have two objectives, the same with constraints, and
    a cost as the only objective; their histories include a running and a failed trial.

    Args:
        strategy: Strategy to check.
        space: Space to search.
        trials: Maximum number of trials per search.

    Returns:
        History of the search with two objectives.
    """
    rng = np.random.default_rng(0)
    bound = float(np.median(_sum_of_genes(space.encode([space.sample(rng) for _ in range(64)]))))
    limits = (Constraint("cost", bound), Constraint("score", 0.0, at_most=False))
    unused = copy.deepcopy(strategy)
    history = History((), OBJECTIVES, _sum_of_genes, "cost")
    _play(strategy, unused, space, replace(history, constraints=limits, costs={"cost": _sum_of_genes}), trials)
    _play(strategy, unused, space, replace(history, objectives={"cost": "minimize"}), trials)
    return _play(strategy, unused, space, history, trials)


def _sum_of_genes(genes_NG: np.ndarray) -> np.ndarray:
    return np.atleast_2d(genes_NG).sum(axis=1).astype(np.float64)


def _play(strategy: Strategy, unused: Strategy, space: SearchSpace, history: History, trials: int) -> History:
    for number in range(trials):
        first, second, third = (
            player.propose(space, history, np.random.default_rng(number))
            for player in (strategy, strategy, copy.deepcopy(unused))
        )
        assert first == second == third, "not a pure function of history and generator"
        if first is None:
            break
        arch = first.arch
        assert space.architecture(arch.genes) == arch
        assert isinstance(first.budget, int), "a budget is a whole number"
        assert first.budget >= 0, "a budget below 0"
        for record in history:
            if record.arch == arch and record.state is not State.FAILED:
                assert record.budget != first.budget, "an architecture proposed twice"
                assert record.state is State.COMPLETE, "an architecture that is still running"
                assert 0 < record.budget < first.budget, "an architecture proposed again with no larger budget"
        genes_1G = space.encode([arch])
        assert history.admits(genes_1G).all(), "a constraint that is known before training is broken"
        state = {3: State.RUNNING, 5: State.FAILED}.get(number, State.COMPLETE)
        cost = float(_sum_of_genes(genes_1G)[0])
        metrics = {"score": math.sin(cost), "cost": cost} if state is State.COMPLETE else {}
        record = Trial(number, arch, first.budget, state, metrics, finished=number + 1.0)
        history = replace(history, records=(*history.records, record))
    assert len(history) > 0, "no proposal at all"
    return history


def check_evaluator(
    evaluator: Evaluator,
    problem: Problem,
    context: RunContext,
    proposal: Proposal,
    timings: Collection[str] = ("seconds",),
) -> Mapping[str, float]:
    """Assert the properties of an evaluator that a search needs.

    Metrics are finite numbers and include the task's score. They are equal when repeated in the same folder, in an
    empty folder, and after an interruption at the first epoch. Only volumes of the context are read.

    Args:
        evaluator: Evaluator to check.
        problem: Space, task, cost and objectives of the search.
        context: Data, device, seed and folder.
        proposal: Architecture and budget to evaluate.
        timings: Metrics that measure time and may differ.

    Returns:
        The metrics.
    """
    with tempfile.TemporaryDirectory() as folder, _only_data_of(context):

        def evaluate(name: str) -> Mapping[str, float]:
            metrics = evaluator.evaluate(proposal, problem, replace(context, folder=Path(folder) / name))
            return {key: value for key, value in metrics.items() if key not in timings}

        def interrupt(epoch: int, epochs: int) -> None:
            raise KeyboardInterrupt

        metrics = evaluator.evaluate(proposal, problem, replace(context, folder=Path(folder) / "first"))
        assert problem.task.score_name in metrics, f"no {problem.task.score_name} among the metrics"
        for name, value in metrics.items():
            assert isinstance(value, int | float), f"{name}={value!r} is no number"
            assert math.isfinite(value), f"{name}={value} is not finite"
        expected = {key: value for key, value in metrics.items() if key not in timings}
        assert evaluate("first") == expected, "other metrics the second time in one folder"
        assert evaluate("second") == expected, "other metrics in an empty folder"
        with suppress(KeyboardInterrupt):
            evaluator.evaluate(proposal, problem, replace(context, folder=Path(folder) / "third", on_epoch=interrupt))
        assert evaluate("third") == expected, "other metrics after an interruption"
    return metrics


@contextmanager
def _only_data_of(context: RunContext) -> Iterator[None]:
    """Assert that the block reads volumes from the rows of the context's parts only."""
    allowed: dict[Path, set[int]] = {}
    for part in (context.train, context.valid):
        allowed.setdefault(Path(part.store.path).resolve(), set()).update(part.indices.tolist())
    read_of_store, file_of_h5py = VolumeStore.read, h5py.File

    def read(store: VolumeStore, indices: np.ndarray) -> np.ndarray:
        rows = {int(row) for row in np.asarray(indices).reshape(-1)}
        beyond = rows - allowed.get(Path(store.path).resolve(), set())
        assert not beyond, f"row {min(beyond)} of {store.name} is no part of the context"
        return read_of_store(store, indices)

    class File(file_of_h5py):  # type: ignore[misc, valid-type]
        def __init__(self, name: str | Path, *args, **options) -> None:  # type: ignore[no-untyped-def]
            assert Path(name).resolve() in allowed, f"{name} is no store of the context"
            super().__init__(name, *args, **options)

    with mock.patch.object(VolumeStore, "read", read), mock.patch.object(h5py, "File", File):
        yield
