"""Means over the replicates of a network, against a plain reading of the records."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Architecture
from nas.history import History, Proposal, State, Trial

SCORES = st.floats(0, 1, allow_subnormal=False)
RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), SCORES), min_size=1, max_size=30)


def history_of(runs: list[tuple[int, int, int, float]]) -> History:
    """Trials of (network, budget, replicate, score), finished in this order."""
    records = [
        Trial(
            number,
            Architecture("", (network,)),
            budget,
            State.COMPLETE,
            {"dice": score, "macs": float(network)},
            finished=number + 1.0,
            replicate=replicate,
        )
        for number, (network, budget, replicate, score) in enumerate(runs)
    ]
    return History(tuple(records), {"dice": "maximize", "macs": "minimize"}, lambda genes_NG: genes_NG[:, 0])


@settings(max_examples=100, deadline=None)
@given(RUNS)
def test_final_holds_the_means_of_replicates_at_the_largest_budget(runs: list[tuple[int, int, int, float]]) -> None:
    history = history_of(runs)
    found = {trial.arch.genes[0]: trial for trial in history.final()}
    assert set(found) == {network for network, *_ in runs}
    for network, trial in found.items():
        largest = max(budget for other, budget, _, _ in runs if other == network)
        scores: dict[int, float] = {}
        for other, budget, replicate, score in runs:
            if (other, budget) == (network, largest):
                scores.setdefault(replicate, score)  # of two trials of one replicate the first
        statistic = history.statistic(trial, "dice")
        assert trial.budget == largest
        assert trial.metrics["dice"] == statistic.mean == pytest.approx(statistics.fmean(scores.values()))
        assert statistic.count == len(scores)
        if len(scores) == 1:
            assert math.isnan(statistic.deviation)
            assert math.isnan(statistic.standard_error)
        else:
            assert statistic.deviation == pytest.approx(statistics.stdev(scores.values()))
            assert statistic.standard_error == pytest.approx(statistic.deviation / math.sqrt(len(scores)))


def test_the_best_network_is_the_best_mean_not_the_best_run() -> None:
    history = history_of([(0, 0, 0, 0.9), (1, 0, 0, 0.8), (0, 0, 1, 0.5), (1, 0, 1, 0.8)])
    assert history.best.arch.genes == (1,)
    assert history.best.metrics["dice"] == pytest.approx(0.8)
    assert [trial.arch.genes for trial in history.front()] == [(1,), (0,)]
    assert np.allclose(history.scores(history.final()), [0.7, 0.8])


def test_a_trial_and_its_proposal() -> None:
    trial = history_of([(2, 3, 1, 0.5)])[0]
    assert trial.proposal == Proposal(Architecture("", (2,)), 3, 1)
