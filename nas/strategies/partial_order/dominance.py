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


def count_above(genes_NG: np.ndarray, tops_KG: np.ndarray, ordered_G: np.ndarray, mask_NK: np.ndarray) -> np.ndarray:
    """Count for each row the networks at or above it in the partial order, by N * K * G comparisons.

    Args:
        genes_NG: (N, G) gene indices.
        tops_KG: (K, G) upper ends.
        ordered_G: (G,) bool, True for ordered genes.
        mask_NK: (N, K) bool, pairs to consider.

    Returns:
        (N,) int.
    """
    for genes_N, top_K, ordered in zip(genes_NG.T, tops_KG.T, ordered_G, strict=True):
        mask_NK = mask_NK & _compare(genes_N[:, None], top_K, ordered)
    return np.asarray(mask_NK.sum(axis=1))


def _compare(values: np.ndarray, top: np.ndarray, ordered: bool) -> np.ndarray:
    return np.asarray(values <= top if ordered else values == top)


class AppliedConstraints:
    """The constraints that a set has applied. A set never grows again: if one of them is missing, it is made anew.

    Args:
        witnesses: Constraints of different networks that have to prune a network, at least 1.
    """

    def __init__(self, witnesses: int) -> None:
        self.witnesses = witnesses
        self._applied: dict[tuple[int, ...], float] = {}  # genes -> lowest threshold
        self._scores: dict[tuple[int, ...], set[float]] = {}  # genes -> scores that became bounds

    def is_implied_by(self, constraints: Iterable[DominanceConstraint]) -> bool:
        """Check whether constraints prune everything that was pruned here, with the same bounds.

        Args:
            constraints: All constraints of the finished trials.

        Returns:
            False if a constraint applied before is missing, as when a mean has changed.
        """
        lowest: dict[tuple[int, ...], float] = {}
        scores: dict[tuple[int, ...], set[float]] = {}
        for constraint in constraints:
            lowest[constraint.genes] = min(constraint.threshold, lowest.get(constraint.genes, np.inf))
            scores.setdefault(constraint.genes, set()).add(constraint.score)
        return all(lowest.get(genes, np.inf) <= threshold for genes, threshold in self._applied.items()) and all(
            used <= scores.get(genes, set()) for genes, used in self._scores.items()
        )

    def _before(self, constraint: DominanceConstraint) -> float:
        """Cost from which on the network of a constraint has pruned before."""
        return self._applied.get(constraint.genes, np.inf)


class PrunedSet(AppliedConstraints):
    """Networks pruned by a growing list of constraints, for the progress line and the report.

    Each constraint is applied once, and again only if its threshold falls, so that the set never shrinks. Spaces of
    more than 2 million networks are represented by 100,000 samples.

    Args:
        space: Space of the search.
        cost: Cost of genes, (N, G) -> (N,).
        witnesses: Constraints of different networks that have to prune a network, at least 1.

    Attributes:
        exact: False if the networks are a sample.
        genes_NG: (N, G) genes of the networks.
        cost_N: (N,) their costs.
    """

    def __init__(self, space: SearchSpace, cost: CostFunction, witnesses: int = 1) -> None:
        enumeration = enumeration_of(space)
        self.exact = enumeration is not None
        if enumeration is not None:
            self.genes_NG = enumeration.genes_NG
            self.cost_N = enumeration.costs(cost)(self.genes_NG)
        else:
            rng = np.random.default_rng(0)
            self.genes_NG = np.asfortranarray(space.encode([space.sample(rng) for _ in range(SAMPLE_SIZE)]))
            self.cost_N = cost(self.genes_NG)
        self._lowest_N = np.full(len(self.genes_NG), np.inf)  # lowest score of the constraints met
        self._met_N = np.zeros(len(self.genes_NG), dtype=np.int32)  # networks with a constraint that is met
        self._ordered = space.ordered
        super().__init__(witnesses)

    def update(self, constraints: Iterable[DominanceConstraint]) -> None:
        """Apply constraints that are new or have a lower threshold than before.

        Args:
            constraints: All constraints of the finished trials.
        """
        for constraint in constraints:
            before = self._before(constraint)
            if before <= constraint.threshold:
                continue
            open_N = self.cost_N >= constraint.threshold
            if self.witnesses == 1:
                open_N &= self._lowest_N > constraint.score
            top_G = np.array(constraint.genes, dtype=self.genes_NG.dtype)
            rows = below(self.genes_NG, top_G, self._ordered, open_N)
            self._lowest_N[rows] = np.minimum(self._lowest_N[rows], constraint.score)
            self._met_N[rows[self.cost_N[rows] < before]] += 1
            self._applied[constraint.genes] = constraint.threshold
            self._scores.setdefault(constraint.genes, set()).add(constraint.score)

    @property
    def mask(self) -> np.ndarray:
        """(N,) bool, True for pruned networks."""
        return np.isfinite(self.bound_N)

    @property
    def bound_N(self) -> np.ndarray:
        """(N,) upper bounds on their scores, inf if not pruned."""
        if self.witnesses == 1:
            return self._lowest_N
        return np.where(self._met_N >= self.witnesses, self._lowest_N, np.inf)

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
        witnesses: Constraints of different networks that have to prune a network, at least 1.

    Attributes:
        mask: (N,) bool, True for surviving networks.
    """

    def __init__(self, genes_NG: np.ndarray, cost_N: np.ndarray, ordered_G: np.ndarray, witnesses: int = 1) -> None:
        self.mask = np.ones(len(genes_NG), dtype=bool)
        self._ordered = ordered_G
        self._rows, self._genes_RG, self._cost_R = np.arange(len(genes_NG)), genes_NG, cost_N
        self._open_R = np.ones(len(genes_NG), dtype=bool)
        self._needed_R = np.full(len(genes_NG), witnesses, dtype=np.int32)  # constraints that are still missing
        super().__init__(witnesses)

    def update(self, constraints: Iterable[DominanceConstraint]) -> None:
        """Apply constraints that are new or have a lower threshold; the largest networks first, as they prune most.

        Args:
            constraints: All constraints of the finished trials.
        """
        new = [constraint for constraint in constraints if self._before(constraint) > constraint.threshold]
        for constraint in sorted(new, key=lambda constraint: -sum(constraint.genes)):
            before = self._before(constraint)
            top_G = np.array(constraint.genes, dtype=self._genes_RG.dtype)
            wanted_R = (self._cost_R >= constraint.threshold) & (self._cost_R < before)
            hit = below(self._genes_RG, top_G, self._ordered, self._open_R & wanted_R)
            self._needed_R[hit] -= 1
            hit = hit[self._needed_R[hit] <= 0]
            self._open_R[hit] = False
            self._applied[constraint.genes] = min(constraint.threshold, before)
            self.mask[self._rows[hit]] = False
            if np.count_nonzero(self._open_R) < COMPACT_BELOW * len(self._open_R):
                self._compress()

    def _compress(self) -> None:
        """Drop the rows of pruned networks."""
        self._genes_RG = np.asfortranarray(self._genes_RG[self._open_R])
        self._rows, self._cost_R = self._rows[self._open_R], self._cost_R[self._open_R]
        self._needed_R = self._needed_R[self._open_R]
        self._open_R = np.ones(len(self._rows), dtype=bool)
