"""What several strategies ask of finished trials and of architectures: which are better, and what lies next to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.architecture import Architecture
from nas.history import History, Record
from nas.multiobjective.pareto import front_ranks
from nas.space import SearchSpace


def constrained_ranks(values_NM: np.ndarray, excess_N: np.ndarray) -> np.ndarray:
    """(N,) int, 0 is best: what keeps the constraints by Pareto front; behind it what breaks them, less before more.

    values_NM: larger is better. excess_N: how far the constraints are broken, 0 = kept.
    Source: constrained domination, Deb et al., NSGA-II, IEEE Trans. Evol. Comp. 6(2), 2002, section VI-A.
    """
    kept_N = excess_N <= 0
    rank_N = np.zeros(len(values_NM), dtype=np.int64)
    rank_N[kept_N] = front_ranks(values_NM[kept_N])
    behind = rank_N[kept_N].max(initial=-1) + 1
    rank_N[~kept_N] = behind + np.unique(excess_N[~kept_N], return_inverse=True)[1]
    return rank_N


def best_first(history: History, records: Sequence[Record]) -> list[int]:
    """Positions of finished trials from the best to the worst: by constrained rank, ties by score, then by position."""
    rank_N = constrained_ranks(history.values(records), history.violations(records))
    return np.lexsort((-history.scores(records), rank_N)).tolist()


def best_and_newest(history: History, limit: int) -> list[Record]:
    """Of the networks' final trials at most `limit`, in the order in which they finished: half of them the best, the
    rest the newest of the others."""
    done = history.final()
    if len(done) <= limit:
        return list(done)
    best = set(best_first(history, done)[: limit // 2])
    others = [row for row in range(len(done)) if row not in best]
    return [done[row] for row in sorted([*best, *others[-(limit - limit // 2) :]])]


def first_results(history: History) -> list[Record]:
    """The first finished trial of every architecture and budget, in order of finishing."""
    first: dict[tuple[str, int], Record] = {}
    for record in history.complete():
        first.setdefault((record.arch.id, record.budget), record)
    return list(first.values())


def neighbours(space: SearchSpace, arch: Architecture) -> tuple[Architecture, ...]:
    """Every other architecture that one gene moved to another choice, then repaired, makes; each once, gene by gene."""
    found: dict[Architecture, None] = {}
    for position, gene in enumerate(space.genes):
        for choice in range(len(gene.choices)):
            if choice != arch.genes[position]:
                found[space.repair([*arch.genes[:position], choice, *arch.genes[position + 1 :]])] = None
    found.pop(arch, None)
    return tuple(found)
