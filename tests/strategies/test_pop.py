"""Partial-order pruning: soundness on random tables, and the rule by brute force."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.history import History, Record, State
from nas.pareto import front_mask
from nas.pruned import PrunedSet
from nas.space import SearchSpace
from nas.strategies.pop import PartialOrderPruning
from nas.strategies.random import RandomSearch
from nas.tasks.base import TaskSpec

OBJECTIVES = {"score": "maximize", "cost": "minimize"}


class Grid(SearchSpace):
    """sizes[i] choices for gene i; the last gene is unordered where `mixed`."""

    def __init__(self, sizes: tuple[int, ...] = (3, 3, 3), mixed: bool = False) -> None:
        self.sizes, self.mixed = tuple(sizes), mixed
        last = len(sizes) - 1
        self.genes = tuple(
            Gene(f"g{i}", tuple(range(size)), ordered=not (mixed and i == last)) for i, size in enumerate(sizes)
        )

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        return nn.Identity()


def less_equal(space: SearchSpace, a: np.ndarray, b: np.ndarray) -> bool:
    return all(x <= y if ordered else x == y for x, y, ordered in zip(a, b, space.ordered, strict=True))


def monotone_scores(space: SearchSpace, every: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The largest raw value below each point: never falls along the partial order."""
    return np.array(
        [max(raw[j] for j, y in enumerate(every) if less_equal(space, y, x)) for x in every], dtype=np.float64
    )


def run(
    strategy: PartialOrderPruning, space: SearchSpace, table: Mapping[tuple[int, ...], tuple[float, float]], seed: int
) -> tuple[History, PrunedSet]:
    """Plays a whole search on a table, checking at each step that the pruned set only grows."""

    def cost(genes_NG: np.ndarray) -> np.ndarray:
        return np.array([table[tuple(int(g) for g in genes)][1] for genes in np.atleast_2d(genes_NG)])

    history = History((), OBJECTIVES, cost, "cost")
    pruned = strategy.pruned_set(space, cost)
    before = pruned.mask
    while True:
        pruned.update(strategy.cuts(history))
        assert not (before & ~pruned.mask).any()
        before = pruned.mask
        proposal = strategy.propose(space, history, np.random.default_rng([seed, len(history)]))
        if proposal is None:
            return history, pruned
        assert proposal.arch.genes not in {record.arch.genes for record in history}
        score, price = table[proposal.arch.genes]
        number = len(history)
        metrics = {"score": score, "cost": price}
        record = Record(number, proposal.arch, 0, State.COMPLETE, metrics, finished=float(number + 1))
        history = History((*history.records, record), OBJECTIVES, cost, "cost")


@st.composite
def tables(draw: st.DrawFn) -> tuple[Grid, dict[tuple[int, ...], tuple[float, float]], int]:
    sizes = tuple(draw(st.lists(st.integers(2, 4), min_size=2, max_size=3)))
    space = Grid(sizes, mixed=draw(st.booleans()))
    every = space.enumerate()
    assert every is not None
    raw = np.array(draw(st.lists(st.integers(0, 8), min_size=len(every), max_size=len(every))))
    costs = draw(st.lists(st.integers(0, 8), min_size=len(every), max_size=len(every)))
    scores = monotone_scores(space, every, raw)
    rows = [tuple(int(g) for g in row) for row in every]
    return (
        space,
        {row: (float(s), float(c)) for row, s, c in zip(rows, scores, costs, strict=True)},
        draw(st.integers(0, 99)),
    )


@given(tables())
@settings(max_examples=150, deadline=None)
def test_no_point_of_the_true_front_is_lost(case: tuple) -> None:
    """Run to exhaustion on a table with monotone score and arbitrary cost: every value pair of the true Pareto front
    has been trained, in whatever order the samples came."""
    space, table, seed = case
    history, _ = run(PartialOrderPruning(patience=0), space, table, seed)
    values = np.array([(score, -cost) for score, cost in table.values()])
    truth = {tuple(v) for v in values[front_mask(values)]}
    found = {(r.metrics["score"], -r.metrics["cost"]) for r in history}
    assert truth <= found


@given(tables())
@settings(max_examples=60, deadline=None)
def test_the_pruned_set_is_the_rule_by_brute_force(case: tuple) -> None:
    space, table, seed = case
    margin = float(seed % 3)
    history, pruned = run(PartialOrderPruning(margin=margin, patience=0), space, table, seed)
    done = [(np.array(r.arch.genes), r.metrics["score"], r.metrics["cost"]) for r in history]
    for x, cost_x, is_pruned in zip(pruned.genes_NG, pruned.cost_N, pruned.mask, strict=True):
        rule = any(
            less_equal(space, x, m) and any(s >= score_m + margin and c <= cost_x for y, s, c in done if (y != m).any())
            for m, score_m, _ in done
        )
        assert rule == is_pruned


def test_a_bound_is_the_smallest_score_above() -> None:
    space = Grid((3, 3))
    table = {(i, j): (float(min(i + j, 2)), float(1 + i + j)) for i in range(3) for j in range(3)}
    _, pruned = run(PartialOrderPruning(patience=0), space, table, 0)
    for genes, bound in zip(pruned.genes_NG, pruned.bound_N, strict=True):
        if np.isfinite(bound):
            assert bound >= table[tuple(genes.tolist())][0]


def test_patience_stops_a_stalled_search() -> None:
    """The second gene is unordered and only costs, so little is pruned and patience has to end the search."""
    space = Grid((20, 20), mixed=True)
    table = {(i, j): (float(i), i + 1 + j / 100) for i in range(20) for j in range(20)}
    endless, _ = run(PartialOrderPruning(patience=0), space, table, 3)
    stopped, _ = run(PartialOrderPruning(patience=3), space, table, 3)
    assert len(stopped) < len(endless)
    fronts = [sorted(r.arch.id for r in _prefix(stopped, len(stopped) - back).front()) for back in range(4)]
    assert fronts[0] == fronts[3]


def _prefix(history: History, count: int) -> History:
    return History(history.records[:count], history.objectives, history.cost, history.cost_name)


def test_the_cost_window_is_kept() -> None:
    space = Grid((5, 5))
    table = {(i, j): (float(i + j), float(i + j)) for i in range(5) for j in range(5)}
    history, _ = run(PartialOrderPruning(cost_min=3, cost_max=4, patience=0), space, table, 0)
    assert {record.metrics["cost"] for record in history} == {3.0, 4.0}


def test_results_of_other_budgets_are_not_compared() -> None:
    space = Grid((2, 2))

    def record(number: int, genes: tuple[int, int], budget: int, score: float, cost: float) -> Record:
        metrics = {"score": score, "cost": cost}
        return Record(number, space.architecture(genes), budget, State.COMPLETE, metrics, finished=number + 1.0)

    def cost(genes_NG: np.ndarray) -> np.ndarray:
        return genes_NG.sum(axis=1).astype(float)

    small, large = record(0, (1, 1), 5, 0.5, 2.0), record(1, (1, 0), 50, 0.9, 1.0)
    assert PartialOrderPruning().cuts(History((small, large), OBJECTIVES, cost, "cost")) == []
    same = record(1, (1, 0), 5, 0.9, 1.0)
    assert [cut.threshold for cut in PartialOrderPruning().cuts(History((small, same), OBJECTIVES, cost, "cost"))] == [1.0]


def test_random_search_visits_every_point_once_and_then_ends() -> None:
    space = Grid((3, 3))
    table = {(i, j): (0.0, 1.0) for i in range(3) for j in range(3)}
    history = History((), OBJECTIVES, lambda genes_NG: np.ones(len(genes_NG)), "cost")
    for number in range(9):
        proposal = RandomSearch().propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        record = Record(number, proposal.arch, 0, State.RUNNING)
        history = History((*history.records, record), OBJECTIVES, history.cost, "cost")
    assert {record.arch.genes for record in history} == set(table)
    assert RandomSearch().propose(space, history, np.random.default_rng(9)) is None


def test_settings_out_of_range() -> None:
    with pytest.raises(NASError, match="margin"):
        PartialOrderPruning(margin=-1)
    with pytest.raises(NASError, match="cost_min"):
        RandomSearch(cost_min=2, cost_max=1)
