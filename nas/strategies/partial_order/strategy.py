"""Partial-order pruning: never train what a finished trial shows to be dominated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from nas.architecture import Architecture
from nas.history import CostFunction, History, Proposal, Record
from nas.multiobjective.pareto import front_mask
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.enumeration import Listing, listing
from nas.strategies.partial_order.cuts import Cut, OpenSet, PrunedSet, below, below_any
from nas.strategies.ranking import first_results
from nas.strategies.sampling import (
    LARGEST_BATCH,
    CostWindow,
    draw,
    draw_by_sampling,
    draw_from_list,
    early_batch,
)
from nas.utils.checked import Count, NonNegativeFloat, checked

AT_ONCE = 20_000_000  # comparisons N * K * G that one expression may make; beyond it, cut by cut with early exits


@checked("strategy")
class PartialOrderPruning(Strategy):
    """Samples what is left of the space; prunes x where finished trials m, y (y != m) give

        x <= m,  score(y) >= score(m) + margin,  cost(y) <= cost(x),  y keeps every constraint.

    Believing that a smaller network (in the partial order of the space) scores no better, x is dominated by y. Cost is
    the study's deterministic cost; only finished trials of the same budget enter, so the pruned set only ever grows,
    and a worker with an old view wastes work at worst. m need not keep the constraints: it only bounds the score of x.
    Nothing is pruned where the study has an objective besides the score and that cost, on which x may still be best,
    or where its score is itself a cost, which a smaller network improves.
    margin: in units of the score, to allow for noisy training. cost_min, cost_max: window of costs to search in.
    patience: stop when so many finished trials in a row have left the Pareto front as it was (0: never).
    Source: Li et al., Partial Order Pruning, CVPR 2019 (arXiv 1903.03777); Jiang et al., NAS-Lung (arXiv 2101.07429).
    """

    def __init__(
        self,
        margin: NonNegativeFloat = 0.0,
        cost_min: NonNegativeFloat | None = None,
        cost_max: NonNegativeFloat | None = None,
        patience: Count = 30,
    ) -> None:
        self.margin, self.patience = margin, patience
        self.limits = CostWindow(cost_min, cost_max)
        self._followed: tuple[tuple[str, CostFunction], OpenSet] | None = None  # saves time: see `_open`
        self._costs: tuple[CostFunction, dict[tuple[int, ...], float]] | None = None  # saves time: see `_costs_of`

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        facts = first_results(history)
        cost_N = self._costs_of(facts, history)
        if self.patience and has_stalled(facts, cost_N, history, self.patience):
            return None
        arch = self._draw(space, history, self._all_cuts(facts, cost_N, history), rng)
        return None if arch is None else Proposal(arch)

    def _draw(
        self, space: SearchSpace, history: History, cuts: list[Cut], rng: np.random.Generator
    ) -> Architecture | None:
        """As `draw`; the whole space is looked through in the bookkeeping of the cuts that were applied before."""
        accept = _Accept(self.limits, cuts, space)
        if not cuts:
            return draw(space, history, accept, rng)
        arch = draw_by_sampling(space, history, accept, rng, early_batch(space))
        listed = None if arch is not None else listing(space)
        if listed is None:
            return arch or draw_by_sampling(space, history, accept, rng, LARGEST_BATCH)
        kept_N = self.limits(listed.genes_NG, listed.costs(history.cost)) & self._open(
            space, listed, history.cost, cuts
        )
        return draw_from_list(space, history, listed, kept_N, rng)

    def _open(self, space: SearchSpace, listed: Listing, cost: CostFunction, cuts: list[Cut]) -> np.ndarray:
        """(N,) bool: what no cut rules out. The set of the last call shrinks by the new cuts; where the history lacks
        what was applied then (another study, a shorter view), it is made anew: the answer depends on the cuts alone."""
        key = (space.fingerprint, cost)
        if self._followed is None or self._followed[0] != key or not self._followed[1].is_implied_by(cuts):
            cost_N = listed.costs(cost)(listed.genes_NG)
            self._followed = (key, OpenSet(listed.genes_NG, cost_N, space.ordered))
        self._followed[1].update(cuts)
        return self._followed[1].mask

    def cuts(self, history: History) -> list[Cut]:
        """For each finished m the lowest cost of another y, one that keeps the constraints and scores at least
        `margin` above m, where there is one.

        Only results of one budget are compared with each other; the cuts of all budgets count.
        """
        facts = first_results(history)
        return self._all_cuts(facts, self._costs_of(facts, history), history)

    def _costs_of(self, facts: Sequence[Record], history: History) -> np.ndarray:
        """(N,) deterministic costs; each network's is computed once for a cost function."""
        if self._costs is None or self._costs[0] is not history.cost:
            self._costs = (history.cost, {})
        known = self._costs[1]
        new = list(dict.fromkeys(record.arch.genes for record in facts if record.arch.genes not in known))
        if new:
            known.update(zip(new, history.cost(matrix(new, len(new[0]))).tolist(), strict=True))
        return np.array([known[record.arch.genes] for record in facts], dtype=np.float64)

    def _all_cuts(self, facts: Sequence[Record], cost_N: np.ndarray, history: History) -> list[Cut]:
        costs = {history.cost_name, *history.costs}
        if history.score in costs or set(history.objectives) - {history.score, history.cost_name}:
            return []
        if history.objectives.get(history.cost_name) == "maximize":
            return []
        groups: dict[int, list[int]] = {}
        for row, record in enumerate(facts):
            groups.setdefault(record.budget, []).append(row)
        return [
            cut for rows in groups.values() for cut in self._cuts([facts[row] for row in rows], cost_N[rows], history)
        ]

    def _cuts(self, facts: list[Record], cost_N: np.ndarray, history: History) -> list[Cut]:
        score_N = history.scores(facts)
        order_N = np.argsort(-score_N, kind="stable")
        usable_N = np.where(history.violations(facts) == 0, cost_N, np.inf)[order_N]
        cheapest_N, second_N = two_smallest_of_prefixes(usable_N)
        # y qualifies for m when score(y) >= score(m) + margin: a prefix of the order by falling score
        reach_N = np.searchsorted(-score_N[order_N], -(score_N + self.margin), side="right")
        last_N = reach_N - 1  # -1, no y at all, is masked out below
        winner_N = cheapest_N[last_N]
        threshold_N = np.where(order_N[winner_N] == np.arange(len(facts)), second_N[last_N], usable_N[winner_N])
        rows = np.flatnonzero((reach_N > 0) & np.isfinite(threshold_N))
        genes = [facts[row].arch.genes for row in rows.tolist()]
        return list(map(Cut, genes, threshold_N[rows].tolist(), score_N[rows].tolist()))

    def pruned_set(self, space: SearchSpace, cost: CostFunction) -> PrunedSet:
        return PrunedSet(space, cost)


class _Accept:
    """What the window admits and no cut rules out."""

    def __init__(self, window: CostWindow, cuts: list[Cut], space: SearchSpace) -> None:
        self.window, self.ordered_G = window, space.ordered
        self.tops_KG = matrix([cut.genes for cut in cuts], len(space.genes))
        self.threshold_K = np.array([cut.threshold for cut in cuts])

    def __call__(self, genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
        kept_N = self.window(genes_NG, cost)
        if not len(self.tops_KG):
            return kept_N
        cost_N = cost(genes_NG)
        if genes_NG.size * len(self.tops_KG) <= AT_ONCE:
            dear_NK = cost_N[:, None] >= self.threshold_K
            return np.asarray(kept_N & ~below_any(genes_NG, self.tops_KG, self.ordered_G, dear_NK))
        for top_G, threshold in zip(self.tops_KG, self.threshold_K, strict=True):
            kept_N[below(genes_NG, top_G, self.ordered_G, kept_N & (cost_N >= threshold))] = False
        return kept_N


def matrix(genes: Sequence[tuple[int, ...]], length: int) -> np.ndarray:
    """(N, length) int16, of many rows in half the time of `np.array`."""
    return np.fromiter(chain.from_iterable(genes), np.int16, len(genes) * length).reshape(len(genes), length)


def has_stalled(facts: Sequence[Record], cost_N: np.ndarray, history: History, patience: int) -> bool:
    """Whether the last `patience` finished trials have left the Pareto front of all objectives and the cost as it was.

    Only networks that keep the constraints are of the front; before there is one, nothing has stalled.
    """
    feasible_N = history.violations(facts) == 0
    values_NM = history.values(facts)[feasible_N]
    if history.cost_name not in history.objectives:
        values_NM = np.column_stack([values_NM, -cost_N[feasible_N]])
    early = int(feasible_N[: len(facts) - patience].sum()) if len(facts) >= patience else 0
    if not early:
        return False
    front_FM = values_NM[:early][front_mask(values_NM[:early])]
    for value_M in values_NM[early:]:  # what the front dominates leaves it as it is
        if not ((front_FM >= value_M).all(axis=1) & (front_FM > value_M).any(axis=1)).any():
            return False
    return True


def two_smallest_of_prefixes(cost_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each prefix of the costs: the position of its smallest value (the first such), and its second smallest."""
    count = len(cost_N)
    before_N = np.concatenate([[np.inf], np.minimum.accumulate(cost_N)[:-1]])  # smallest value so far, without its own
    falls_N = cost_N < before_N
    cheapest_N = np.maximum.accumulate(np.where(falls_N, np.arange(count), 0))
    return cheapest_N, np.minimum.accumulate(np.where(falls_N, before_N, cost_N))
