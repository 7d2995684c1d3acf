"""Statistics of a comparison: hypervolumes, curves, intervals over seeds and paired tests, against other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from scipy import stats

from nas.comparison.curves import Curve, over_cost, over_trials
from nas.comparison.groups import as_text
from nas.comparison.jobs import natural
from nas.comparison.statistics import over_seeds, paired_over_seeds, smallest_rank_p
from nas.multiobjective.hypervolume import hypervolume, hypervolumes_so_far

whole = st.integers(-3, 8)
points = st.lists(st.tuples(whole, whole), max_size=12)


@given(points, st.tuples(whole, whole))
def test_hypervolume_is_the_number_of_dominated_unit_squares(
    values: list[tuple[int, int]], reference: tuple[int, int]
) -> None:
    """On whole coordinates the area is a count of squares between the reference and the points, wherever it lies."""
    squares = sum(any(x > a and y > b for x, y in values) for a in range(8) for b in range(8))
    value_N2 = np.array(values, dtype=float).reshape(-1, 2)
    assert hypervolume(value_N2, np.zeros(2)) == pytest.approx(squares)
    assert hypervolume(value_N2 + reference, np.array(reference)) == pytest.approx(squares)
    above_N2 = value_N2[(value_N2 > 0).all(axis=1)]
    if len(above_N2):
        assert compute_hypervolume(-above_N2, np.zeros(2)) == pytest.approx(squares)


@given(points)
def test_hypervolume_so_far_is_that_of_each_beginning(values: list[tuple[int, int]]) -> None:
    value_N2 = np.array(values, dtype=float).reshape(-1, 2)
    areas = [hypervolume(value_N2[: number + 1], np.zeros(2)) for number in range(len(values))]
    assert hypervolumes_so_far(value_N2, np.zeros(2)).tolist() == pytest.approx(areas)
    unknown = np.vstack([value_N2, [[np.nan, 3.0]]])
    assert hypervolumes_so_far(unknown, np.zeros(2))[-1] == pytest.approx(areas[-1] if areas else 0.0)


def test_curves_are_quartiles_of_the_values_known_at_each_position() -> None:
    runs = [([5.0, 10.0], [1.0, 3.0]), ([2.0, 4.0, 9.0], [0.0, 2.0, 5.0]), ([4.0], [4.0])]
    by_trial = over_trials(runs, 3)
    assert by_trial.tolist() == [[1, 3, 3], [0, 2, 5], [4, 4, 4]]
    position_P = np.array([0.0, 2.0, 5.0, 9.5, 20.0])
    curve = Curve.of(position_P, over_cost(runs, position_P))
    for number, position in enumerate(position_P):
        known = [[value for end, value in zip(*run, strict=True) if end <= position] for run in runs]
        if not all(known):
            assert math.isnan(curve.median_P[number])
            continue
        last = sorted(values[-1] for values in known)
        assert curve.median_P[number] == last[1]
        assert curve.q25_P[number] == pytest.approx((last[0] + last[1]) / 2)
        assert curve.q75_P[number] == pytest.approx((last[1] + last[2]) / 2)
        assert curve.mean_P[number] == pytest.approx(sum(last) / 3)


values = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(values)
def test_interval_over_seeds_is_that_of_the_t_distribution(scores: list[float]) -> None:
    found, n = over_seeds(scores), len(scores)
    mean, deviation = np.mean(scores), np.std(scores, ddof=1)
    half = stats.t.ppf(0.975, n - 1) * deviation / np.sqrt(n)
    assert (found.mean, found.n) == (pytest.approx(mean), n)
    assert (found.low, found.high) == (pytest.approx(mean - half, abs=1e-9), pytest.approx(mean + half, abs=1e-9))
    assert over_seeds(scores, 0.0, 1.0).low == max(found.low, 0.0)


def test_one_seed_has_no_interval_and_equal_seeds_have_an_empty_one() -> None:
    assert not over_seeds([0.5]).has_interval
    same = over_seeds([0.5, 0.5])
    assert (same.low, same.high) == (0.5, 0.5)
    assert paired_over_seeds([0.1, 0.2], [0.1, 0.2]).p == 1.0
    assert smallest_rank_p(3) == 0.25
    assert stats.wilcoxon([0.1, 0.2, 0.3]).pvalue == smallest_rank_p(3)


def test_paired_test_is_that_of_scipy() -> None:
    first, other = [0.7, 0.8, 0.75, 0.6], [0.72, 0.85, 0.74, 0.66]
    found, expected = paired_over_seeds(first, other), stats.ttest_rel(other, first)
    bounds = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == (pytest.approx(bounds.low), pytest.approx(bounds.high))
    assert found.within_noise()
    clear = paired_over_seeds([0.7, 0.8, 0.75], [0.8, 0.905, 0.853])
    assert not clear.within_noise()
    assert clear.within_noise(tests=int(0.05 / clear.p) + 1)  # Bonferroni


def test_texts_of_settings() -> None:
    assert as_text([4, 8]) == "[4,8]"
    assert (as_text(True), as_text(None), as_text(0.001)) == ("true", "null", "0.001")
    assert sorted(["seed=10", "seed=2"], key=natural) == ["seed=2", "seed=10"]
