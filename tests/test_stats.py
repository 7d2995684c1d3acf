"""Statistics against scikit-learn and hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nas.errors import NASError
from nas.metrics.bootstrap import (
    GroupBootstrap,
    auc,
    best_threshold,
    binary_metrics,
    chosen_classes,
    intervals,
    mean_of,
)
from nas.metrics.ensemble import mean_probability
from nas.tasks.classification import Classification


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=50, deadline=None)
def test_auc_with_ties_is_scikit_learns(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([r[0] for r in rows]) / 5, np.array([r[1] for r in rows])
    if positive.all() or not positive.any():
        return
    assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score))


def test_fast_metrics_are_those_of_the_task() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=200)
    prob = np.clip(0.5 * label + rng.random(200) * 0.7 - 0.1, 0, 1)
    prob_NK = np.column_stack([1 - prob, prob])
    full = Classification().score(prob_NK, label).over()
    for name, value in binary_metrics(prob_NK, label).items():
        assert value == pytest.approx(full[name]), name


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    rng = np.random.default_rng(1)
    values, groups = rng.normal(size=400), np.arange(400)
    bootstrap = GroupBootstrap(groups, np.arange(400) % 2, resamples=3000)
    low, high = bootstrap.interval(lambda rows: {"mean": float(values[rows].mean())})["mean"]
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_patients_stand_or_fall_together() -> None:
    """Ten copies of each sample: by patient the interval is that of the originals, by sample far too narrow."""
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=50), 10)
    patients, labels = np.repeat(np.arange(50), 10), np.tile([0, 1], 250)

    def width(groups: np.ndarray) -> float:
        found = GroupBootstrap(groups, labels, 1500).interval(lambda rows: {"mean": float(values[rows].mean())})
        return found["mean"][1] - found["mean"][0]

    assert width(patients) > 2.5 * width(np.arange(500))


def test_resamples_hold_every_class_and_repeat_by_seed() -> None:
    labels = np.array([1] + [0] * 9)
    one, two = (GroupBootstrap(np.arange(10), labels, 50, seed=3) for _ in range(2))
    assert all(labels[rows].any() for rows in one.rows)
    assert all((a == b).all() for a, b in zip(one.rows, two.rows, strict=True))


def test_undefined_values_of_resamples_are_left_out() -> None:
    """A resample without any value, also the first one, and one value that is undefined."""
    draws = [{}, *({"a": value, "b": 1.0} for value in (np.nan, 0.0, 1.0, 2.0, 3.0, 4.0))]
    found = intervals(draws, (25.0, 75.0))
    assert found == {"a": (1.0, 3.0), "b": (1.0, 1.0)}
    assert intervals([{}, {"a": 2.0}]) == {"a": (2.0, 2.0)}
    assert intervals([{}]) == {}


def test_a_probability_at_the_threshold_is_positive() -> None:
    prob_NK = np.array([[0.4, 0.6], [0.401, 0.599]])
    assert chosen_classes(prob_NK, positive=1, threshold=0.6).tolist() == [1, 0]
    assert chosen_classes(prob_NK, positive=0, threshold=0.401).tolist() == [1, 0]


def test_of_equally_good_thresholds_the_middle_one_is_chosen() -> None:
    """0.1, 0.5 and 0.9 leave one error each."""
    score, positive = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), np.array([False, True] * 3)
    assert best_threshold(score, positive) == pytest.approx(0.5)


def test_a_threshold_lies_between_two_values_or_in_the_middle_of_all() -> None:
    positive = np.array([False, True, True])
    assert best_threshold(np.array([0.1, 0.3, 0.3]), positive) == pytest.approx(0.2)
    assert best_threshold(np.array([0.1, 0.1, 0.1]), positive) == 0.5


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    values = binary_metrics(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    assert values["log_loss"] == pytest.approx(-np.log(1e-12) / 2)


def test_mean_probability_over_rounds_and_networks() -> None:
    first = (np.array([4, 2]), np.array([[0.2, 0.8], [1.0, 0.0]]))
    second = (np.array([2, 7]), np.array([[0.5, 0.5], [0.1, 0.9]]))
    rows, prob = mean_probability([first, second])
    assert rows.tolist() == [2, 4, 7]
    np.testing.assert_allclose(prob, [[0.75, 0.25], [0.2, 0.8], [0.1, 0.9]])


def test_mean_of_folds() -> None:
    assert mean_of([{"auc": 0.5}, {"auc": 1.0}]) == {"auc": 0.75}


def scored(seed: int, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """label, prob, group of 2 samples a patient, with ties."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=2 * patients)
    return label, np.round((label + 2 * rng.random(2 * patients)) / 3, 1), np.repeat(np.arange(patients), 2)


def test_bootstrap_against_a_loop_over_patients() -> None:
    """Drawn one patient after the other, and scored by scikit-learn: the same interval."""
    label, prob, group = scored(4)
    rng = np.random.default_rng(9)
    areas = []
    while len(areas) < 200:
        drawn = rng.integers(60, size=60)
        rows = [row for patient in drawn for row in range(len(group)) if group[row] == patient]
        if 0 < label[rows].sum() < len(rows):
            areas.append(roc_auc_score(label[rows], prob[rows]))
    bootstrap = GroupBootstrap(group, label, 200, seed=9)
    found = bootstrap.interval(lambda rows: {"auc": auc(prob[rows], label[rows] == 1)})["auc"]
    assert found == pytest.approx(np.percentile(areas, [2.5, 97.5]))


def test_a_test_part_too_small_to_resample_is_one_line() -> None:
    """12 classes of one patient each: about 5 in 100,000 draws hold all of them."""
    with pytest.raises(NASError, match="12 patients with 12 classes"):
        GroupBootstrap(np.arange(12), np.arange(12), 200)
