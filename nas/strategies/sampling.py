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
EARLY_BATCH = 32  # after batches up to this without a hit, a space that is cheap to enumerate is enumerated
LARGEST_BATCH = 2048  # after batches up to this without a hit, every space that can be enumerated is enumerated
MUTANTS = 16  # mutants made at each distance from their parent
FURTHEST = 5  # mutations in a row before `mutant` draws any architecture

Accept = Callable[[np.ndarray, CostFunction], np.ndarray]  # genes (N, G), their cost function -> (N,) bool


class CostWindow:
    """Accepts networks with cost_min <= cost <= cost_max.

    Args:
        cost_min: Lower end in the study's cost unit; None for no limit.
        cost_max: Upper end in the study's cost unit; None for no limit.

    Raises:
        NASError: If cost_min exceeds cost_max.
    """

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
        """Return which networks are accepted, (N,) bool; without limits no cost is computed."""
        if self.low == -np.inf and self.high == np.inf:
            return np.ones(len(genes_NG), dtype=bool)
        cost_N = cost(genes_NG)
        return np.asarray((cost_N >= self.low) & (cost_N <= self.high))


OPEN = CostWindow()


def accept_all(genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
    """Accept every network.

    Args:
        genes_NG: Genes of the networks.
        cost: Their cost function, not called.

    Returns:
        (N,) bool, all True.
    """
    return np.ones(len(genes_NG), dtype=bool)


def draw(space: SearchSpace, history: History, accept: Accept, rng: np.random.Generator) -> Architecture | None:
    """Draw one untried architecture that keeps the constraints and is accepted, distributed as by `space.sample`.

    Draws by rejection in growing batches. If few architectures are accepted, the whole space is enumerated and drawn
    from, by the prior or uniformly; this starts earlier for spaces that are cheap to enumerate.

    Args:
        space: The space.
        history: The study's trials.
        accept: Which networks are accepted.
        rng: Random generator.

    Returns:
        The architecture; None if nothing is left, or none was found in a space too large to enumerate.
    """
    arch = draw_by_sampling(space, history, accept, rng, early_batch(space))
    if arch is not None:
        return arch
    listed = enumeration_of(space)
    if listed is not None:
        return draw_from_list(space, history, listed, accept(listed.genes_NG, listed.costs(history.cost)), rng)
    return draw_by_sampling(space, history, accept, rng, LARGEST_BATCH)


def early_batch(space: SearchSpace) -> int:
    """Return the largest batch that is drawn before the space is enumerated.

    Args:
        space: The space.

    Returns:
        EARLY_BATCH if enumeration is cheap: the space offers blocks, whose costs add up in milliseconds, or has at most
        LARGEST_BATCH networks. Otherwise LARGEST_BATCH.
    """
    cheap = space.has_blocks
    few = math.prod(len(gene.choices) for gene in space.genes) <= LARGEST_BATCH
    return EARLY_BATCH if cheap or few else LARGEST_BATCH


def draw_by_sampling(
    space: SearchSpace, history: History, accept: Accept, rng: np.random.Generator, largest: int
) -> Architecture | None:
    """Draw by rejection in batches of 16, 32, ...

    Args:
        space: The space.
        history: The study's trials.
        accept: Which networks are accepted.
        rng: Random generator.
        largest: Size of the last batch.

    Returns:
        The first untried architecture that keeps the constraints and is accepted; None if there was none.
    """
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
    """Draw from an enumerated space by its prior, without one uniformly.

    Args:
        space: The space.
        history: The study's trials.
        listed: All N architectures of the space.
        kept_N: (N,) bool, the architectures that are accepted.
        rng: Random generator.

    Returns:
        An accepted, untried architecture that keeps the constraints; None if there is none.
    """
    taken = held(history)
    for row in _in_random_order(space, listed.genes_NG, np.flatnonzero(kept_N & listed.admits(history)), rng):
        genes = tuple(listed.genes_NG[row].tolist())
        if genes not in taken:
            return space.architecture(genes)
    return None


def _in_random_order(
    space: SearchSpace, genes_NG: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw rows without replacement, by the prior if there is one (Gumbel-top-k; Kool et al., ICML 2019)."""
    if not space.has_prior:
        return rng.permutation(rows)
    keys = space.log_prior(genes_NG[rows]) + rng.gumbel(size=len(rows))
    return np.asarray(rows[np.argsort(-keys, kind="stable")])


def mutant(space: SearchSpace, history: History, parent: Architecture, rng: np.random.Generator) -> Architecture | None:
    """Draw an untried mutant that keeps the constraints.

    If 16 mutants are all tried or excluded, they are mutated again, up to five mutations away from the parent; after
    that any architecture is drawn by `draw`.

    Args:
        space: The space.
        history: The study's trials.
        parent: The architecture to mutate.
        rng: Random generator.

    Returns:
        The architecture; None if nothing is left.
    """
    children = [parent] * MUTANTS
    for _ in range(FURTHEST):
        children = [space.mutate(child, rng) for child in children]
        fresh = untried(space, history, children)
        if fresh:
            return fresh[0]
    return draw(space, history, accept_all, rng)


def held(history: History) -> set[tuple[int, ...]]:
    """Return the genes of all architectures with a trial, of any budget and state.

    Args:
        history: The study's trials.

    Returns:
        A set of gene tuples.
    """
    return {record.arch.genes for record in history}


def untried(space: SearchSpace, history: History, archs: Iterable[Architecture]) -> list[Architecture]:
    """Select the architectures without a trial that keep the constraints.

    Args:
        space: The space.
        history: The study's trials.
        archs: The candidates.

    Returns:
        The selected ones in their order, without duplicates.
    """
    taken = held(history)
    fresh = [arch for arch in dict.fromkeys(archs) if arch.genes not in taken]
    if not fresh:
        return []
    return [arch for arch, kept in zip(fresh, history.admits(space.encode(fresh)), strict=True) if kept]
