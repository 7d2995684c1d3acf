"""Dominance constraints: long networks, and sets whose constraints have changed. Further tests are in test_pop.py."""

from __future__ import annotations

import numpy as np

from nas.strategies.partial_order.dominance import DominanceConstraint, PrunedSet, SurvivingSet, below
from nas.strategies.partial_order.strategy import PartialOrderPruning
from tests.strategies.tables import Grid, empty, extended, record, total


def test_below_compares_every_gene_of_a_long_network() -> None:
    """More genes than are compared for all networks at once."""
    rng = np.random.default_rng(0)
    genes_NG, ordered_G = rng.integers(3, size=(2000, 11)), np.arange(11) % 4 != 0
    for gene in range(11):
        top_G = np.full(11, 2)
        top_G[gene] = 3 if ordered_G[gene] else 1
        near_NG = np.tile(top_G, (4, 1))
        near_NG[1, gene] += 1
        near_NG[2, gene] -= 1
        rows = below(near_NG, top_G, ordered_G, np.array([True, True, True, False]))
        assert rows.tolist() == ([0, 2] if ordered_G[gene] else [0])
    top_G = rng.integers(3, size=11)
    inside_NG = np.where(ordered_G, genes_NG <= top_G, genes_NG == top_G)
    rows = below(genes_NG, top_G, ordered_G, np.ones(2000, dtype=bool))
    assert rows.tolist() == np.flatnonzero(inside_NG.all(axis=1)).tolist()


def test_a_set_is_not_implied_where_a_bound_or_a_threshold_has_risen() -> None:
    """A mean that falls gives another bound, and a dominating network that becomes dearer another threshold."""
    space = Grid((3, 3))

    def cuts(score: float, cheap: tuple[int, int]) -> list[DominanceConstraint]:
        big = record(0, space.architecture((2, 2)), {"score": score, "cost": 4.0})
        other = record(1, space.architecture(cheap), {"score": 0.9, "cost": float(sum(cheap))})
        return PartialOrderPruning().cuts(extended(empty(), big, other))

    first, pruned = cuts(0.5, (1, 0)), PrunedSet(space, total)
    left = SurvivingSet(pruned.genes_NG, pruned.cost_N, space.ordered)
    for made in (pruned, left):
        made.update(first)
        assert made.is_implied_by(first)
        assert made.is_implied_by([*first, *cuts(0.5, (0, 0))])
        assert not made.is_implied_by(cuts(0.5, (2, 0)))
    assert not pruned.is_implied_by(cuts(0.4, (1, 0)))
