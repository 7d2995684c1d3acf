"""Replayed searches: what they see, what their choice is really worth, and what a continued training costs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines import ByCost, FullPath
from benchmarks.bench_fidelity import row_of
from benchmarks.compare_strategies import main as compare
from benchmarks.replays import Grounds, cost_to_reach, ratio_to_reach
from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.history import History, Proposal, State, Trial
from nas.simulator import simulate
from nas.space import SearchSpace
from nas.strategies.base import Strategy
from nas.strategies.fidelity.asha import ASHA
from nas.strategies.random import RandomSearch
from nas.trials_table import TrialsTable, write_h5
from search_spaces.dints.space import DiNTSSpace

SPACE = DiNTSSpace(num_blocks=1, num_depths=2, channel_mul=0.125, operations=("skip", "3x3x3"))
OBJECTIVES = {"dice": "maximize", "macs": "minimize"}
EPOCHS = 4


def table(networks: int = 30, replicates: int = 3) -> TrialsTable:
    """A table whose replicate r of network n has the validation Dice .5 + .001 n + .1 r and the test Dice .01 n + r."""
    rng = np.random.default_rng(0)
    archs = list({SPACE.sample(rng): None for _ in range(networks)})
    records = [
        Trial(
            number=replicates * n + r,
            arch=arch,
            budget=EPOCHS,
            state=State.COMPLETE,
            metrics={"dice": 0.5 + 0.001 * n + 0.1 * r, "macs": float(n + 1), "seconds": 40.0},
            finished=1.0,
            replicate=r,
        )
        for n, arch in enumerate(archs)
        for r in range(replicates)
    ]
    plain = TrialsTable.of(records, SpaceFacts.of(SPACE), OBJECTIVES, {"cost": {"metric": "macs", "input_shape": []}})
    last_N = plain.metrics["dice"]
    test_N = np.array([0.01 * n + r for n in range(len(archs)) for r in range(replicates)])
    return replace(
        plain,
        curves={
            "dice": np.stack([last_N * (epoch + 1) / EPOCHS for epoch in range(EPOCHS)], axis=1).astype(np.float32),
            "seconds": np.tile(10.0 * np.arange(1, EPOCHS + 1), (len(records), 1)).astype(np.float32),
        },
        cases={"test/dice": np.tile(test_N[:, None, None], (1, 5, 1)).astype(np.float32)},
    )


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    write_h5(tmp_path / "t.h5", table())
    return Grounds(tmp_path / "t.h5", "test/dice")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_choice_is_judged_by_replicates_that_the_search_did_not_see(grounds: Grounds, seed: int) -> None:
    replay = grounds.replay(RandomSearch(), 10, seed)
    others = [r for r in range(3) if r != seed]
    best = [round((score - 0.5 - 0.1 * seed) / 0.001) for score in replay.best_T]
    assert replay.true_T == pytest.approx([0.01 * n + np.mean(others) for n in best], abs=1e-5)
    assert replay.cost_T == pytest.approx([number + 1 for number in range(10)])
    assert replay.area_T == sorted(replay.area_T)
    assert replay.area_T[0] >= 0


class Rungs(Strategy):
    """One network with more and more epochs."""

    def propose(self, space: SearchSpace, history: History, rng: np.random.Generator) -> Proposal | None:
        if len(history) == EPOCHS:
            return None
        arch = history[0].arch if history else space.architecture(table().genes_NG[0].tolist())
        return Proposal(arch, len(history) + 1)


def test_a_continued_training_takes_the_difference_in_time() -> None:
    one = table(replicates=1)
    assert simulate(Rungs(), one, EPOCHS, 0).time_T.tolist() == pytest.approx([10.0, 20.0, 30.0, 40.0])
    anew = [replace(one, curves={}, budgets_N=np.full(len(one), budget)) for budget in range(1, EPOCHS + 1)]
    several = replace(
        one,
        curves={},
        cases={},
        budgets_N=np.concatenate([part.budgets_N for part in anew]),
        numbers_N=np.arange(EPOCHS * len(one)),
        genes_NG=np.tile(one.genes_NG, (EPOCHS, 1)),
        seconds_N=np.full(EPOCHS * len(one), 40.0),
        states=one.states * EPOCHS,
        reasons=one.reasons * EPOCHS,
        metrics={name: np.tile(column, EPOCHS) for name, column in one.metrics.items()},
        replicates_N=np.tile(one.replicates_N, EPOCHS),
    )
    assert simulate(Rungs(), several, EPOCHS, 0).time_T.tolist() == pytest.approx([40.0, 80.0, 120.0, 160.0])


def test_baselines(grounds: Grounds) -> None:
    history = simulate(FullPath(), grounds.table, 4, 0).history
    assert len(history) >= 1
    for trial in history:
        assert (SPACE.table(trial.arch.genes)[:, 0] >= 0).all()
    costs = [trial.metrics["macs"] for trial in simulate(ByCost(), grounds.table, 5, 0).history]
    assert costs == sorted(costs, reverse=True)


def test_a_rule_saves_time_and_misses_a_network_that_improves_late() -> None:
    plain = replace(table(), objectives={"dice": "maximize"})
    row = row_of("asha", ASHA(2, 2, EPOCHS), plain, "test/dice", 8, 4)
    assert (row["same_answer"], row["truth"]) == (1, 0)
    assert 0.5 < row["time"] < 1
    late = {name: values_NE.copy() for name, values_NE in plain.curves.items()}
    late["dice"][-3:, :-1] = 0
    row = row_of("asha", ASHA(2, 2, EPOCHS), replace(plain, curves=late), "test/dice", 100, 4)
    assert row["same_answer"] == 0
    assert row["truth"] == pytest.approx(-0.01)


def test_searches_at_equal_cost(grounds: Grounds) -> None:
    assert grounds.replay(RandomSearch(), 10, 0, workers=5).cost_T == pytest.approx([5.0] * 5 + [10.0] * 5)
    assert grounds.replay(Rungs(), 10, 0).cost_T == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert Grounds(grounds.path, objectives=("dice",)).table.objectives == {"dice": "maximize"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--truth", "nothing", "--strategies", "full_path"], "no cases 'nothing'"),
        (["--truth", "test/dice", "--strategies", "tpe,strategy.typo=3"], "strategy.typo=3"),
        (["--truth", "test/dice", "--strategies", "tpe,strategy.start=x"], "strategy.start=x"),
        (["--truth", "test/dice", "--strategies", "nothing"], "strategy=nothing"),
    ],
)
def test_a_comparison_with_a_wrong_setting_ends_before_its_replays(
    tmp_path: Path, grounds: Grounds, words: list[str], named: str
) -> None:
    with pytest.raises(NASError, match=re.escape(named)):
        compare(["--table", str(grounds.path), *words, "--seeds", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_cost_to_reach() -> None:
    assert cost_to_reach(np.array([0.1, 0.3, 0.3, 0.5]), 0.3) == 2
    assert cost_to_reach(np.array([0.1, 0.3]), 0.4) == float("inf")


def test_ratio_to_reach() -> None:
    slow_SC = np.tile(np.arange(1.0, 101.0), (20, 1))
    assert ratio_to_reach(4 * slow_SC, slow_SC, 100) == (0.25, 0.25, 0.25)
    assert ratio_to_reach(slow_SC, 4 * slow_SC, 100)[0] == float("inf")
    noisy_SC = 2 * slow_SC + np.random.default_rng(0).normal(0, 20, size=(20, 1))
    middle, low, high = ratio_to_reach(noisy_SC, slow_SC, 100)
    assert low <= middle <= high
    assert low < high
    rough_SC = np.sort(np.random.default_rng(2).normal(0.8, 0.01, size=(200, 100)))
    assert ratio_to_reach(rough_SC, rough_SC, 50)[0] == 1  # whatever the order in which a mean is summed
