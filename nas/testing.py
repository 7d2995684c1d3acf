"""Conformance checks for spaces and strategies; an outside package may call them on its own."""

from __future__ import annotations

import json

import numpy as np
import torch

from nas.history import History, Record, State
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.tasks.base import TaskSpec

OBJECTIVES = {"score": "maximize", "cost": "minimize"}


def check_space(space: SearchSpace, input_shape: tuple[int, ...] = (1, 16, 16, 16), outputs: int = 2) -> None:
    """Asserts what every strategy and `arch.json` rely on: arguments that rebuild the space, a total and idempotent
    `repair`, samples, mutants and children inside the space, an `encode` that agrees with the genes, an enumeration
    without repetition, blocks that add up, and networks that take (B, C, D, H, W) and train.

    input_shape: (C, D, H, W) of a small volume the space accepts.
    """
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
    every = space.enumerate()
    if every is not None:
        assert len(np.unique(every, axis=0)) == len(every), "the enumeration repeats itself"
        rows = rng.choice(len(every), size=min(50, len(every)), replace=False)
        for row in every[rows]:
            space.architecture([int(gene) for gene in row])
    task = TaskSpec(in_channels=input_shape[0], outputs=outputs, dims=len(input_shape) - 1)
    _check_networks(space, archs[:2], task, input_shape)
    for name in space.published:
        home, arch = type(space).from_name(name)
        assert home.architecture(arch.genes) == arch, f"{name} is no point of its space"


def _check_networks(space: SearchSpace, archs: list, task: TaskSpec, input_shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *input_shape)
    for arch in archs:
        network = space.build(arch, task)
        out = network(x, torch.zeros(2, dtype=torch.long)) if getattr(network, "needs_target", False) else network(x)
        assert out.shape[:2] == (2, task.outputs), f"output of shape {tuple(out.shape)}"
        out.square().mean().backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters()), (
            "nothing can be trained"
        )
    offered = space.blocks(space.encode(archs), tuple(input_shape[1:]), task)
    if offered is not None:
        vocabulary, ids_NK = offered
        for arch, ids in zip(archs, ids_NK, strict=True):
            parts = [vocabulary[i].build() for i in ids if i >= 0]
            whole = sum(p.numel() for p in space.build(arch, task).parameters())
            assert sum(p.numel() for part in parts for p in part.parameters()) == whole, "blocks do not add up"


def check_strategy(strategy: Strategy, space: SearchSpace, trials: int = 12) -> History:
    """Asserts that a strategy is a pure function of the history, proposes points of the space, and none twice.

    The score is a table made of the genes; a running and a failed trial are in the history. Returns the history.
    """

    def cost(genes_NG: np.ndarray) -> np.ndarray:
        return np.atleast_2d(genes_NG).sum(axis=1).astype(np.float64)

    history = History((), OBJECTIVES, cost, "cost")
    for number in range(trials):
        first, second = (strategy.propose(space, history, np.random.default_rng(number)) for _ in range(2))
        assert first == second, "not a pure function of history and generator"
        if first is None:
            break
        arch = first.arch
        assert space.architecture(arch.genes) == arch
        held = {(r.arch.id, r.budget) for r in history if r.state is not State.FAILED}
        assert (arch.id, first.budget) not in held, "an architecture proposed twice"
        state = {3: State.RUNNING, 5: State.FAILED}.get(number, State.COMPLETE)
        value = float(np.sin(cost(np.array([arch.genes]))[0]))
        metrics = {"score": value, "cost": cost(np.array([arch.genes]))[0]} if state is State.COMPLETE else {}
        record = Record(number, arch, first.budget, state, metrics, finished=number + 1.0)
        history = History((*history.records, record), OBJECTIVES, cost, "cost")
    assert len(history) > 0, "no proposal at all"
    return history
