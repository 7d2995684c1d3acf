"""Which part of a space partial-order pruning has ruled out: cuts, and their bookkeeping over the whole space."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nas.history import CostFunction
from nas.space import SearchSpace

LISTED = 2_000_000  # larger spaces are represented by a fixed sample
SAMPLE = 100_000


@dataclass(frozen=True, slots=True)
class Cut:
    """Rules out every x with x <= genes and cost(x) >= threshold; score: what bounds the score of those x."""

    genes: tuple[int, ...]
    threshold: float
    score: float


def below(genes_NG: np.ndarray, top_G: np.ndarray, ordered_G: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` whose genes lie at or under `top_G` in the partial order: <= where ordered, == elsewhere.

    Column by column, so that after a few columns only a few rows are left to look at.
    """
    for column in np.argsort(top_G, kind="stable"):  # small genes rule out most
        values = genes_NG[rows, column]
        keep = values <= top_G[column] if ordered_G[column] else values == top_G[column]
        rows = rows[keep]
        if not len(rows):
            break
    return rows


class PrunedSet:
    """Follows which architectures a growing list of cuts has ruled out, for the progress line and the report.

    Each cut is applied once, and again only when its threshold falls; the set only ever grows. Spaces of more than
    2 million networks are represented by 100,000 samples (`exact` is then False).
    """

    def __init__(self, space: SearchSpace, cost: CostFunction) -> None:
        every = space.enumerate()
        self.exact = every is not None and len(every) <= LISTED
        if every is None or not self.exact:
            rng = np.random.default_rng(0)
            every = space.encode([space.sample(rng) for _ in range(SAMPLE)])
        self.genes_NG = np.asfortranarray(every)
        self.cost_N = cost(self.genes_NG)
        self.bound_N = np.full(len(self.genes_NG), np.inf)
        self._ordered = space.ordered
        self._applied: dict[tuple[int, ...], float] = {}

    def update(self, cuts: Iterable[Cut]) -> None:
        """Applies the cuts that are new or have become sharper."""
        for cut in cuts:
            if self._applied.get(cut.genes, np.inf) <= cut.threshold:
                continue
            rows = np.flatnonzero((self.cost_N >= cut.threshold) & (self.bound_N > cut.score))
            rows = below(self.genes_NG, np.array(cut.genes), self._ordered, rows)
            self.bound_N[rows] = cut.score
            self._applied[cut.genes] = cut.threshold

    @property
    def mask(self) -> np.ndarray:
        """(N,) bool: ruled out. The bound on the score of these rows is `bound_N`."""
        return np.isfinite(self.bound_N)

    @property
    def share(self) -> float:
        return float(self.mask.mean())
