"""Draws of architectures that several strategies share: within a cost window, untried, by mutation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from nas.architecture import Architecture
from nas.errors import NASError
from nas.history import CostFunction, History
from nas.space import SearchSpace
from nas.strategies.enumeration import Enumeration, enumeration_of

FIRST_BATCH = 16
EARLY_BATCH = 32  # after batches up to this without a hit, a listed space is looked through where that is cheap
LARGEST_BATCH = 2048  # after batches up to this without a hit, every space that can be listed is looked through
MUTANTS = 16  # mutants made at each distance from their parent
FURTHEST = 5  # mutations in a row before `mutant` gives up and draws

Accept = Callable[[np.ndarray, CostFunction], np.ndarray]  # genes (N, G), their cost function -> (N,) bool


class CostWindow:
    """cost_min <= cost <= cost_max, in the study's cost unit; None leaves a side open."""

    def __init__(self, cost_min: float | None = None, cost_max: float | None = None) -> None:
        self.low = -np.inf if cost_min is None else float(cost_min)
        self.high = np.inf if cost_max is None else float(cost_max)
        if self.low > self.high:
            raise NASError(
                f"strategy.cost_min={cost_min} with strategy.cost_max={cost_max}",
                "cost_min <= cost_max",
                "exchange the two",
            )

    @property
    def arguments(self) -> dict[str, float | None]:
        """The arguments that make this window."""
        ends = {"cost_min": self.low, "cost_max": self.high}
        return {name: float(end) if np.isfinite(end) else None for name, end in ends.items()}

    def __call__(self, genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
        """(N,) bool. An open window costs nothing: no network is measured for it."""
        if self.low == -np.inf and self.high == np.inf:
            return np.ones(len(genes_NG), dtype=bool)
        cost_N = cost(genes_NG)
        return np.asarray((cost_N >= self.low) & (cost_N <= self.high))


OPEN = CostWindow()


def anything(genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
    """Accepts every network."""
    return np.ones(len(genes_NG), dtype=bool)


def draw(space: SearchSpace, history: History, accept: Accept, rng: np.random.Generator) -> Architecture | None:
    """One architecture that no trial holds, that keeps the constraints and that `accept` admits, distributed as
    `space.sample` is among those.

    Rejection in growing batches; where the admitted share is tiny, the enumerated space is looked through (uniformly),
    sooner where that is cheap. None: nothing is left, or nothing was found in a space too large to list.
    """
    arch = draw_by_sampling(space, history, accept, rng, early_batch(space))
    if arch is not None:
        return arch
    listed = enumeration_of(space)
    if listed is not None:
        return draw_from_list(space, history, listed, accept(listed.genes_NG, listed.costs(history.cost)), rng)
    return draw_by_sampling(space, history, accept, rng, LARGEST_BATCH)


def early_batch(space: SearchSpace) -> int:
    """The largest batch before a space is looked through: a small one where looking is cheap, because the space offers
    blocks, by which all costs take milliseconds, or has fewer networks than would be sampled."""
    cheap = type(space).blocks is not SearchSpace.blocks
    few = math.prod(len(gene.choices) for gene in space.genes) <= LARGEST_BATCH
    return EARLY_BATCH if cheap or few else LARGEST_BATCH


def draw_by_sampling(
    space: SearchSpace, history: History, accept: Accept, rng: np.random.Generator, largest: int
) -> Architecture | None:
    """Rejection in batches of 16, 32, ... up to `largest`; None where nothing was found."""
    taken = held(history)
    batch = FIRST_BATCH
    while batch <= largest:
        archs = [arch for arch in (space.sample(rng) for _ in range(batch)) if arch.genes not in taken]
        if archs:
            genes_NG = space.encode(archs)
            kept_N = history.admits(genes_NG)
            kept_N[kept_N] = accept(genes_NG[kept_N], history.cost)
            if kept_N.any():
                return archs[int(np.argmax(kept_N))]
        batch *= 2
    return None


def draw_from_list(
    space: SearchSpace, history: History, listed: Enumeration, kept_N: np.ndarray, rng: np.random.Generator
) -> Architecture | None:
    """One of the marked rows, uniformly among those that no trial holds and that keep the constraints."""
    taken = held(history)
    for row in rng.permutation(np.flatnonzero(kept_N & listed.admits(history))):
        genes = tuple(listed.genes_NG[row].tolist())
        if genes not in taken:
            return space.architecture(genes)
    return None


def mutant(space: SearchSpace, history: History, parent: Architecture, rng: np.random.Generator) -> Architecture | None:
    """A mutant of `parent` that no trial holds and that keeps the constraints; where 16 mutants are of no use, mutants
    of mutants, up to five mutations away; at last any architecture by `draw`."""
    children = [parent] * MUTANTS
    for _ in range(FURTHEST):
        children = [space.mutate(child, rng) for child in children]
        fresh = untried(space, history, children)
        if fresh:
            return fresh[0]
    return draw(space, history, anything, rng)


def held(history: History) -> set[tuple[int, ...]]:
    """The genes of every architecture that a trial holds, at whatever budget and in whatever state."""
    return {record.arch.genes for record in history}


def untried(space: SearchSpace, history: History, archs: Iterable[Architecture]) -> list[Architecture]:
    """Those that no trial holds and that keep the constraints, in their order, each once."""
    taken = held(history)
    fresh = [arch for arch in dict.fromkeys(archs) if arch.genes not in taken]
    if not fresh:
        return []
    return [arch for arch, kept in zip(fresh, history.admits(space.encode(fresh)), strict=True) if kept]
