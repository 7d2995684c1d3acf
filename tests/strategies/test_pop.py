"""Partial-order pruning: soundness on random tables, and the rule by brute force."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NASError
from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.multiobjective.pareto import front_mask
from nas.space import SearchSpace
from nas.strategies.enumeration import enumeration_of
from nas.strategies.partial_order import strategy as pop
from nas.strategies.partial_order.dominance import PrunedSet, SurvivingSet, below, count_above
from nas.strategies.partial_order.strategy import (
    PartialOrderPruning,
    has_stalled,
    two_smallest_of_prefixes,
)
from nas.strategies.random import RandomSearch
from nas.strategies.ranking import first_results
from search_spaces.naslung import NASLungSpace
from tests.problems import problem_of
from tests.strategies.tables import OBJECTIVES, Grid, empty, extended, play, record, total


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
    pruned = PrunedSet(space, cost)
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
        record = Trial(number, proposal.arch, 0, State.COMPLETE, metrics, finished=float(number + 1))
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

    def result(number: int, genes: tuple[int, int], budget: int, score: float) -> Trial:
        return record(number, space.architecture(genes), {"score": score, "cost": float(sum(genes))}, budget)

    small, large = result(0, (1, 1), 5, 0.5), result(1, (1, 0), 50, 0.9)
    assert PartialOrderPruning().cuts(extended(empty(), small, large)) == []
    same = result(1, (1, 0), 5, 0.9)
    assert [cut.threshold for cut in PartialOrderPruning().cuts(extended(empty(), small, same))] == [1.0]


def test_random_search_visits_every_point_once_and_then_ends() -> None:
    space = Grid((3, 3))
    table = {(i, j): (0.0, 1.0) for i in range(3) for j in range(3)}
    history = History((), OBJECTIVES, lambda genes_NG: np.ones(len(genes_NG)), "cost")
    for number in range(9):
        proposal = RandomSearch().propose(space, history, np.random.default_rng(number))
        assert proposal is not None
        record = Trial(number, proposal.arch, 0, State.RUNNING)
        history = History((*history.records, record), OBJECTIVES, history.cost, "cost")
    assert {record.arch.genes for record in history} == set(table)
    assert RandomSearch().propose(space, history, np.random.default_rng(9)) is None


def test_settings_out_of_range() -> None:
    with pytest.raises(NASError, match="margin"):
        PartialOrderPruning(margin=-1)
    with pytest.raises(NASError, match="cost_min"):
        RandomSearch(cost_min=2, cost_max=1)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Finished trials on a small grid, some of two budgets, some breaking a constraint on their score."""
    space = Grid((4, 4, 3), mixed=True)
    every = [space.architecture(tuple(row)) for row in space.enumerate().tolist()]
    picked = draw(st.lists(st.integers(0, len(every) - 1), max_size=14))
    records = [
        record(
            number,
            every[row],
            {"score": float(draw(st.integers(0, 4))), "cost": float(sum(every[row].genes))},
            draw(st.sampled_from([1, 1, 1, 9])),
        )
        for number, row in enumerate(picked)
    ]
    limits = draw(st.sampled_from([(), (Constraint("score", 2.0, at_most=False),)]))
    return extended(empty(constraints=limits), *records)


@given(histories(), st.sampled_from([0.0, 1.0]))
@settings(max_examples=150, deadline=None)
def test_cuts_are_the_rule_by_two_loops(history: History, margin: float) -> None:
    done = first_results(history)
    expected = []
    for m in done:
        costs = [
            sum(y.arch.genes)
            for y in done
            if y is not m
            and y.budget == m.budget
            and y.metrics["score"] >= m.metrics["score"] + margin
            and history.violations([y])[0] == 0
        ]
        if costs:
            expected.append((m.arch.genes, float(min(costs)), m.metrics["score"]))
    found = [(cut.genes, cut.threshold, cut.score) for cut in PartialOrderPruning(margin).cuts(history)]
    assert sorted(found) == sorted(expected)


@given(st.lists(st.integers(0, 5).map(float), max_size=12))
def test_two_smallest_of_prefixes(costs: list[float]) -> None:
    cheapest_N, second_N = two_smallest_of_prefixes(np.array(costs))
    for number in range(len(costs)):
        prefix = costs[: number + 1]
        assert cheapest_N[number] == prefix.index(min(prefix))
        assert second_N[number] == (sorted(prefix)[1] if number else np.inf)


@given(histories(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_comparing_all_cuts_at_once_is_comparing_them_one_by_one(history: History, seed: int) -> None:
    space, rng = Grid((4, 4, 3), mixed=True), np.random.default_rng(seed)
    genes_NG = space.encode([space.sample(rng) for _ in range(20)])
    tops_KG = space.encode([space.sample(rng) for _ in range(7)])
    mask_NK = rng.random((20, 7)) < 0.5
    expected = np.zeros(20, dtype=bool)
    for top_G, mask_N in zip(tops_KG, mask_NK.T, strict=True):
        expected[below(genes_NG, top_G, space.ordered, mask_N)] = True
    assert (count_above(genes_NG, tops_KG, space.ordered, mask_NK) > 0).tolist() == expected.tolist()
    cuts = PartialOrderPruning().cuts(history)
    accept = pop._Accept(pop.CostWindow(), cuts, space)
    kept_N = accept(genes_NG, total)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pop, "MAX_COMPARISONS", 0)
        assert accept(genes_NG, total).tolist() == kept_N.tolist()


@given(st.lists(histories(), min_size=2, max_size=5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_was_proposed_before_changes_no_proposal(views: list[History], seed: int) -> None:
    """Unrelated, longer and shorter histories one after the other, in a space looked through at once."""
    space, used = Grid((4, 4, 3), mixed=True), PartialOrderPruning(patience=0)
    for view in [*views, views[0]]:
        fresh = PartialOrderPruning(patience=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pop, "early_batch", lambda space: 0)
            first, second = (s.propose(space, view, np.random.default_rng(seed)) for s in (used, fresh))
        assert first == second
        cuts = fresh.cuts(view)
        if first is not None and cuts:
            point = np.array([first.arch.genes])
            assert pop._Accept(pop.CostWindow(), cuts, space)(point, total).all()


@given(histories(), histories())
@settings(max_examples=100, deadline=None)
def test_the_open_set_is_what_the_pruned_set_leaves(first: History, second: History) -> None:
    space = Grid((4, 4, 3), mixed=True)
    pruned = PrunedSet(space, total)
    left = SurvivingSet(pruned.genes_NG, pruned.cost_N, space.ordered)
    for view in (first, second):
        cuts = PartialOrderPruning().cuts(view)
        pruned.update(cuts)
        left.update(cuts)
        assert left.mask.tolist() == (~pruned.mask).tolist()
        assert left.is_implied_by([*PartialOrderPruning().cuts(first), *PartialOrderPruning().cuts(second)])
    assert left.is_implied_by([]) == (not left._applied)


def test_nothing_is_pruned_by_a_network_that_breaks_a_constraint() -> None:
    space = Grid((3, 3))
    big = record(0, space.architecture((2, 2)), {"score": 0.5, "cost": 4.0, "recall": 0.9})
    cheat = record(1, space.architecture((0, 0)), {"score": 0.9, "cost": 0.0, "recall": 0.1})
    strategy = PartialOrderPruning()
    assert len(strategy.cuts(extended(empty(), big, cheat))) == 1
    recall = (Constraint("recall", 0.5, at_most=False),)
    assert strategy.cuts(extended(empty(constraints=recall), big, cheat)) == []
    slow = (Constraint("recall", 0.5, at_most=True),)  # now m breaks it, and y does not
    assert len(strategy.cuts(extended(empty(constraints=slow), big, cheat))) == 1


@pytest.mark.parametrize(
    ("objectives", "prunes"),
    [
        ({"score": "maximize"}, True),
        ({"loss": "minimize", "cost": "minimize"}, True),
        ({"score": "maximize", "cost": "minimize", "loss": "minimize"}, False),
        ({"score": "maximize", "cost": "maximize"}, False),
        ({"cost": "minimize"}, False),
    ],
)
def test_nothing_is_pruned_where_another_objective_may_matter(objectives: dict[str, str], prunes: bool) -> None:
    space = Grid((3, 3))
    metrics = [{"score": 0.5, "loss": 0.5, "cost": 4.0}, {"score": 0.9, "loss": 0.1, "cost": 0.0}]
    records = [record(i, space.architecture((2 - 2 * i,) * 2), m) for i, m in enumerate(metrics)]
    assert bool(PartialOrderPruning().cuts(extended(empty(objectives), *records))) == prunes


def test_nothing_is_pruned_where_the_score_is_another_cost() -> None:
    space = Grid((3, 3))
    records = [record(i, space.architecture((2 - 2 * i,) * 2), {"params": 4.0 - 4 * i}) for i in range(2)]
    assert len(PartialOrderPruning().cuts(extended(empty({"params": "minimize"}), *records))) == 1
    priced = empty({"params": "minimize"}, costs={"params": total})
    assert PartialOrderPruning().cuts(extended(priced, *records)) == []


def test_a_search_without_a_feasible_network_never_stalls() -> None:
    space = Grid((6, 6))
    history = play(RandomSearch(), space, empty(constraints=(Constraint("score", 99.0, at_most=False),)), 20)
    facts = first_results(history)
    assert not has_stalled(facts, history.cost(np.array([record.arch.genes for record in facts])), history, 3)
    assert PartialOrderPruning(patience=3).propose(space, history, np.random.default_rng(0)) is not None


@pytest.mark.parametrize(("costs", "stalled"), [((2, 1), False), ((2, 3), True)])
def test_a_lower_cost_is_progress_also_where_it_is_no_objective(costs: tuple[int, int], stalled: bool) -> None:
    space = Grid((1, 4))
    records = [record(i, space.architecture((0, cost)), {"score": 0.5}) for i, cost in enumerate(costs)]
    assert has_stalled(records, np.array(costs, dtype=float), extended(empty({"score": "maximize"}), *records), 1) == (
        stalled
    )


@given(histories(), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_a_search_has_stalled_when_its_front_is_the_one_of_before(history: History, patience: int) -> None:
    facts = first_results(history)

    def front(count: int) -> set[tuple[float, float]]:
        kept = [r for r in facts[:count] if history.violations([r])[0] == 0]
        values_NM = history.values(kept)
        return {tuple(row) for row in values_NM[front_mask(values_NM)]} if kept else set()

    before = front(len(facts) - patience) if len(facts) >= patience else set()
    stalled = has_stalled(facts, history.cost(np.array([record.arch.genes for record in facts])), history, patience)
    if stalled:
        assert before
        assert front(len(facts)) == before
    elif before:
        late = facts[len(facts) - patience :]
        new = [
            r for r in late if history.violations([r])[0] == 0 and tuple(history.values([r])[0]) in front(len(facts))
        ]
        assert new  # equal values count as a change: another network is on the front


def test_a_listing_is_made_once_and_computes_each_cost_once() -> None:
    calls = []

    def counted(genes_NG: np.ndarray) -> np.ndarray:
        calls.append(len(genes_NG))
        return total(genes_NG)

    listed = enumeration_of(Grid((3, 4)))
    assert listed is not None
    assert enumeration_of(Grid((3, 4))) is listed
    for _ in range(2):
        assert listed.costs(counted)(listed.genes_NG).tolist() == total(listed.genes_NG).tolist()
    assert calls == [12]
    limited = empty(constraints=(Constraint("cost", 2.0),), costs={"cost": counted})
    assert listed.admits(limited).tolist() == limited.admits(listed.genes_NG).tolist()


@pytest.mark.parametrize("metric", ["auc", "loss"])
def test_networks_that_were_ruled_out_have_the_best_score_they_could_reach(metric: str) -> None:
    """The smallest network scores as the largest: all others between them can do no better, and cost more."""
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    objectives = {"auc": {"auc": "maximize"}, "loss": {"loss": "minimize"}}[metric]
    problem = problem_of(space, objectives)
    every = space.enumerate()
    assert every is not None
    cheapest, dearest = np.argmin(problem.cost(every)), np.argmax(problem.cost(every))
    trials = [record(n, space.architecture(every[row]), {metric: 0.5}) for n, row in enumerate((cheapest, dearest))]
    history = History(tuple(trials), objectives, problem.cost)
    ruled_out = PartialOrderPruning().ruled_out(problem, history)
    assert ruled_out is not None
    assert ruled_out.share > 0
    assert set(ruled_out.bound_N.tolist()) == {0.5}
