"""Statistics of noisy evaluations against closed forms, direct computation and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway, kendalltau, spearmanr

from nas.metrics.noise import (
    Components,
    expected_loss,
    expected_maximum,
    icc,
    icc_interval,
    icc_of_mean,
    kendall_between_replicates,
    kendall_ceiling,
    pooled_deviation,
    replicates_for,
    share_of_noise,
    spearman_ceiling,
    variance_components,
    without_replicate_effects,
)

ROWS = st.lists(st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=4), min_size=2, max_size=8)


def evaluations(networks: int, replicates: int, true_icc: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True qualities (N,) and evaluations (N, R) of the given intra-class correlation."""
    rng = np.random.default_rng(seed)
    true_N = rng.normal(scale=np.sqrt(true_icc), size=networks)
    return true_N, true_N[:, None] + rng.normal(scale=np.sqrt(1 - true_icc), size=(networks, replicates))


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_icc_of_equal_counts_follows_from_the_f_statistic(seed: int, networks: int, replicates: int) -> None:
    values = np.random.default_rng(seed).normal(size=(networks, replicates))
    f = f_oneway(*values).statistic
    assert icc(values) == pytest.approx((f - 1) / (f + replicates - 1))


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_components_of_unequal_counts_are_searles(values: list[list[float]]) -> None:
    found, count = variance_components(values), [len(row) for row in values]
    if max(count) < 2:
        assert found is None
        return
    total, networks = sum(count), len(count)
    everything = np.concatenate([np.array(row) for row in values])
    within = sum(sum((x - np.mean(row)) ** 2 for x in row) for row in values) / (total - networks)
    squares = sum(len(row) * (np.mean(row) - everything.mean()) ** 2 for row in values)
    typical = (total - sum(c * c for c in count) / total) / (networks - 1)
    assert found is not None
    assert found.within == pytest.approx(within)
    assert found.between == pytest.approx((squares / (networks - 1) - within) / typical)
    assert (found.networks, found.evaluations) == (networks, total)
    assert pooled_deviation(values) == pytest.approx(np.sqrt(within))


def test_components_of_unequal_counts_are_unbiased() -> None:
    rng = np.random.default_rng(3)
    counts, found = [1, 1, 1, 2, 3, 6], []
    for _ in range(3000):
        values = [rng.normal(2.0 * rng.normal(), 1.0, size=count) for count in counts]
        components = variance_components(values)
        assert components is not None
        found.append((components.between, components.within))
    assert np.mean(found, axis=0) == pytest.approx([4.0, 1.0], rel=0.06)


def test_interval_holds_the_truth_and_narrows_with_networks() -> None:
    widths, hits = [], 0
    for networks in (10, 160):
        low, high = icc_interval(evaluations(networks, 3, 0.6, seed=networks)[1])
        widths.append(high - low)
    for seed in range(40):
        low, high = icc_interval(evaluations(40, 3, 0.6, seed)[1], resamples=300)
        hits += low <= 0.6 <= high
    assert widths[1] < widths[0] / 2
    assert 30 <= hits <= 40


def test_interval_has_the_percentiles_5_and_95_of_resampled_networks() -> None:
    """Networks drawn and correlated one resample after the other; some resamples have no replicate at all."""
    values = [[1.0, 2.0, 1.5], [4.0], [3.2], [6.1], [2.5, 1.9], [0.3]]
    rng, found = np.random.default_rng(7), []
    for _ in range(300):
        found.append(icc([values[network] for network in rng.integers(6, size=6)]))
    assert np.isnan(found).any()
    assert icc_interval(values, resamples=300, seed=7) == pytest.approx(np.nanpercentile(found, [5, 95]))


def test_interval_of_one_network_or_of_one_replicate_is_undefined() -> None:
    assert np.isnan(icc_interval([[1.0, 2.0]])).all()
    assert np.isnan(icc_interval([[1.0], [2.0]])).all()
    assert np.isnan(icc([[1.0, 1.0], [1.0, 1.0]]))
    assert np.isnan(pooled_deviation([[1.0], [2.0]]))


@pytest.mark.parametrize("true_icc", [0.1, 0.5, 0.9])
def test_ceilings_are_those_of_a_simulation(true_icc: float) -> None:
    true_N, value_NR = evaluations(4000, 2, true_icc)
    first, second = value_NR.T
    assert kendall_ceiling(true_icc) == pytest.approx(kendalltau(first, true_N).statistic, abs=0.02)
    assert spearman_ceiling(true_icc) == pytest.approx(spearmanr(first, true_N).statistic, abs=0.03)
    assert kendall_between_replicates(true_icc) == pytest.approx(kendalltau(first, second).statistic, abs=0.02)


def test_ceilings_without_and_with_nothing_but_noise() -> None:
    assert kendall_ceiling(1.0) == spearman_ceiling(1.0) == kendall_between_replicates(1.0) == pytest.approx(1.0)
    assert kendall_ceiling(-0.2) == spearman_ceiling(0.0) == kendall_between_replicates(-0.1) == 0.0
    assert (share_of_noise(-0.1), share_of_noise(0.25), share_of_noise(1.0)) == (1.0, 0.75, 0.0)


def test_expected_maximum_is_the_closed_form() -> None:
    closed = [0.0, 1 / np.sqrt(np.pi), 1.5 / np.sqrt(np.pi)]
    assert [expected_maximum(count) for count in (1, 2, 3)] == pytest.approx(closed, abs=1e-6)
    assert expected_maximum(10) == pytest.approx(1.53875, abs=1e-4)


@pytest.mark.parametrize(("true_icc", "choices", "replicates"), [(0.2, 10, 1), (0.5, 5, 3), (0.9, 30, 1)])
def test_expected_loss_is_that_of_a_simulation(true_icc: float, choices: int, replicates: int) -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(scale=np.sqrt(true_icc), size=(40_000, choices))
    seen = true + rng.normal(scale=np.sqrt((1 - true_icc) / replicates), size=true.shape)
    lost = true.max(axis=1) - true[np.arange(len(true)), seen.argmax(axis=1)]
    components = Components(true_icc, 1 - true_icc, choices, choices)
    assert expected_loss(components, choices, replicates) == pytest.approx(lost.mean(), abs=0.01)


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95))
def test_replicates_are_the_fewest_that_reach_the_wanted_icc(single: float, wanted: float) -> None:
    count = replicates_for(single, wanted)
    assert count is not None
    assert icc_of_mean(single, count) >= wanted - 1e-6
    assert count == 1 or icc_of_mean(single, count - 1) < wanted


def test_no_number_of_replicates_helps_against_nothing_but_noise() -> None:
    assert replicates_for(0.0, 0.5) is None
    assert replicates_for(float("nan"), 0.5) is None
    assert replicates_for(1.0, 0.5) == 1


def test_icc_of_a_mean_is_that_of_simulated_means() -> None:
    _, value_NR = evaluations(3000, 6, 0.3)
    means = np.stack([value_NR[:, :3].mean(axis=1), value_NR[:, 3:].mean(axis=1)], axis=1)
    assert icc(means) == pytest.approx(icc_of_mean(0.3, 3), abs=0.03)


def test_consistency_is_that_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(5)
    value_NR = rng.normal(size=(7, 1)) + 10 * rng.normal(size=(1, 4)) + 0.5 * rng.normal(size=(7, 4))
    apart, lost = without_replicate_effects([dict(enumerate(row)) for row in value_NR.tolist()])
    found = variance_components([list(row.values()) for row in apart], lost=lost)
    mean_N, mean_R = value_NR.mean(axis=1, keepdims=True), value_NR.mean(axis=0, keepdims=True)
    error = ((value_NR - mean_N - mean_R + value_NR.mean()) ** 2).sum() / (6 * 3)
    networks = 4 * mean_N.var(ddof=1)
    assert found is not None
    assert lost == 3
    assert found.within == pytest.approx(error)
    assert found.between == pytest.approx((networks - error) / 4)
    assert np.mean([value for row in apart for value in row.values()]) == pytest.approx(value_NR.mean())


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_effects_of_replicates_are_those_of_least_squares_with_missing_values(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values = [{r: float(rng.normal()) for r in range(count) if r == 0 or rng.random() < 0.6} for _ in range(6)]
    apart, lost = without_replicate_effects(values)
    rows = [(network, replicate) for network, row in enumerate(values) for replicate in row]
    design = np.zeros((len(rows), 6 + count))
    for at, (network, replicate) in enumerate(rows):
        design[at, network] = design[at, 6 + replicate] = 1
    y = np.array([values[network][replicate] for network, replicate in rows])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    squares = sum(((np.array(list(row.values())) - np.mean(list(row.values()))) ** 2).sum() for row in apart)
    assert squares == pytest.approx((left**2).sum())
    assert np.mean([value for row in apart for value in row.values()]) == pytest.approx(y.mean())
    assert lost == np.linalg.matrix_rank(design) - 6


def test_replicates_of_selected_networks_count_for_the_noise_alone() -> None:
    """200 networks evaluated once; the best ten are repeated: the estimate stays near the truth."""
    found = []
    for seed in range(60):
        _, value_NR = evaluations(200, 4, 0.4, seed)
        best = set(np.argsort(-value_NR[:, 0])[:10].tolist())
        further = [row[1:].tolist() if number in best else [] for number, row in enumerate(value_NR)]
        found.append(icc(value_NR[:, :1], further))
    assert np.mean(found) == pytest.approx(0.4, abs=0.04)
