"""Partial-order pruning: never train what a finished trial shows to be dominated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nas.errors import NASError
from nas.history import CostFunction, History, Proposal, Record
from nas.pruned import Cut, PrunedSet, below
from nas.space import SearchSpace
from nas.strategies.base import CostWindow, Strategy, draw


class PartialOrderPruning(Strategy):
    """Samples what is left of the space; prunes x where finished trials m, y (y != m) give

        x <= m,  score(y) >= score(m) + margin,  cost(y) <= cost(x).

    Believing that a smaller network (in the partial order of the space) scores no better, x is dominated by y. Cost is
    the study's deterministic cost; only finished trials of the same budget enter, so the pruned set only ever grows,
    and a worker with an old view wastes work at worst.
    margin: in units of the score, to allow for noisy training. cost_min, cost_max: window of costs to search in.
    patience: stop when the Pareto front of (score, cost) has not changed over so many finished trials (0: never).
    Source: Li et al., Partial Order Pruning, CVPR 2019 (arXiv 1903.03777); Jiang et al., NAS-Lung (arXiv 2101.07429).
    """

    def __init__(
        self,
        margin: float = 0.0,
        cost_min: float | None = None,
        cost_max: float | None = None,
        patience: int = 30,
    ) -> None:
        if margin < 0 or patience < 0:
            raise NASError(
                f"margin={margin}, patience={patience}", "values of at least 0", "mend the strategy's settings"
            )
        self.margin, self.patience = margin, patience
        self.window = CostWindow(cost_min, cost_max)

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        if self.patience and front_age(first_results(history), history) >= self.patience:
            return None
        cuts = self.cuts(history)
        tops_KG = np.array([cut.genes for cut in cuts]).reshape(len(cuts), len(space.genes))
        thresholds_K = np.array([cut.threshold for cut in cuts])
        ordered_G = space.ordered

        def accept(genes_NG: np.ndarray, cost_N: np.ndarray) -> np.ndarray:
            kept = self.window(cost_N)
            for top_G, threshold in zip(tops_KG, thresholds_K, strict=True):
                kept[below(genes_NG, top_G, ordered_G, kept & (cost_N >= threshold))] = False
            return kept

        arch = draw(space, history, accept, rng)
        return None if arch is None else Proposal(arch)

    def cuts(self, history: History) -> list[Cut]:
        """For each finished m the lowest cost of another y that scores at least `margin` above it, where there is one.

        Only results of one budget are compared with each other; the cuts of all budgets count.
        """
        groups: dict[int, list[Record]] = {}
        for record in first_results(history):
            groups.setdefault(record.budget, []).append(record)
        return [cut for facts in groups.values() for cut in self._cuts(facts, history)]

    def _cuts(self, facts: list[Record], history: History) -> Iterator[Cut]:
        score_N, cost_N = scores_and_costs(facts, history)
        order = np.argsort(-score_N, kind="stable")
        cheapest, second = _two_smallest_prefixes(cost_N[order])
        # y qualifies for m when score(y) >= score(m) + margin: a prefix of the order by falling score
        reach_N = np.searchsorted(-score_N[order], -(score_N + self.margin), side="right")
        for number, record in enumerate(facts):
            reach = int(reach_N[number])
            if not reach:
                continue
            winner = cheapest[reach - 1]
            threshold = cost_N[order][winner] if order[winner] != number else second[reach - 1]
            if np.isfinite(threshold):
                yield Cut(record.arch.genes, float(threshold), float(score_N[number]))

    def pruned_set(self, space: SearchSpace, cost: CostFunction) -> PrunedSet:
        return PrunedSet(space, cost)


def first_results(history: History) -> list[Record]:
    """The first finished trial of every architecture and budget, in order of finishing."""
    first: dict[tuple[str, int], Record] = {}
    for record in history.complete():
        first.setdefault((record.arch.id, record.budget), record)
    return list(first.values())


def scores_and_costs(facts: list[Record], history: History) -> tuple[np.ndarray, np.ndarray]:
    """(N,) scores, larger is better, and (N,) deterministic costs."""
    return history.scores(facts), history.cost(np.array([record.arch.genes for record in facts]))


def front_age(facts: list[Record], history: History) -> int:
    """How many of the last finished trials have left the Pareto front of (score, cost) as it was."""
    if not facts:
        return 0
    score_N, cost_N = scores_and_costs(facts, history)
    for age, last in enumerate(range(len(facts) - 1, -1, -1)):
        at_least = (score_N[:last] >= score_N[last]) & (cost_N[:last] <= cost_N[last])
        better = (score_N[:last] > score_N[last]) | (cost_N[:last] < cost_N[last])
        if not (at_least & better).any():
            return age
    return len(facts)


def _two_smallest_prefixes(cost_N: np.ndarray) -> tuple[list[int], list[float]]:
    """For each prefix of the costs: the position of its smallest value, and its second smallest value."""
    position, smallest, second = 0, np.inf, np.inf
    positions: list[int] = []
    seconds: list[float] = []
    for number, cost in enumerate(cost_N.tolist()):
        if cost < smallest:
            position, smallest, second = number, cost, smallest
        elif cost < second:
            second = cost
        positions.append(position)
        seconds.append(second)
    return positions, seconds
