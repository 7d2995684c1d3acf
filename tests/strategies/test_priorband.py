"""PriorBand: shares of its three distributions, its conditions, and its regret beside Hyperband and NePS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nas.errors import NASError
from nas.history import History, State
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.fidelity.hyperband import Hyperband
from nas.strategies.fidelity.priorband import PriorBand, centred, neighbourhood
from nas.strategies.fidelity.strategy import MultiFidelity
from nas.strategies.random import RandomSearch
from tests.strategies.synthetic import BAD, GOOD, line, regret
from tests.strategies.tables import Grid, empty, extended, hill, record

SPACE = Grid((5, 5, 5)).with_prior({"g0": 2, "g1": 3, "g2": 2})
NEPS = os.environ.get("VOXNAS_NEPS") or (sys.executable if find_spec("neps") else "")
EPOCHS, SEEDS = 324, 20  # of the comparison with NePS: 12 trainings with the largest budget


def finished(budgets: list[int]) -> History:
    """Different networks, each with one result."""
    rows = np.random.default_rng(0).permutation(125)[: len(budgets)]
    archs = [SPACE.repair(np.unravel_index(row, (5, 5, 5))) for row in rows]
    pairs = enumerate(zip(archs, budgets, strict=True))
    return extended(empty(), *(record(number, arch, hill(arch.genes), budget) for number, (arch, budget) in pairs))


@pytest.mark.parametrize(("rung", "random"), [(0, 1 / 2), (1, 1 / 4), (2, 1 / 10)])
def test_higher_rungs_trust_the_prior_more(rung: int, random: float) -> None:
    shares = PriorBand(3, 1, 9).shares(SPACE, empty(), rung)
    assert shares.tolist() == pytest.approx([random, 1 - random, 0])


@pytest.mark.parametrize(
    ("budgets", "active"),
    [
        ([1] * 9 + [3] * 3 + [9], True),  # one bracket of successive halving: 9 + 3 * 2 + 6 epochs
        ([1] * 9 + [3] * 3, False),  # none on the highest rung
        ([1] * 2 + [9], False),  # no rung with three, and too few epochs
        ([1] * 8 + [3] * 3 + [9], False),  # an epoch less
    ],
)
def test_the_incumbent_counts_once_a_bracket_was_spent(budgets: list[int], active: bool) -> None:
    history = finished(budgets)
    shares = PriorBand(3, 1, 9).shares(SPACE, history, 1)
    assert bool(shares[2] > 0) is active
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(1 / 4)
    as_incumbent = PriorBand(3, 1, 9, default_as_incumbent=True).shares(SPACE, history, 1)
    assert as_incumbent[2] == pytest.approx(shares[2] if active else 3 / 8)


def test_a_prior_far_from_the_good_networks_loses_its_share() -> None:
    """The share follows the densities of the best networks under prior and incumbent."""
    history = finished([1] * 9 + [3] * 3 + [9])
    near = Grid((5, 5, 5)).with_prior({"g0": 2, "g1": 3, "g2": 2})
    far = Grid((5, 5, 5)).with_prior({"g0": 0, "g1": 0, "g2": 4})
    by_near, by_far = (PriorBand(3, 1, 9).shares(space, history, 1)[2] for space in (near, far))
    assert 0 < by_near < by_far < 3 / 4


def test_the_neighbourhood_keeps_half_of_the_genes() -> None:
    space, rng = Grid((6, 6, 6, 4), mixed=True), np.random.default_rng(0)
    genes = (2, 3, 4, 1)
    drawn = np.array([neighbourhood(space, genes).sample(rng).genes for _ in range(2000)])
    kept = (drawn == genes).mean(axis=0)
    assert kept[3] == pytest.approx(0.5, abs=0.04)  # without an order another choice is always another one
    assert ((kept[:3] > 0.55) & (kept[:3] < 0.72)).all()
    assert set(np.unique(drawn[:, 3])) == {0, 1, 2, 3}
    centre = centred(space, genes).centre
    assert centre is not None
    assert centre.genes == genes


def test_the_default_as_incumbent_is_trained_to_the_end_first() -> None:
    strategy = PriorBand(3, 1, 9, default_as_incumbent=True)
    first = strategy.propose(SPACE, empty(), np.random.default_rng(0))
    assert first is not None
    assert (first.arch, first.budget) == (SPACE.centre, 9)
    history = extended(empty(), record(0, first.arch, hill(first.arch.genes), 9))
    assert strategy.shares(SPACE, history, 2).tolist() == pytest.approx([0.1, 0.45, 0.45])
    second = strategy.propose(SPACE, history, np.random.default_rng(1))
    assert second is not None
    assert second.budget == 1


def test_it_promotes_as_its_rule_and_takes_other_rules() -> None:
    history = finished([1] * 9)
    by_hyperband = PriorBand(3, 1, 9).propose(SPACE, history, np.random.default_rng(0))
    rule = Hyperband(3, 1, 9)
    assert by_hyperband == rule.promotion(history)
    by_asha = PriorBand(fidelity=ASHA(3, 1, 9)).propose(SPACE, finished([1] * 3), np.random.default_rng(0))
    assert by_asha == ASHA(3, 1, 9).promotion(finished([1] * 3))
    assert by_asha is not None
    assert by_asha.budget == 3
    running = extended(empty(), *(replace(trial, state=State.RUNNING, metrics={}) for trial in history))
    assert PriorBand(3, 1, 9).propose(SPACE, running, np.random.default_rng(0)) is not None


def test_wrong_budgets_name_the_settings_of_the_strategy() -> None:
    with pytest.raises(NASError, match=r"strategy.min_budget=9 with strategy.max_budget=3"):
        PriorBand(3, 9, 3)
    with pytest.raises(NASError, match="one rule for the budgets"):
        MultiFidelity(PriorBand(3, 1, 9), ASHA(3, 1, 9))


def regrets(prior: str, epochs: int, seeds: int, hyperband: bool = False) -> np.ndarray:
    space = line({"good": GOOD, "bad": BAD}[prior])
    strategy = MultiFidelity(RandomSearch(), Hyperband(3, 1, 27)) if hyperband else PriorBand(3, 1, 27)
    plain = line(None) if hyperband else space
    return np.array([regret(strategy, plain, epochs, seed) for seed in range(seeds)])


def test_a_good_prior_helps_and_a_bad_one_is_overcome() -> None:
    """Mean regret: far below Hyperband with a good prior, not far above it with a bad one."""
    good, bad, without = (regrets(*words) for words in (("good", 162, 6), ("bad", 162, 6), ("good", 162, 6, True)))
    assert good.mean() < 0.4 * without.mean()
    assert bad.mean() < 2 * without.mean()


@pytest.mark.slow
@pytest.mark.skipif(not NEPS, reason="NePS is not installed: VOXNAS_NEPS=<python of an environment with NePS>")
@pytest.mark.parametrize(("prior", "centre"), [("good", GOOD), ("bad", BAD)])
def test_its_regret_is_at_most_that_of_neps(prior: str, centre: tuple[float, ...]) -> None:
    """Same function, prior, budgets and number of epochs; no worse by more than two standard errors."""
    script = Path(__file__).parent / "neps_regrets.py"
    words = [NEPS, str(script), str(SEEDS), str(EPOCHS), *map(str, centre)]
    finished = subprocess.run(words, capture_output=True, text=True, check=True, timeout=900)
    theirs, ours = np.array(json.loads(finished.stdout.splitlines()[-1])), regrets(prior, EPOCHS, SEEDS)
    error = np.sqrt(theirs.var(ddof=1) / len(theirs) + ours.var(ddof=1) / len(ours))
    assert ours.mean() <= theirs.mean() + 2 * error
