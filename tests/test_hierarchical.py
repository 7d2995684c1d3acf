"""The interval of a mean over networks: against its definition, and its coverage in a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from nas.metrics.hierarchical import expanded_percentiles, interval_of_mean


def draws(value_KB: np.ndarray) -> list[list[dict[str, float]]]:
    return [[{"dice": float(value)} for value in of_network] for of_network in value_KB]


def test_a_single_network_has_the_percentile_interval_over_patients() -> None:
    values = np.random.default_rng(0).normal(size=(1, 4000))
    low, high = interval_of_mean(draws(values), same_patients=True)["dice"]
    np.testing.assert_allclose((low, high), np.percentile(values, (2.5, 97.5)))


@pytest.mark.parametrize("same_patients", [True, False])
def test_networks_without_spread_over_patients_have_the_interval_of_every_resample_of_networks(
    same_patients: bool,
) -> None:
    """All 27 resamples of three networks, counted out, have the percentiles of the drawn ones."""
    own = np.array([0.2, 0.5, 0.9])
    every = np.sort([own[[a, b, c]].mean() for a in range(3) for b in range(3) for c in range(3)])
    low, high = interval_of_mean(draws(np.repeat(own[:, None], 9000, axis=1)), same_patients)["dice"]
    percentiles = expanded_percentiles(3)
    expected = np.percentile(every, percentiles, method="inverted_cdf")
    np.testing.assert_allclose((low, high), expected, atol=1e-9)


def test_percentiles_are_those_of_students_interval() -> None:
    """For normal draws whose deviation is that of K numbers over K, they give t with K - 1 degrees of freedom."""
    from scipy.stats import norm, t

    for networks in (3, 4, 10):
        low, high = (norm.ppf(one / 100) for one in expanded_percentiles(networks))
        plug_in = np.sqrt((networks - 1) / networks)
        assert high * plug_in == pytest.approx(t.ppf(0.975, networks - 1), rel=1e-4)
        assert low == pytest.approx(-high, rel=1e-4)
    assert expanded_percentiles(2) == (0, 100)
    assert expanded_percentiles(1) == (2.5, 97.5)


def test_undefined_draws_and_metrics_are_left_out() -> None:
    known = [{"dice": 0.5, "hd95": float("nan")}, {}, {"dice": 0.5, "hd95": float("nan")}]
    found = interval_of_mean([known, known], same_patients=True)
    assert found["dice"] == (0.5, 0.5)
    assert np.isnan(found["hd95"]).all()
    assert interval_of_mean([[{}, {}]], same_patients=True) == {}


@pytest.mark.parametrize("same_patients", [True, False])
def test_the_interval_covers_the_mean_of_all_networks(same_patients: bool) -> None:
    """Five networks with a deviation of 0.1 on 40 patients: an interval over patients alone misses most of the time."""
    rng = np.random.default_rng(3)
    covered, over_patients = 0, 0
    for run in range(100):
        network_K = rng.normal(0, 0.1, 5)
        patient = rng.normal(0, 0.1, (1 if same_patients else 5, 40))
        value_KP = network_K[:, None] + patient + rng.normal(0, 0.05, (5, 40))
        rows = rng.integers(40, size=(5, 300, 40))
        rows[:] = rows[0] if same_patients else rows
        value_KB = np.stack([value_P[at].mean(axis=1) for value_P, at in zip(value_KP, rows, strict=True)])
        low, high = interval_of_mean(draws(value_KB), same_patients, run)["dice"]
        covered += low <= 0 <= high
        low, high = np.percentile(value_KB.mean(axis=0), (2.5, 97.5))
        over_patients += low <= 0 <= high
    assert covered >= 86
    assert over_patients <= 70
