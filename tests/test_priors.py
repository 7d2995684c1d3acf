"""Priors of experts: weights, samples, the first trial; they are no part of any identity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import Gene
from nas.errors import NASError
from nas.history import History, State, Trial
from nas.multiobjective.constraints import Constraint
from nas.priors import around, weights_of
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.priorband import PriorBand
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.first_trial import next_proposal
from nas.strategies.local_search import LocalSearch
from nas.strategies.optuna_samplers import NSGA2, TPE
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.predictor import Predictor
from nas.strategies.random import RandomSearch
from search_spaces.detector import DetectorSpace
from search_spaces.dints.space import DiNTSSpace
from search_spaces.naslung import NASLungSpace
from tests.strategies.tables import Grid, empty, extended, total

GRID = Grid((5, 4, 3), mixed=True)
STRATEGIES: list[Callable[[], Strategy]] = [
    RandomSearch,
    lambda: RegularizedEvolution(4, 2),
    lambda: LocalSearch(3),
    lambda: Predictor(4, trees=4, candidates=10),
    lambda: NSGA2(4),
    lambda: TPE(4),
    lambda: PartialOrderPruning(patience=0),
    lambda: MultiFidelity(RandomSearch(), ASHA(2, 1, 4)),
    lambda: PriorBand(2, 1, 4),
    lambda: PriorBand(2, 1, 4, default_as_incumbent=True),
]
WEIGHTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=5, max_size=5).filter(any)


@settings(max_examples=20, deadline=None)
@given(weights=WEIGHTS, seed=st.integers(0, 2**20))
def test_samples_follow_the_weights(weights: list[float], seed: int) -> None:
    """Within four standard errors of 400 draws; a choice without weight is never drawn."""
    space, rng = GRID.with_prior({"g0": weights}), np.random.default_rng(seed)
    drawn = np.bincount([space.sample(rng).genes[0] for _ in range(400)], minlength=5)
    share = np.array(weights) / sum(weights)
    assert (np.abs(drawn - 400 * share) <= 4 * np.sqrt(400 * share * (1 - share)) + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(weights=WEIGHTS, genes=st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9)))
def test_a_prior_changes_no_identity(weights: list[float], genes: tuple[int, ...]) -> None:
    space = GRID.with_prior({"g0": weights, "g2": 1})
    assert space.fingerprint == GRID.fingerprint
    assert space.repair(genes) == GRID.repair(genes)
    assert space.arguments == GRID.arguments
    assert GRID.genes[0].prior is None


@pytest.mark.parametrize("ordinal", [False, True])
@pytest.mark.parametrize("index", [0, 2, 4])
def test_the_weights_around_a_value_fall_with_the_distance(ordinal: bool, index: int) -> None:
    gene = Gene("lr", (1e-4, 1e-3, 1e-2, 1e-1, 1.0), ordinal=ordinal)
    weights = around(gene, index)
    assert sum(weights) == pytest.approx(1)
    assert weights_of(gene, gene.choices[index]) == weights
    distances = np.abs(np.arange(5) - index)
    by_distance = [{round(weights[n], 12) for n in range(5) if distances[n] == d} for d in range(distances.max() + 1)]
    assert all(len(one) == 1 for one in by_distance)
    values = [one.pop() for one in by_distance]
    assert values[0] > max(values[1:])
    assert sorted(values, reverse=True) == values
    assert (len(set(values)) == len(values)) is ordinal


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"depth": 1}, "a prior of the gene 'depth'; expected one of g0, g1, g2"),
        ({"g0": 7}, r"a prior 7 of the gene g0; expected one of \[0, 1, 2, 3, 4\]"),
        ({"g0": [1, 2]}, "5 weights of at least 0"),
        ({"g0": [0, 0, 0, 0, 0]}, "one of them above 0"),
        ({"g0": [1, -1, 0, 0, 0]}, "one of them above 0"),
    ],
)
def test_a_wrong_prior_is_refused(prior: dict[str, object], message: str) -> None:
    with pytest.raises(NASError, match=message):
        GRID.with_prior(prior)


def test_the_centre_has_the_largest_weights_and_else_the_middle() -> None:
    assert GRID.centre is None
    centre = GRID.with_prior({"g1": [1, 1, 5, 0]}).centre
    assert centre is not None
    assert centre.genes == (2, 2, 0)


@pytest.mark.parametrize(
    "space",
    [
        NASLungSpace(widths=(4, 8), max_depth=5),
        DiNTSSpace(num_blocks=2, num_depths=2, channel_mul=0.125),
        DetectorSpace(),
    ],
    ids=lambda space: type(space).__name__,
)
def test_spaces_that_define_sample_themselves_follow_priors(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    wanted = space.sample(rng)
    sure = {
        gene.name: [float(n == index) for n in range(len(gene.choices))]
        for gene, index in zip(space.genes, wanted.genes, strict=True)
    }
    believed = space.with_prior(sure)
    assert {believed.sample(rng) for _ in range(5)} == {wanted}
    assert believed.centre == wanted
    assert len({space.with_prior({}).sample(rng) for _ in range(20)}) > 1


@pytest.mark.parametrize("make", STRATEGIES)
def test_the_first_trial_is_the_centre_of_the_prior(make: Callable[[], Strategy]) -> None:
    """Every strategy begins with it; without a prior, or after it was tried, the proposal is that of the strategy."""
    space, rng = GRID.with_prior({"g0": 3, "g1": 1, "g2": 2}), np.random.default_rng
    first = next_proposal(make(), space, empty(), rng(0))
    assert first is not None
    assert first.arch == space.centre
    history = extended(empty(), Trial(0, first.arch, first.budget, State.RUNNING))
    assert next_proposal(make(), space, history, rng(1)) == make().propose(space, history, rng(1))
    assert next_proposal(make(), GRID, empty(), rng(0)) == make().propose(GRID, empty(), rng(0))


@pytest.mark.parametrize("make", [RandomSearch, lambda: PriorBand(2, 1, 4, default_as_incumbent=True)])
def test_a_centre_that_breaks_a_limit_is_left_out(make: Callable[[], Strategy]) -> None:
    space = GRID.with_prior({"g0": 4, "g1": 3})
    history = empty(constraints=(Constraint("cost", 3.0),), costs={"cost": total})
    proposal = next_proposal(make(), space, history, np.random.default_rng(0))
    assert proposal is not None
    assert sum(proposal.arch.genes) <= 3
    limited = next_proposal(RandomSearch(cost_max=2), space, empty(), np.random.default_rng(0))
    assert limited is not None
    assert sum(limited.arch.genes) <= 2


@pytest.mark.parametrize("make", [RandomSearch, lambda: RegularizedEvolution(9, 2), lambda: TPE(9), lambda: NSGA2(9)])
def test_random_networks_of_every_strategy_are_drawn_by_the_prior(make: Callable[[], Strategy]) -> None:
    """Choices without weight are not drawn, with a limit also when the space is enumerated."""
    space = Grid((6, 6, 6)).with_prior({"g0": [0, 0, 1, 1, 0, 0], "g1": [1, 1, 1, 0, 0, 0]})
    for history in (empty(), empty(constraints=(Constraint("cost", 3.0),), costs={"cost": total})):
        history = History((), history.objectives, total, "cost", history.constraints, history.costs)
        for seed in range(20):
            proposal = make().propose(space, history, np.random.default_rng(seed))
            assert proposal is not None
            assert proposal.arch.genes[0] in (2, 3)
            assert proposal.arch.genes[1] < 3


def test_a_mutant_is_drawn_by_the_prior() -> None:
    space, rng = GRID.with_prior({"g0": [1, 1, 0, 0, 0]}), np.random.default_rng(0)
    assert max(space.mutate(space.repair([0, 0, 0]), rng).genes[0] for _ in range(50)) == 1
