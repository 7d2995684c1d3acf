"""Which part of a space partial-order pruning has ruled out: cuts, and their bookkeeping over the whole space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from nas.history import CostFunction
from nas.space import SearchSpace
from nas.strategies.enumeration import listing

SAMPLE = 100_000  # networks that stand for a space that is too large to list
WHOLE_COLUMNS = 8
KEPT_SHARE = 0.75  # of the rows of an OpenSet, below which those that were ruled out are dropped


class Cut(NamedTuple):
    """Rules out every x with x <= genes and cost(x) >= threshold; score: what bounds the score of those x."""

    genes: tuple[int, ...]
    threshold: float
    score: float


def below(genes_NG: np.ndarray, top_G: np.ndarray, ordered_G: np.ndarray, mask_N: np.ndarray) -> np.ndarray:
    """Rows of `mask_N` whose genes lie at or under `top_G` in the partial order: <= where ordered, == elsewhere.

    The most selective columns are compared whole (fast on a column-major matrix), the others on the rows that are left.
    """
    columns = np.argsort(top_G, kind="stable")  # small genes rule out most
    for column in columns[:WHOLE_COLUMNS]:
        mask_N = mask_N & _compare(genes_NG[:, column], top_G[column], ordered_G[column])
    rows = np.flatnonzero(mask_N)
    for column in columns[WHOLE_COLUMNS:]:
        if not len(rows):
            break
        rows = rows[_compare(genes_NG[rows, column], top_G[column], ordered_G[column])]
    return rows


def below_any(genes_NG: np.ndarray, tops_KG: np.ndarray, ordered_G: np.ndarray, mask_NK: np.ndarray) -> np.ndarray:
    """(N,) bool: rows that lie at or under one of the tops for which `mask_NK` stands. Takes N * K * G comparisons."""
    for genes_N, top_K, ordered in zip(genes_NG.T, tops_KG.T, ordered_G, strict=True):
        mask_NK = mask_NK & _compare(genes_N[:, None], top_K, ordered)
    return np.asarray(mask_NK.any(axis=1))


def _compare(values: np.ndarray, top: np.ndarray, ordered: bool) -> np.ndarray:
    return np.asarray(values <= top if ordered else values == top)


def implies(cuts: Iterable[Cut], applied: Mapping[tuple[int, ...], float]) -> bool:
    """Whether cuts rule out everything that other cuts, genes -> threshold, have ruled out."""
    lowest: dict[tuple[int, ...], float] = {}
    for cut in cuts:
        lowest[cut.genes] = min(cut.threshold, lowest.get(cut.genes, np.inf))
    return all(lowest.get(genes, np.inf) <= threshold for genes, threshold in applied.items())


class PrunedSet:
    """Follows which architectures a growing list of cuts has ruled out, for the progress line and the report.

    Each cut is applied once, and again only when its threshold falls; the set only ever grows. Spaces of more than
    2 million networks are represented by 100,000 samples (`exact` is then False).
    """

    def __init__(self, space: SearchSpace, cost: CostFunction) -> None:
        listed = listing(space)
        self.exact = listed is not None
        if listed is not None:
            self.genes_NG = listed.genes_NG
            self.cost_N = listed.costs(cost)(self.genes_NG)
        else:
            rng = np.random.default_rng(0)
            self.genes_NG = np.asfortranarray(space.encode([space.sample(rng) for _ in range(SAMPLE)]))
            self.cost_N = cost(self.genes_NG)
        self.bound_N = np.full(len(self.genes_NG), np.inf)
        self._ordered = space.ordered
        self._applied: dict[tuple[int, ...], float] = {}

    def update(self, cuts: Iterable[Cut]) -> None:
        """Applies the cuts that are new or have become sharper."""
        for cut in cuts:
            if self._applied.get(cut.genes, np.inf) <= cut.threshold:
                continue
            open_N = (self.cost_N >= cut.threshold) & (self.bound_N > cut.score)
            rows = below(self.genes_NG, np.array(cut.genes, dtype=self.genes_NG.dtype), self._ordered, open_N)
            self.bound_N[rows] = cut.score
            self._applied[cut.genes] = cut.threshold

    @property
    def mask(self) -> np.ndarray:
        """(N,) bool: ruled out. The bound on the score of these rows is `bound_N`."""
        return np.isfinite(self.bound_N)

    @property
    def share(self) -> float:
        """Share of the space that is ruled out."""
        return float(self.mask.mean())

    def is_implied_by(self, cuts: Iterable[Cut]) -> bool:
        """Whether these cuts rule out everything that was ever ruled out here."""
        return implies(cuts, self._applied)


class OpenSet:
    """The networks of a listed space that no cut rules out. It only shrinks, and with it the time of a further cut.

    genes_NG, cost_N: the whole space. `mask` is over all of it.
    """

    def __init__(self, genes_NG: np.ndarray, cost_N: np.ndarray, ordered_G: np.ndarray) -> None:
        self.mask = np.ones(len(genes_NG), dtype=bool)
        self._ordered = ordered_G
        self._rows, self._genes_RG, self._cost_R = np.arange(len(genes_NG)), genes_NG, cost_N
        self._open_R = np.ones(len(genes_NG), dtype=bool)
        self._applied: dict[tuple[int, ...], float] = {}

    def update(self, cuts: Iterable[Cut]) -> None:
        """Applies the cuts that are new or have become sharper, the largest networks first, as they rule out most."""
        new = [cut for cut in cuts if self._applied.get(cut.genes, np.inf) > cut.threshold]
        for cut in sorted(new, key=lambda cut: -sum(cut.genes)):
            top_G = np.array(cut.genes, dtype=self._genes_RG.dtype)
            hit = below(self._genes_RG, top_G, self._ordered, self._open_R & (self._cost_R >= cut.threshold))
            self._open_R[hit] = False
            self._applied[cut.genes] = min(cut.threshold, self._applied.get(cut.genes, np.inf))
            self.mask[self._rows[hit]] = False
            if np.count_nonzero(self._open_R) < KEPT_SHARE * len(self._open_R):
                self._compress()

    def _compress(self) -> None:
        self._genes_RG = np.asfortranarray(self._genes_RG[self._open_R])
        self._rows, self._cost_R = self._rows[self._open_R], self._cost_R[self._open_R]
        self._open_R = np.ones(len(self._rows), dtype=bool)

    def is_implied_by(self, cuts: Iterable[Cut]) -> bool:
        """Whether these cuts rule out everything that was ever ruled out here."""
        return implies(cuts, self._applied)
