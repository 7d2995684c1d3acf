"""Strategies on noisy scores: pruning beyond the noise, models with noise, comparisons of means."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._gp.gp import GPRegressor
from scipy.stats import t
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from nas.history import History, Proposal, State, Trial
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.local_search import LocalSearch
from nas.strategies.optuna_samplers import GaussianProcess
from nas.strategies.partial_order import strategy as pop
from nas.strategies.partial_order.dominance import PrunedSet, SurvivingSet
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.predictor import Predictor, precisions
from nas.testing import check_strategy
from tests.strategies.tables import Grid, empty, extended, record, total

SPACE = Grid((4, 4, 3), mixed=True)
EVERY = [SPACE.architecture(tuple(row)) for row in SPACE.enumerate().tolist()]  # type: ignore[union-attr]
RUNS = st.lists(st.tuples(st.integers(0, len(EVERY) - 1), st.integers(0, 2), st.integers(0, 8)), max_size=20)


def history_of(runs: list[tuple[int, int, float]], **more) -> History:  # type: ignore[no-untyped-def]
    """Finished trials of (row, replicate, score) in this order."""
    records = [
        replace(
            record(n, EVERY[row], {"score": float(score), "cost": float(sum(EVERY[row].genes))}), replicate=replicate
        )
        for n, (row, replicate, score) in enumerate(runs)
    ]
    return extended(empty(**more), *records)


def scores_of(runs: list[tuple[int, int, float]]) -> dict[int, list[float]]:
    found: dict[int, dict[int, float]] = {}
    for row, replicate, score in runs:
        found.setdefault(row, {}).setdefault(replicate, float(score))
    return {row: list(by_replicate.values()) for row, by_replicate in found.items()}


def below(x: tuple[int, ...], m: tuple[int, ...]) -> bool:
    return x[0] <= m[0] and x[1] <= m[1] and x[2] == m[2]


def pruned_by_hand(runs: list[tuple[int, int, float]], witnesses: int) -> set[tuple[int, ...]]:
    """The rule by loops, with a pooled t test of two means."""
    scores = scores_of(runs)
    degrees = sum(len(values) - 1 for values in scores.values())
    if not degrees:
        return set()
    squares = sum((value - statistics.fmean(values)) ** 2 for values in scores.values() for value in values)
    deviation = math.sqrt(squares / degrees)
    quantile = t.ppf(0.977249868, degrees)  # of two standard errors of a normal distribution
    found = set()
    for arch in EVERY:
        shown = 0
        for m, of_m in scores.items():
            dominated = False
            for y, of_y in scores.items():
                margin = quantile * deviation * math.sqrt(1 / len(of_m) + 1 / len(of_y))
                ahead = statistics.fmean(of_y) - statistics.fmean(of_m)
                cheap = sum(EVERY[y].genes) <= sum(arch.genes)
                dominated |= y != m and cheap and ahead >= margin - 1e-9
            shown += dominated and below(arch.genes, EVERY[m].genes)
        if shown >= witnesses:
            found.add(arch.genes)
    return found


@settings(max_examples=80, deadline=None)
@given(RUNS, st.integers(1, 3))
def test_pruning_beyond_the_noise_is_the_rule_by_brute_force(
    runs: list[tuple[int, int, float]], witnesses: int
) -> None:
    history, strategy = history_of(runs), PartialOrderPruning("auto", witnesses=witnesses)
    meant, cuts = pruned_by_hand(runs, witnesses), strategy.cuts(history)
    pruned = PrunedSet(SPACE, total, witnesses)
    left = SurvivingSet(pruned.genes_NG, pruned.cost_N, SPACE.ordered, witnesses)
    for some in (cuts[::2], cuts):  # in two steps, as during a search
        pruned.update(some)
        left.update(some)
    found = {tuple(genes) for genes in pruned.genes_NG[pruned.mask].tolist()}
    assert found == meant
    for genes, cost, bound in zip(pruned.genes_NG, pruned.cost_N, pruned.bound_N, strict=True):
        met = [cut.score for cut in cuts if below(tuple(genes.tolist()), cut.genes) and cost >= cut.threshold]
        assert bound == (min(met) if len(met) >= witnesses else np.inf)
    assert left.mask.tolist() == (~pruned.mask).tolist()
    accept = pop._Accept(pop.CostWindow(), cuts, SPACE, witnesses)
    assert accept(pruned.genes_NG, total).tolist() == (~pruned.mask).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pop, "MAX_COMPARISONS", 0)
        assert accept(pruned.genes_NG, total).tolist() == (~pruned.mask).tolist()


def test_the_first_networks_are_trained_twice_and_then_the_search_goes_on() -> None:
    strategy, history = PartialOrderPruning("auto", repeats=2, patience=0), empty()
    asked = []
    for number in range(7):
        proposal = strategy.propose(SPACE, history, np.random.default_rng(number))
        assert proposal is not None
        asked.append(proposal)
        done = record(number, proposal.arch, {"score": number % 3, "cost": float(sum(proposal.arch.genes))})
        history = extended(history, replace(done, replicate=proposal.replicate))
    assert [proposal.replicate for proposal in asked] == [0, 1, 0, 1, 0, 0, 0]
    assert asked[1].arch == asked[0].arch
    assert asked[3].arch == asked[2].arch
    assert len({proposal.arch for proposal in asked}) == 5


def test_a_replicate_that_failed_or_runs_is_not_asked_for_again() -> None:
    arch = EVERY[5]
    for state in (State.FAILED, State.RUNNING):
        history = extended(history_of([(5, 0, 1.0)]), Trial(1, arch, 0, state, replicate=1))
        proposal = PartialOrderPruning("auto").propose(SPACE, history, np.random.default_rng(0))
        assert proposal is not None
        assert proposal.arch != arch


def test_earlier_studies_keep_the_identity_of_the_strategy() -> None:
    assert set(PartialOrderPruning().identity) == {"class", "margin", "cost_min", "cost_max", "patience"}
    assert PartialOrderPruning("auto", repeats=3).identity["repeats"] == 3
    assert PartialOrderPruning(witnesses=2).identity["witnesses"] == 2


def test_a_lucky_run_prunes_nothing_and_a_difference_beyond_the_noise_does() -> None:
    """Row numbers: a network that contains the others, and a cheap one that seems better in one run."""
    large, small = EVERY.index(SPACE.architecture((3, 3, 0))), EVERY.index(SPACE.architecture((0, 0, 0)))
    noisy = [(large, 0, 0.80), (large, 1, 0.90), (small, 0, 0.89), (small, 1, 0.85)]
    assert PartialOrderPruning(0.0).cuts(history_of(noisy[:1] + noisy[2:3]))
    assert PartialOrderPruning("auto").cuts(history_of(noisy)) == []
    clear = [(large, 0, 0.80), (large, 1, 0.81), (small, 0, 0.89), (small, 1, 0.90)]
    assert [cut.threshold for cut in PartialOrderPruning("auto").cuts(history_of(clear))] == [0.0]


def test_replicates_in_the_gaussian_process_are_means_with_a_variance_each() -> None:
    """What the sampler is given has the posterior of scikit-learn's process on means with alpha = variance / count."""
    rng = np.random.default_rng(0)
    space, noise = Grid((6, 6)), 0.04
    archs = [space.architecture(genes) for genes in ((0, 1), (2, 2), (4, 0), (5, 5), (1, 4))]
    runs = [(arch, replicate) for arch, count in zip(archs, (1, 3, 2, 5, 1), strict=True) for replicate in range(count)]
    trials = [
        replace(record(n, arch, {"score": sum(arch.genes) / 10 + rng.normal(0, 0.2)}), replicate=replicate)
        for n, (arch, replicate) in enumerate(runs)
    ]
    history = extended(empty({"score": "maximize"}), *trials)
    strategy = GaussianProcess(2)
    given_trials = strategy.observations(history, strategy.facts(history))
    assert sorted(given_trials, key=lambda trial: trial.number) == trials
    x_NG = np.array([trial.arch.genes for trial in given_trials]) / 5
    y_N = np.array([trial.metrics["score"] for trial in given_trials])
    scales = [torch.tensor(value, dtype=torch.float64) for value in ([4.0, 1.5], 0.8, noise)]
    process = GPRegressor(torch.zeros(2, dtype=torch.bool), torch.tensor(x_NG), torch.tensor(y_N), *scales)
    process._cache_matrix()
    every_NG = np.array([(i, j) for i in range(6) for j in range(6)]) / 5
    mean_N, variance_N = (value.numpy() for value in process.posterior(torch.tensor(every_NG)))
    done = history.final()
    count_N = np.array([history.statistic(trial, "score").count for trial in done])
    kernel = ConstantKernel(0.8, "fixed") * Matern((1 / 2, 1 / math.sqrt(1.5)), "fixed", nu=2.5)
    oracle = GaussianProcessRegressor(kernel, alpha=noise / count_N, optimizer=None)
    oracle.fit(np.array([trial.arch.genes for trial in done]) / 5, [trial.metrics["score"] for trial in done])
    meant_N, deviation_N = oracle.predict(every_NG, return_std=True)
    assert mean_N == pytest.approx(meant_N, abs=1e-9)
    assert variance_N == pytest.approx(deviation_N**2, abs=1e-9)


def test_the_gaussian_process_proposes_from_replicates() -> None:
    runs = [(row, replicate, -((row - 20) ** 2) / 50) for row in range(0, 48, 8) for replicate in range(1 + row % 3)]
    history = history_of(runs, objectives={"score": "maximize"})
    proposals = [GaussianProcess(3).propose(SPACE, history, np.random.default_rng(1)) for _ in range(2)]
    assert proposals[0] == proposals[1]
    assert isinstance(proposals[0], Proposal)
    assert proposals[0].replicate == 0


def test_weights_of_the_predictor_are_inverse_variances() -> None:
    runs = [(0, 0, 1.0), (9, 0, 3.0), (9, 1, 4.0), (20, 0, 9.0), (20, 1, 7.0), (20, 2, 8.0), (31, 0, 2.0)]
    history = history_of(runs)
    values = [values for _, values in sorted(scores_of(runs).items())]
    noise = (0.5 + 2.0) / 3  # sums of squares within, over their degrees of freedom
    between = statistics.variance([1.0, 3.5, 8.0, 2.0]) - noise * statistics.fmean([1, 1 / 2, 1 / 3, 1])
    weights = [1 / (between + noise / len(one)) for one in values]
    found = precisions(history, history.final())
    assert found is not None
    assert found == pytest.approx(np.array(weights) / statistics.fmean(weights))
    assert precisions(history_of(runs[:2]), history_of(runs[:2]).final()) is None
    assert precisions(history_of(runs[1:5]), history_of(runs[1:5]).final()) is None


def test_the_predictor_believes_many_runs_more_than_one() -> None:
    """Two neighbours with opposite scores: a prediction for both leans to the one with replicates."""
    rng = np.random.default_rng(3)
    base = [(row, 0, rng.normal()) for row in range(40) if row not in (4, 5)]
    few = history_of([*base, (4, 0, 5.0), (4, 1, 5.0), (5, 0, -5.0), (5, 1, -5.0)], objectives={"score": "maximize"})
    many = history_of(
        [*base, *((4, i, 5.0 + (-1) ** i) for i in range(10)), (5, 0, -5.0), (5, 1, -5.0)],
        objectives={"score": "maximize"},
    )
    archs, strategy = [EVERY[4], EVERY[5]], Predictor(3, beta=0.0)
    sums = [
        np.mean([strategy._optimistic(SPACE, view, archs, np.random.default_rng(i))[0].sum() for i in range(9)])
        for view in (few, many)
    ]
    assert sums[1] > sums[0]


def test_evolution_mutates_the_best_mean_not_the_best_run() -> None:
    runs = [(0, 0, 9.0), (47, 0, 5.0), (0, 1, 0.0), (0, 2, 0.0), (47, 1, 5.0)]
    history = history_of(runs, objectives={"score": "maximize"})
    strategy = RegularizedEvolution(2, 2)
    near_best = 0
    for seed in range(40):
        proposal = strategy.propose(SPACE, history, np.random.default_rng(seed))
        assert proposal is not None
        changed = [sum(a != b for a, b in zip(proposal.arch.genes, EVERY[row].genes, strict=True)) for row in (0, 47)]
        near_best += changed[1] < changed[0]
    assert near_best > 20  # 3 of 4 tournaments hold the network with the best mean
    started = history_of(runs[:1] + runs[2:4], objectives={"score": "maximize"})  # one network, three trials
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.strategies.evolution.mutant", lambda *arguments: pytest.fail("mutated too early"))
        assert strategy.propose(SPACE, started, np.random.default_rng(0)) is not None


def test_local_search_climbs_from_the_best_mean() -> None:
    runs = [(0, 0, 9.0), (47, 0, 5.0), (0, 1, 0.0), (0, 2, 0.0)]
    history = history_of(runs, objectives={"score": "maximize"})
    strategy = LocalSearch(2)
    tops = [climb.top for climb in sorted(strategy.climbs(SPACE, history), key=lambda climb: climb.rank)]
    assert tops[0] == EVERY[47]
    proposal = strategy.propose(SPACE, history, np.random.default_rng(0))
    assert proposal is not None
    assert proposal.arch in strategy.around(SPACE, EVERY[47])


def test_pruning_beyond_the_noise_conforms() -> None:
    check_strategy(PartialOrderPruning("auto", repeats=3, patience=0, witnesses=2), Grid((5, 4, 4), mixed=True), 16)
