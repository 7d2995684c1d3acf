"""Dominance constraints of partial-order pruning, and the sets of networks that they prune."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nas.history import CostFunction
from nas.space import SearchSpace
from nas.strategies.enumeration import enumeration_of

SAMPLE_SIZE = 100_000  # sampled networks that represent a space too large to enumerate
DENSE_COLUMNS = 8  # most selective genes, compared for all networks at once
COMPACT_BELOW = 0.75  # fraction of surviving rows below which the pruned rows are dropped


class DominanceConstraint(NamedTuple):
    """Prunes every x with x <= genes and cost(x) >= threshold.

    Args:
        genes: Gene indices, an upper end in the partial order.
        threshold: Minimum cost of pruned networks.
        score: Upper bound on the score of pruned networks.
    """

    genes: tuple[int, ...]
    threshold: float
    score: float


def below(genes_NG: np.ndarray, top_G: np.ndarray, ordered_G: np.ndarray, mask_N: np.ndarray) -> np.ndarray:
    """Find rows at or below a network in the partial order: <= in ordered genes, == in other genes.

    The most selective columns are compared for all rows (fast in a column-major matrix), the other columns for the
    remaining rows only.

    Args:
        genes_NG: (N, G) gene indices.
        top_G: (G,) upper end.
        ordered_G: (G,) bool, True for ordered genes.
        mask_N: (N,) bool, rows to consider.

    Returns:
        Indices of the rows.
    """
    columns = np.argsort(top_G, kind="stable")  # small genes exclude most rows
    for column in columns[:DENSE_COLUMNS]:
        mask_N = mask_N & _compare(genes_NG[:, column], top_G[column], ordered_G[column])
    rows = np.flatnonzero(mask_N)
    for column in columns[DENSE_COLUMNS:]:
        if not len(rows):
            break
        rows = rows[_compare(genes_NG[rows, column], top_G[column], ordered_G[column])]
    return rows


def below_any(genes_NG: np.ndarray, tops_KG: np.ndarray, ordered_G: np.ndarray, mask_NK: np.ndarray) -> np.ndarray:
    """Mark rows at or below any of several networks in the partial order, by N * K * G comparisons.

    Args:
        genes_NG: (N, G) gene indices.
        tops_KG: (K, G) upper ends.
        ordered_G: (G,) bool, True for ordered genes.
        mask_NK: (N, K) bool, pairs to consider.

    Returns:
        (N,) bool.
    """
    for genes_N, top_K, ordered in zip(genes_NG.T, tops_KG.T, ordered_G, strict=True):
        mask_NK = mask_NK & _compare(genes_N[:, None], top_K, ordered)
    return np.asarray(mask_NK.any(axis=1))


def _compare(values: np.ndarray, top: np.ndarray, ordered: bool) -> np.ndarray:
    return np.asarray(values <= top if ordered else values == top)


class AppliedConstraints:
    """The constraints that a set has applied. A set never grows again: if one of them is missing, it is made anew."""

    def __init__(self) -> None:
        self._applied: dict[tuple[int, ...], float] = {}  # genes -> lowest threshold

    def is_implied_by(self, constraints: Iterable[DominanceConstraint]) -> bool:
        """Check whether constraints prune everything that was pruned here.

        Args:
            constraints: All constraints of the finished trials.

        Returns:
            False if a constraint applied before is missing.
        """
        lowest: dict[tuple[int, ...], float] = {}
        for constraint in constraints:
            lowest[constraint.genes] = min(constraint.threshold, lowest.get(constraint.genes, np.inf))
        return all(lowest.get(genes, np.inf) <= threshold for genes, threshold in self._applied.items())


class PrunedSet(AppliedConstraints):
    """Networks pruned by a growing list of constraints, for the progress line and the report.

    Each constraint is applied once, and again only if its threshold falls, so that the set never shrinks. Spaces of
    more than 2 million networks are represented by 100,000 samples.

    Args:
        space: Space of the search.
        cost: Cost of genes, (N, G) -> (N,).

    Attributes:
        exact: False if the networks are a sample.
        genes_NG: (N, G) genes of the networks.
        cost_N: (N,) their costs.
        bound_N: (N,) upper bounds on their scores, inf if not pruned.
    """

    def __init__(self, space: SearchSpace, cost: CostFunction) -> None:
        enumeration = enumeration_of(space)
        self.exact = enumeration is not None
        if enumeration is not None:
            self.genes_NG = enumeration.genes_NG
            self.cost_N = enumeration.costs(cost)(self.genes_NG)
        else:
            rng = np.random.default_rng(0)
            self.genes_NG = np.asfortranarray(space.encode([space.sample(rng) for _ in range(SAMPLE_SIZE)]))
            self.cost_N = cost(self.genes_NG)
        self.bound_N = np.full(len(self.genes_NG), np.inf)
        self._ordered = space.ordered
        super().__init__()

    def update(self, constraints: Iterable[DominanceConstraint]) -> None:
        """Apply constraints that are new or have a lower threshold than before.

        Args:
            constraints: All constraints of the finished trials.
        """
        for constraint in constraints:
            if self._applied.get(constraint.genes, np.inf) <= constraint.threshold:
                continue
            open_N = (self.cost_N >= constraint.threshold) & (self.bound_N > constraint.score)
            rows = below(self.genes_NG, np.array(constraint.genes, dtype=self.genes_NG.dtype), self._ordered, open_N)
            self.bound_N[rows] = constraint.score
            self._applied[constraint.genes] = constraint.threshold

    @property
    def mask(self) -> np.ndarray:
        """(N,) bool, True for pruned networks."""
        return np.isfinite(self.bound_N)

    @property
    def share(self) -> float:
        """Pruned fraction of the space."""
        return float(self.mask.mean())


class SurvivingSet(AppliedConstraints):
    """Networks of an enumerated space that no constraint prunes. As it shrinks, further constraints take less time.

    Args:
        genes_NG: (N, G) genes of all networks.
        cost_N: (N,) their costs.
        ordered_G: (G,) bool, True for ordered genes.

    Attributes:
        mask: (N,) bool, True for surviving networks.
    """

    def __init__(self, genes_NG: np.ndarray, cost_N: np.ndarray, ordered_G: np.ndarray) -> None:
        self.mask = np.ones(len(genes_NG), dtype=bool)
        self._ordered = ordered_G
        self._rows, self._genes_RG, self._cost_R = np.arange(len(genes_NG)), genes_NG, cost_N
        self._open_R = np.ones(len(genes_NG), dtype=bool)
        super().__init__()

    def update(self, constraints: Iterable[DominanceConstraint]) -> None:
        """Apply constraints that are new or have a lower threshold; the largest networks first, as they prune most.

        Args:
            constraints: All constraints of the finished trials.
        """
        new = [
            constraint
            for constraint in constraints
            if self._applied.get(constraint.genes, np.inf) > constraint.threshold
        ]
        for constraint in sorted(new, key=lambda constraint: -sum(constraint.genes)):
            top_G = np.array(constraint.genes, dtype=self._genes_RG.dtype)
            hit = below(self._genes_RG, top_G, self._ordered, self._open_R & (self._cost_R >= constraint.threshold))
            self._open_R[hit] = False
            self._applied[constraint.genes] = min(constraint.threshold, self._applied.get(constraint.genes, np.inf))
            self.mask[self._rows[hit]] = False
            if np.count_nonzero(self._open_R) < COMPACT_BELOW * len(self._open_R):
                self._compress()

    def _compress(self) -> None:
        """Drop the rows of pruned networks."""
        self._genes_RG = np.asfortranarray(self._genes_RG[self._open_R])
        self._rows, self._cost_R = self._rows[self._open_R], self._cost_R[self._open_R]
        self._open_R = np.ones(len(self._rows), dtype=bool)
