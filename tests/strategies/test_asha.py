"""ASHA against its promotion rule, written out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.schedule import rungs
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.random import RandomSearch
from tests.strategies.tables import Grid, beats, empty, extended, hill, play, record

SPACE = Grid((4, 4, 4), mixed=True)


def asha(eta: float, lowest: int, highest: int) -> MultiFidelity:
    """ASHA as published: the networks are random."""
    return MultiFidelity(RandomSearch(), ASHA(eta, lowest, highest))


@pytest.mark.parametrize(
    ("eta", "lowest", "highest", "expected"),
    [
        (3, 1, 81, (1, 3, 9, 27, 81)),
        (3, 2, 50, (2, 6, 18, 50)),
        (2, 2, 9, (2, 4, 9)),
        (3, 3, 50, (3, 9, 27, 50)),
        (4, 5, 5, (5,)),
        (3, 4, 5, (4, 5)),
        (2.5, 2, 32, (2, 5, 12, 32)),
        (4, 2, 16, (2, 8, 16)),
        (3, 1, 243, (1, 3, 9, 27, 81, 243)),  # whose logarithm is rounded down
    ],
)
def test_rungs(eta: float, lowest: int, highest: int, expected: tuple[int, ...]) -> None:
    assert rungs(eta, lowest, highest) == expected


@given(st.floats(2, 5), st.integers(1, 20), st.integers(0, 300))
def test_rungs_grow_from_the_lowest_to_the_highest(eta: float, lowest: int, more: int) -> None:
    budgets = rungs(eta, lowest, lowest + more)
    assert (budgets[0], budgets[-1]) == (lowest, lowest + more)
    assert list(budgets) == sorted(set(budgets))


@st.composite
def studies(draw: st.DrawFn) -> History:
    """Trials of networks at the budgets 1, 2 and 4, of any state, the score alone or with the cost."""
    records = []
    for row in draw(st.lists(st.integers(0, 63), max_size=20, unique=True)):
        arch = SPACE.architecture((row // 16, row // 4 % 4, row % 4))
        for budget in (1, 2, 4)[: draw(st.sampled_from([1, 1, 1, 2, 3]))]:
            state = draw(st.sampled_from([State.COMPLETE] * 6 + [State.RUNNING, State.FAILED]))
            metrics = {"score": float(draw(st.integers(0, 5))), "cost": float(sum(arch.genes))}
            records.append(Trial(len(records), arch, budget, state, metrics, finished=len(records) + 1.0))
    limits = draw(st.sampled_from([(), (Constraint("score", 3.0, at_most=False),)]))
    objectives = draw(st.sampled_from([{"score": "maximize"}, {"score": "maximize", "cost": "minimize"}]))
    return extended(empty(objectives, constraints=limits), *records)


@given(studies(), st.sampled_from([2, 3]), st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_the_promotion_rule(history: History, eta: int, seed: int) -> None:
    strategy = asha(eta, 1, 4)
    budgets = strategy.fidelity.budgets
    proposal = strategy.propose(SPACE, history, np.random.default_rng(seed))
    assert proposal is not None
    for lower, upper in reversed(list(pairwise(budgets))):
        rung = [r for r in history if r.budget == lower and r.state is State.COMPLETE]
        left, order = list(rung), []
        while left:  # best first: the fronts one after the other, in a front by score, then by age
            front = [r for r in left if not any(beats(history, other, r) for other in left)]
            order += sorted(front, key=lambda r: (-r.metrics["score"], r.finished))
            left = [r for r in left if r not in front]
        begun = {r.arch for r in history if r.budget == upper}
        promotable = [r for r in order[: len(rung) // eta] if r.arch not in begun]
        if promotable:
            assert (proposal.arch, proposal.budget) == (promotable[0].arch, upper)
            return
    assert proposal.budget == budgets[0]
    assert proposal.arch not in {r.arch for r in history}


def test_a_search_trains_about_one_in_eta_longer() -> None:
    history = play(asha(3, 1, 9), Grid((6, 6, 6, 6)), empty({"score": "maximize"}), 130)
    sizes = [sum(r.budget == budget for r in history) for budget in (1, 3, 9)]
    assert sum(sizes) == 130
    assert sizes[1] == sizes[0] // 3
    assert sizes[2] == sizes[1] // 3
    scores = {budget: [r.metrics["score"] for r in history if r.budget == budget] for budget in (1, 9)}
    assert np.mean(scores[9]) > np.quantile(scores[1], 0.7)


def test_every_rung_follows_the_one_below() -> None:
    history = play(asha(2, 1, 4), Grid((3, 3)), empty(), 60)
    for late in history:
        for lower in (1, 2):
            if lower < late.budget:
                assert any(r.arch == late.arch and r.budget == lower and r.number < late.number for r in history)
    assert len({(r.arch, r.budget) for r in history}) == len(history) < 60  # nothing twice, and then it ended


def test_mean_epochs_of_a_trial() -> None:
    """Of 9 networks 9 run the first rung, 3 the second and 1 the third: 13 trials with 1, 2, 6 or 1, 3, 9 epochs."""
    rule = ASHA(3, 1, 9)
    assert (rule.epochs_run(True), rule.epochs_run(False)) == ((1, 2, 6), (1, 3, 9))
    assert rule.mean_budget(True) == pytest.approx((9 * 1 + 3 * 2 + 1 * 6) / 13)
    assert rule.mean_budget(False) == pytest.approx((9 * 1 + 3 * 3 + 1 * 9) / 13)


def test_one_budget_is_random_search() -> None:
    history = play(asha(3, 7, 7), Grid((3, 3)), empty(), 60)
    assert len(history) == 9
    assert {r.budget for r in history} == {7}


def test_a_failed_promotion_is_not_tried_again() -> None:
    space = Grid((4, 4))
    done = [record(i, space.architecture((i, i)), hill((i, i)), budget=1) for i in range(3)]
    strategy = asha(3, 1, 3)
    history = extended(empty({"score": "maximize"}), *done)
    promoted = strategy.propose(space, history, np.random.default_rng(0))
    assert promoted is not None
    assert promoted.budget == 3
    failed = Trial(3, promoted.arch, 3, State.FAILED, finished=9.0)
    after = strategy.propose(space, extended(history, failed), np.random.default_rng(0))
    assert after is not None
    assert after.budget == 1
