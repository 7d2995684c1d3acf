"""Rankings of finished trials and neighbours of architectures, shared by several strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.architecture import Architecture
from nas.history import History, Trial
from nas.multiobjective.pareto import front_ranks
from nas.space import SearchSpace


def constrained_ranks(values_NM: np.ndarray, excess_N: np.ndarray) -> np.ndarray:
    """Rank by Pareto front, with infeasible rows after all feasible ones, in the order of their excess.

    Source: constrained domination, Deb et al., NSGA-II, IEEE Trans. Evol. Comp. 6(2), 2002, section VI-A.

    Args:
        values_NM: (N, M) values, larger is better.
        excess_N: (N,) violation of the constraints, 0 for feasible rows.

    Returns:
        (N,) int, 0 is best.
    """
    feasible_N = excess_N <= 0
    rank_N = np.zeros(len(values_NM), dtype=np.int64)
    rank_N[feasible_N] = front_ranks(values_NM[feasible_N])
    first = rank_N[feasible_N].max(initial=-1) + 1
    rank_N[~feasible_N] = first + np.unique(excess_N[~feasible_N], return_inverse=True)[1]
    return rank_N


def best_first(history: History, records: Sequence[Trial]) -> list[int]:
    """Sort finished trials by constrained rank, ties by score, then by position.

    Args:
        history: Objectives and constraints.
        records: Finished trials.

    Returns:
        Indices into `records`, the best first.
    """
    rank_N = constrained_ranks(history.values(records), history.violations(records))
    return np.lexsort((-history.scores(records), rank_N)).tolist()


def best_and_newest(history: History, limit: int) -> list[Trial]:
    """Select final trials: half of them the best, half the newest of the rest.

    Args:
        history: Trials of the study.
        limit: Maximum number of trials.

    Returns:
        The trials in the order in which they finished.
    """
    done = history.final()
    if len(done) <= limit:
        return list(done)
    best = set(best_first(history, done)[: limit // 2])
    rest = [row for row in range(len(done)) if row not in best]
    return [done[row] for row in sorted([*best, *rest[-(limit - limit // 2) :]])]


def first_results(history: History) -> list[Trial]:
    """Return the first finished trial of every architecture and budget.

    Args:
        history: Trials of the study.

    Returns:
        Trials in the order in which they finished.
    """
    first: dict[tuple[str, int], Trial] = {}
    for record in history.complete():
        first.setdefault((record.arch.id, record.budget), record)
    return list(first.values())


def means(history: History) -> list[Trial]:
    """Return every finished architecture and budget once, with means over its replicates.

    Args:
        history: Trials of the study.

    Returns:
        First trials in the order in which they finished; metrics that some replicate lacks are left out.
    """
    return [_averaged(history, record) for record in first_results(history)]


def _averaged(history: History, record: Trial) -> Trial:
    runs = history.replicates(record.arch, record.budget)
    if len(runs) == 1:
        return record
    shared = [name for name in record.metrics if all(name in run.metrics for run in runs)]
    return replace(record, metrics={name: history.statistic(record, name).mean for name in shared})


def neighbours(space: SearchSpace, arch: Architecture) -> tuple[Architecture, ...]:
    """Return the distinct other architectures that result from changing one gene, after repair.

    Args:
        space: Space of the architecture.
        arch: Architecture to vary.

    Returns:
        Neighbours in the order of genes and choices.
    """
    distinct: dict[Architecture, None] = {}
    for position, gene in enumerate(space.genes):
        for choice in range(len(gene.choices)):
            if choice != arch.genes[position]:
                distinct[space.repair([*arch.genes[:position], choice, *arch.genes[position + 1 :]])] = None
    distinct.pop(arch, None)
    return tuple(distinct)
