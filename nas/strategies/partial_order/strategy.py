"""Partial-order pruning: skip networks that finished trials show to be dominated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np

from nas.architecture import Architecture
from nas.context import RunContext
from nas.errors import NASError
from nas.evaluators.base import Evaluator
from nas.history import CostFunction, History, Proposal, Trial
from nas.multiobjective.pareto import front_mask
from nas.problem import Problem
from nas.space import SearchSpace
from nas.strategies.base import RuledOut, Strategy
from nas.strategies.enumeration import Enumeration, enumeration_of
from nas.strategies.partial_order.dominance import DominanceConstraint, PrunedSet, SurvivingSet, below, count_above
from nas.strategies.partial_order.noise import noise_of
from nas.strategies.ranking import means
from nas.strategies.sampling import (
    LARGEST_BATCH,
    CostWindow,
    draw,
    draw_by_sampling,
    draw_from_list,
    early_batch,
)
from nas.utils.annotations import AtLeastTwo, Count, NonNegativeFloat, OneOf, Several, Strength
from nas.utils.checked import checked
from nas.utils.identity import described

AUTO = "auto"  # margin from the measured noise
MAX_COMPARISONS = 20_000_000  # N * K * G of one expression; above it, constraints are applied one after another


@checked("strategy")
class PartialOrderPruning(Strategy):
    """Random search that prunes networks dominated by finished trials.

    A network x is pruned if finished trials m, y (y != m) exist with

        x <= m,  score(y) >= score(m) + margin,  cost(y) <= cost(x),  y is feasible.

    Under the assumption that a smaller network (in the partial order of the space) has no better score, y dominates x.
    Scores are means over replicates. With `margin=auto` the margin of a pair is two standard errors of the difference
    of their means, from the deviation between replicates, pooled over networks, and their numbers; the first `repeats`
    networks are trained twice to measure it, and nothing is pruned before. x needs `witnesses` such networks m.

    The cost is the study's deterministic cost. Only finished trials of the same budget are compared, so that the pruned
    set never shrinks: a worker with an outdated history can only waste work. m may be infeasible, as it only bounds the
    score of x. Nothing is pruned if the study has another objective besides score and cost, in which x may be best, or
    if the score is itself a cost, which a smaller network improves.

    Source: Li et al., Partial Order Pruning, CVPR 2019 (arXiv 1903.03777); Jiang et al., NAS-Lung (arXiv 2101.07429).

    Args:
        margin: Tolerance for noisy scores, in units of the score, at least 0, or "auto".
        cost_min: Minimum cost in the study's cost unit. If None, there is no minimum.
        cost_max: Maximum cost. If None, there is no maximum.
        patience: Stop after this number of successive finished trials without a change of the Pareto front; 0 disables
            stopping.
        witnesses: Networks m that have to show that x is dominated, at least 1.
        repeats: Networks that are trained twice with `margin=auto`, at least 2.

    Raises:
        NASError: If a value is out of range.
    """

    def __init__(
        self,
        margin: Strength | Annotated[str, OneOf("auto")] = 0.0,
        cost_min: NonNegativeFloat | None = None,
        cost_max: NonNegativeFloat | None = None,
        patience: Count = 30,
        witnesses: Several = 1,
        repeats: AtLeastTwo = 5,
    ) -> None:
        self.margin, self.patience, self.witnesses, self.repeats = margin, patience, witnesses, repeats
        self.cost_min, self.cost_max = cost_min, cost_max
        self.limits = CostWindow(cost_min, cost_max)
        self._pruned: tuple[tuple[str, CostFunction], PrunedSet] | None = None  # cache of `ruled_out`
        self._surviving_set: tuple[tuple[str, CostFunction], SurvivingSet] | None = None  # cache of `_surviving`
        self._costs: tuple[CostFunction, dict[tuple[int, ...], float]] | None = None  # cache of `_costs_of`

    @property
    def identity(self) -> Mapping[str, Any]:
        """The strategy as a study records it; later arguments only if they are used, so that earlier studies go on."""
        found = described(self)
        unused = {"witnesses": self.witnesses == 1, "repeats": self.margin != AUTO}
        return {name: value for name, value in found.items() if not unused.get(name)}

    def check_evaluator(self, evaluator: Evaluator, context: RunContext) -> None:
        """Check the evaluator, and that it gives the replicates that `margin=auto` measures the noise by."""
        super().check_evaluator(evaluator, context)
        if self.margin == AUTO and evaluator.replicates is not None and evaluator.replicates < 2:
            raise NASError(
                f"strategy.margin=auto with {type(evaluator).__name__}, which gives one result for each network",
                "an evaluator whose results differ between replicates, by which the noise is measured",
                "set strategy.margin to a number",
            )

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        facts = means(history)
        again = self._to_repeat(facts, history) if self.margin == AUTO else None
        if again is not None:
            return again
        cost_N = self._costs_of(facts, history)
        if self.patience and has_stalled(facts, cost_N, history, self.patience):
            return None
        arch = self._draw(space, history, self._all_constraints(facts, cost_N, history), rng)
        return None if arch is None else Proposal(arch)

    def _to_repeat(self, facts: Sequence[Trial], history: History) -> Proposal | None:
        """Return the second replicate of one of the first networks, unless it was tried before."""
        tried = {(record.arch.id, record.budget) for record in history if record.replicate == 1}
        if len(tried) >= self.repeats:
            return None
        single = (record for record in facts if (record.arch.id, record.budget) not in tried)
        return next((Proposal(record.arch, record.budget, 1) for record in single), None)

    def _draw(
        self, space: SearchSpace, history: History, constraints: list[DominanceConstraint], rng: np.random.Generator
    ) -> Architecture | None:
        """Like `draw`, with the cached surviving set instead of `accept` on the whole enumeration."""
        accept = _Accept(self.limits, constraints, space, self.witnesses)
        if not constraints:
            return draw(space, history, accept, rng)
        arch = draw_by_sampling(space, history, accept, rng, early_batch(space))
        enumeration = None if arch is not None else enumeration_of(space)
        if enumeration is None:
            return arch or draw_by_sampling(space, history, accept, rng, LARGEST_BATCH)
        within_N = self.limits(enumeration.genes_NG, enumeration.costs(history.cost))
        surviving_N = self._surviving(space, enumeration, history.cost, constraints)
        return draw_from_list(space, history, enumeration, within_N & surviving_N, rng)

    def _surviving(
        self,
        space: SearchSpace,
        enumeration: Enumeration,
        cost: CostFunction,
        constraints: list[DominanceConstraint],
    ) -> np.ndarray:
        """(N,) bool, True for networks that no constraint prunes.

        The cached set is updated. If it has constraints that are missing now (another study, an outdated history), it
        is rebuilt, so that the result depends on the constraints only.
        """
        key = (space.fingerprint, cost)
        cached = self._surviving_set
        if cached is None or cached[0] != key or not cached[1].is_implied_by(constraints):
            cost_N = enumeration.costs(cost)(enumeration.genes_NG)
            cached = self._surviving_set = (
                key,
                SurvivingSet(enumeration.genes_NG, cost_N, space.ordered, self.witnesses),
            )
        cached[1].update(constraints)
        return cached[1].mask

    def cuts(self, history: History) -> list[DominanceConstraint]:
        """Return the dominance constraints of the finished trials.

        The threshold of a trial m is the lowest cost of another feasible trial with the same budget that scores at
        least the margin more.

        Args:
            history: Trials of the study.

        Returns:
            At most one constraint per architecture and budget.
        """
        facts = means(history)
        return self._all_constraints(facts, self._costs_of(facts, history), history)

    def _costs_of(self, facts: Sequence[Trial], history: History) -> np.ndarray:
        """(N,) deterministic costs, cached per network."""
        if self._costs is None or self._costs[0] is not history.cost:
            self._costs = (history.cost, {})
        known = self._costs[1]
        new = list(dict.fromkeys(record.arch.genes for record in facts if record.arch.genes not in known))
        if new:
            known.update(zip(new, history.cost(matrix(new, len(new[0]))).tolist(), strict=True))
        return np.array([known[record.arch.genes] for record in facts], dtype=np.float64)

    def _all_constraints(
        self, facts: Sequence[Trial], cost_N: np.ndarray, history: History
    ) -> list[DominanceConstraint]:
        costs = {history.cost_name, *history.costs}
        if history.score in costs or set(history.objectives) - {history.score, history.cost_name}:
            return []
        if history.objectives.get(history.cost_name) == "maximize":
            return []
        groups: dict[int, list[int]] = {}
        for row, record in enumerate(facts):
            groups.setdefault(record.budget, []).append(row)
        return [
            constraint
            for rows in groups.values()
            for constraint in self._constraints([facts[row] for row in rows], cost_N[rows], history)
        ]

    def _constraints(self, facts: list[Trial], cost_N: np.ndarray, history: History) -> list[DominanceConstraint]:
        score_N = history.scores(facts)
        usable_N = np.where(history.violations(facts) == 0, cost_N, np.inf)
        if self.margin == AUTO:
            noise = noise_of(facts, history)
            groups = [(noise.counts_N == count, noise.margins(count)) for count in np.unique(noise.counts_N)]
        else:
            groups = [(np.ones(len(facts), dtype=bool), np.full(len(facts), float(self.margin)))]
        threshold_N = np.full(len(facts), np.inf)
        for member_N, margin_N in groups:
            threshold_N = np.minimum(threshold_N, lowest_costs(score_N, usable_N, np.flatnonzero(member_N), margin_N))
        rows = np.flatnonzero(np.isfinite(threshold_N))
        genes = [facts[row].arch.genes for row in rows.tolist()]
        return list(map(DominanceConstraint, genes, threshold_N[rows].tolist(), score_N[rows].tolist()))

    def ruled_out(self, problem: Problem, history: History) -> RuledOut | None:
        """Return the networks that the finished trials rule out.

        Args:
            problem: Space, task, cost, objectives and constraints.
            history: Finished and running trials.

        Returns:
            The networks, or None if costs are no sums over blocks, because every network would have to be profiled.
        """
        if not problem.cost.is_sum:
            return None
        cuts, key = self.cuts(history), (problem.space.fingerprint, problem.cost)
        if self._pruned is None or self._pruned[0] != key or not self._pruned[1].is_implied_by(cuts):
            self._pruned = (key, PrunedSet(problem.space, problem.cost, self.witnesses))
        pruned = self._pruned[1]
        pruned.update(cuts)
        mask_N, sign = pruned.mask, history.sign[history.score]
        bound_N = sign * pruned.bound_N[mask_N]
        return RuledOut(pruned.share, pruned.genes_NG[mask_N], pruned.cost_N[mask_N], bound_N)


class _Accept:
    """Accepts networks in the cost window that fewer constraints prune than are needed."""

    def __init__(
        self, window: CostWindow, constraints: list[DominanceConstraint], space: SearchSpace, witnesses: int = 1
    ) -> None:
        self.window, self.ordered_G, self.witnesses = window, space.ordered, witnesses
        lowest: dict[tuple[int, ...], float] = {}  # one constraint per network, also with several budgets
        for constraint in constraints:
            lowest[constraint.genes] = min(constraint.threshold, lowest.get(constraint.genes, np.inf))
        self.tops_KG = matrix(list(lowest), len(space.genes))
        self.threshold_K = np.array(list(lowest.values()))

    def __call__(self, genes_NG: np.ndarray, cost: CostFunction) -> np.ndarray:
        accepted_N = self.window(genes_NG, cost)
        if not len(self.tops_KG):
            return accepted_N
        cost_N = cost(genes_NG)
        if genes_NG.size * len(self.tops_KG) <= MAX_COMPARISONS:
            expensive_NK = cost_N[:, None] >= self.threshold_K
            count_N = count_above(genes_NG, self.tops_KG, self.ordered_G, expensive_NK)
            return np.asarray(accepted_N & (count_N < self.witnesses))
        needed_N = np.full(len(genes_NG), self.witnesses)
        for top_G, threshold in zip(self.tops_KG, self.threshold_K, strict=True):
            needed_N[below(genes_NG, top_G, self.ordered_G, accepted_N & (cost_N >= threshold))] -= 1
            accepted_N &= needed_N > 0
        return accepted_N


def matrix(genes: Sequence[tuple[int, ...]], length: int) -> np.ndarray:
    """Convert genes to a matrix, in half the time of `np.array` for many rows.

    Args:
        genes: Gene indices of N networks.
        length: Number of genes G.

    Returns:
        (N, G) int16.
    """
    return np.fromiter(chain.from_iterable(genes), np.int16, len(genes) * length).reshape(len(genes), length)


def has_stalled(facts: Sequence[Trial], cost_N: np.ndarray, history: History, patience: int) -> bool:
    """Check whether the last trials have not changed the Pareto front of all objectives and the cost.

    Args:
        facts: N finished trials in their order.
        cost_N: (N,) costs.
        history: Objectives and constraints.
        patience: Number of last trials.

    Returns:
        True if none of them is on the front of feasible trials; False if there is no feasible earlier trial.
    """
    feasible_N = history.violations(facts) == 0
    values_NM = history.values(facts)[feasible_N]
    if history.cost_name not in history.objectives:
        values_NM = np.column_stack([values_NM, -cost_N[feasible_N]])
    early = int(feasible_N[: len(facts) - patience].sum()) if len(facts) >= patience else 0
    if not early:
        return False
    front_FM = values_NM[:early][front_mask(values_NM[:early])]
    for value_M in values_NM[early:]:  # dominated values do not change the front
        if not ((front_FM >= value_M).all(axis=1) & (front_FM > value_M).any(axis=1)).any():
            return False
    return True


def lowest_costs(score_N: np.ndarray, cost_N: np.ndarray, better: np.ndarray, margin_N: np.ndarray) -> np.ndarray:
    """Return the lowest cost among other networks that score at least a margin more.

    Args:
        score_N: (N,) scores, larger is better.
        cost_N: (N,) costs, infinite for networks that may not dominate.
        better: Rows of the networks that may dominate.
        margin_N: (N,) margin over each network; infinite if nothing is better.

    Returns:
        (N,) costs, infinite if there is no such network.
    """
    order_K = better[np.argsort(-score_N[better], kind="stable")]
    cheapest_K, second_K = two_smallest_of_prefixes(cost_N[order_K])
    # all networks with a score of at least score + margin are a prefix of the order by descending score
    reach_N = np.searchsorted(-score_N[order_K], -(score_N + margin_N), side="right")
    last_N = np.maximum(reach_N - 1, 0)
    winner_N = cheapest_K[last_N]
    own_N = order_K[winner_N] == np.arange(len(score_N))
    return np.where(reach_N > 0, np.where(own_N, second_K[last_N], cost_N[order_K[winner_N]]), np.inf)


def two_smallest_of_prefixes(cost_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two smallest values of each prefix.

    Args:
        cost_N: (N,) costs.

    Returns:
        (N,) position of the first smallest value of each prefix, and (N,) its second smallest value.
    """
    count = len(cost_N)
    before_N = np.concatenate([[np.inf], np.minimum.accumulate(cost_N)[:-1]])  # smallest earlier value
    falls_N = cost_N < before_N
    cheapest_N = np.maximum.accumulate(np.where(falls_N, np.arange(count), 0))
    return cheapest_N, np.minimum.accumulate(np.where(falls_N, before_N, cost_N))
