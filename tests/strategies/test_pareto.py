"""Pareto fronts, ranks and Deb's rule against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.multiobjective.constraints import Constraint
from nas.multiobjective.pareto import BLOCK, front_mask, front_ranks
from nas.strategies.ranking import best_and_newest, best_first, constrained_ranks, neighbours
from tests.strategies.tables import Grid, Staircase, empty, extended, record


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


def simple_front(values_NM: np.ndarray) -> np.ndarray:
    return np.array([not any(dominates(other, row) for other in values_NM) for row in values_NM], dtype=bool)


def peeled(count: int, better) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Ranks by taking away, again and again, what nothing left is better than."""
    rank_N, left, rank = np.zeros(count, dtype=int), set(range(count)), 0
    while left:
        first = {i for i in left if not any(better(j, i) for j in left)}
        for i in first:
            rank_N[i] = rank
        left, rank = left - first, rank + 1
    return rank_N


@st.composite
def matrices(draw: st.DrawFn, largest: int = 30) -> np.ndarray:
    """Few different values, so that ties and equal rows are frequent."""
    shape = (draw(st.integers(0, largest)), draw(st.integers(1, 4)))
    return draw(arrays(np.float64, shape, elements=st.integers(-3, 3).map(float)))


@given(matrices())
@settings(max_examples=300, deadline=None)
def test_the_front_is_what_nothing_dominates(values_NM: np.ndarray) -> None:
    assert front_mask(values_NM).tolist() == simple_front(values_NM).tolist()


@given(matrices())
@settings(max_examples=300, deadline=None)
def test_ranks_are_fronts_peeled_off(values_NM: np.ndarray) -> None:
    expected = peeled(len(values_NM), lambda j, i: dominates(values_NM[j], values_NM[i]))
    assert front_ranks(values_NM).tolist() == expected.tolist()


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_fronts_across_blocks(columns: int) -> None:
    values_NM = np.random.default_rng(columns).integers(0, 12, (3 * BLOCK + 7, columns)).astype(float)
    assert front_mask(values_NM).tolist() == simple_front(values_NM).tolist()


@pytest.mark.parametrize("columns", [2, 3])
def test_ten_thousand_rows_all_on_the_front(columns: int) -> None:
    x_N = np.arange(10_000.0)
    values_NM = np.column_stack([x_N, -x_N, np.zeros_like(x_N)])[:, :columns]
    assert front_mask(np.random.default_rng(0).permutation(values_NM)).all()


def test_no_rows_and_infinite_values() -> None:
    assert front_mask(np.empty((0, 2))).tolist() == []
    assert front_ranks(np.empty((0, 3))).tolist() == []
    values_NM = np.array([[-np.inf, 1.0], [0.0, -np.inf], [0.0, 0.0]])
    assert front_mask(values_NM).tolist() == [True, False, True]


@given(matrices(20), st.data())
@settings(max_examples=200, deadline=None)
def test_debs_rule(values_NM: np.ndarray, data: st.DataObject) -> None:
    """Feasible beats infeasible, of two infeasible the one with less excess, of two feasible the dominating one."""
    size = len(values_NM)
    excess_N = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 2.0]), min_size=size, max_size=size)))

    def better(j: int, i: int) -> bool:
        if excess_N[j] > 0 or excess_N[i] > 0:
            return bool(excess_N[j] < excess_N[i])
        return dominates(values_NM[j], values_NM[i])

    assert constrained_ranks(values_NM, excess_N).tolist() == peeled(size, better).tolist()


def test_best_first_is_by_rank_then_score() -> None:
    space = Grid((3, 3))
    rows = [((0, 0), 1.0, 1.0), ((0, 1), 2.0, 2.0), ((0, 2), 1.5, 3.0), ((1, 0), 9.0, 9.0), ((1, 1), 2.0, 2.0)]
    records = [record(i, space.architecture(genes), {"score": s, "cost": c}) for i, (genes, s, c) in enumerate(rows)]
    assert best_first(extended(empty(), *records), records) == [3, 1, 4, 0, 2]
    limited = empty(constraints=(Constraint("cost", 5.0),))
    assert best_first(extended(limited, *records), records) == [1, 4, 0, 2, 3]


def test_best_and_newest() -> None:
    space = Grid((10,))
    scores = [5.0, 1.0, 9.0, 2.0, 3.0, 4.0]
    records = [record(i, space.architecture((i,)), {"score": s, "cost": 1.0}) for i, s in enumerate(scores)]
    history = extended(empty(), *records)
    assert [r.number for r in best_and_newest(history, 4)] == [0, 2, 4, 5]
    assert [r.number for r in best_and_newest(history, 6)] == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_neighbours_are_all_single_moves_repaired(sizes: list[int], stairs: bool, seed: int) -> None:
    space = (Staircase if stairs else Grid)(sizes)
    arch = space.sample(np.random.default_rng(seed))
    moves = {
        space.repair([*arch.genes[:i], choice, *arch.genes[i + 1 :]])
        for i, size in enumerate(sizes)
        for choice in range(size)
    }
    found = neighbours(space, arch)
    assert len(found) == len(set(found))
    assert set(found) == moves - {arch}
    if not stairs:
        assert len(found) == sum(size - 1 for size in sizes)


@given(st.floats(-1e18, 1e18).filter(lambda bound: bound == 0 or abs(bound) > 1e-18), st.sampled_from(["<=", ">="]))
def test_the_text_of_a_constraint_gives_the_same_bound(bound: float, sign: str) -> None:
    """A study keeps constraints as text."""
    constraint = Constraint.parse(f"macs{sign}{bound!r}")
    assert Constraint.parse(str(constraint)) == constraint


def test_a_short_bound_keeps_its_short_text() -> None:
    assert str(Constraint.parse("macs<=2e7")) == "macs<=2e+07"
