"""The model that stands in for networks that a table lacks, on tables whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas.artifact import SpaceFacts
from nas.errors import NASError
from nas.history import Proposal, State, Trial
from nas.simulator import simulate
from nas.strategies.predictor import Predictor
from nas.strategies.random import RandomSearch
from nas.surrogate import Surrogate
from nas.trials_table import TrialsTable
from search_spaces.dints.space import DiNTSSpace

SPACE = DiNTSSpace(num_blocks=3, num_depths=2, channel_mul=0.125)
NOISE, OWN = 0.004, 0.006
GOOD = 0.78
OBJECTIVES = {"dice": "maximize", "macs": "minimize"}


def cost(genes_NG: np.ndarray) -> np.ndarray:
    return (genes_NG > 0).sum(axis=1).astype(float)


def quality(genes: tuple[int, ...]) -> float:
    """Better with convolutions, and with an unbroken path at the finest level."""
    operations = SPACE.table(genes)
    return 0.7 + 0.05 * bool((operations[:, 0] >= 0).all()) + 0.01 * int((operations > 0).sum())


def table(networks: int = 120, replicates: int = 3, own_of_good: float = OWN) -> TrialsTable:
    rng = np.random.default_rng(0)
    archs = list({SPACE.sample(rng): None for _ in range(networks)})
    records = []
    for arch in archs:
        own = rng.normal(0, own_of_good if quality(arch.genes) > GOOD else OWN)
        for replicate in range(replicates):
            metrics = {
                "dice": quality(arch.genes) + own + rng.normal(0, NOISE),
                "macs": float(cost(np.array([arch.genes]))[0]),
                "seconds": 10.0 + cost(np.array([arch.genes]))[0],
            }
            number = len(records)
            records.append(Trial(number, arch, 8, State.COMPLETE, metrics, finished=number + 1.0, replicate=replicate))
    return TrialsTable.of(records, SpaceFacts.of(SPACE), OBJECTIVES, {"cost": {"metric": "macs"}})


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Surrogate(table(), cost)


def test_its_error_is_known(surrogate: Surrogate) -> None:
    error = surrogate.errors["dice"]
    assert error.networks > 100
    assert error.explained > 0.8
    assert error.tau > 0.7
    assert error.noise == pytest.approx(NOISE, rel=0.2)
    assert error.unexplained == pytest.approx(OWN, rel=0.35)
    assert error.rmse >= error.unexplained


def test_networks_of_the_table_have_their_own_means(surrogate: Surrogate) -> None:
    rows = table()
    archs = [SPACE.architecture(genes) for genes in rows.genes_NG[::3].tolist()]
    means_N = rows.metrics["dice"].reshape(-1, 3).mean(axis=1)
    assert [metrics["dice"] for metrics in surrogate.expected(archs)] == pytest.approx(means_N.tolist())


def test_networks_that_the_table_lacks(surrogate: Surrogate) -> None:
    rng = np.random.default_rng(7)
    archs = [SPACE.sample(rng) for _ in range(300)]
    expected = np.array([metrics["dice"] for metrics in surrogate.expected(archs)])
    truth = np.array([quality(arch.genes) for arch in archs])
    assert np.corrcoef(expected, truth)[0, 1] > 0.9
    assert OWN < np.std(expected - truth) < 2 * OWN  # the error of the model and the deviation of its own


def test_good_networks_differ_as_good_networks_of_the_table_do() -> None:
    surrogate = Surrogate(table(networks=300, own_of_good=0.0), cost)
    rng = np.random.default_rng(7)
    archs = [SPACE.sample(rng) for _ in range(600)]
    apart = np.array([metrics["dice"] for metrics in surrogate.expected(archs)])
    apart -= [quality(arch.genes) for arch in archs]
    good = np.array([quality(arch.genes) > GOOD + 0.01 for arch in archs])
    assert min(good.sum(), (~good).sum()) > 50
    assert apart[good].std() < 0.6 * apart[~good].std()


def test_replicates_differ_by_the_noise_of_the_table_and_come_again(surrogate: Surrogate) -> None:
    arch = SPACE.sample(np.random.default_rng(3))
    scores = [surrogate.outcome(Proposal(arch, replicate=number))[1]["metrics"]["dice"] for number in range(200)]  # type: ignore[index]
    assert np.std(scores) == pytest.approx(NOISE, rel=0.25)
    assert np.mean(scores) == pytest.approx(surrogate.expected([arch])[0]["dice"], abs=4 * NOISE / np.sqrt(200))
    assert surrogate.outcome(Proposal(arch, replicate=5))[1]["metrics"]["dice"] == scores[5]  # type: ignore[index]
    other = Surrogate(table(), cost, seed=1).outcome(Proposal(arch, replicate=5))[1]["metrics"]["dice"]  # type: ignore[index]
    assert other != scores[5]


def test_a_training_that_hardly_learned_makes_no_other_one_better() -> None:
    """Measured from the mean of its network, it would make its good replicates the best of all trainings."""
    plain, failed = table(), table()
    failed.metrics["dice"][30] -= 0.4
    surrogate, arch = Surrogate(failed, cost), SPACE.sample(np.random.default_rng(3))
    noise = np.array([surrogate.outcome(Proposal(arch, replicate=n))[1]["metrics"]["dice"] for n in range(3000)])  # type: ignore[index]
    noise -= surrogate.expected([arch])[0]["dice"]
    assert noise.max() < 6 * NOISE
    assert noise.min() == pytest.approx(-0.4, abs=6 * NOISE)
    assert (noise < -0.1).mean() == pytest.approx(1 / len(failed), abs=0.003)
    assert surrogate.errors["dice"].noise == pytest.approx(Surrogate(plain, cost).errors["dice"].noise, rel=0.01)
    own = SPACE.architecture(failed.genes_NG[30].tolist())
    assert surrogate.expected([own])[0]["dice"] == pytest.approx(failed.metrics["dice"][31:33].mean())


def test_a_network_most_of_whose_trainings_hardly_learned_keeps_them_all() -> None:
    failed = table()
    failed.metrics["dice"][30:33] = [0.8, 0.45, 0.05]
    surrogate = Surrogate(failed, cost)
    own = SPACE.architecture(failed.genes_NG[30].tolist())
    assert surrogate.expected([own])[0]["dice"] == pytest.approx(1.3 / 3)
    arch = SPACE.sample(np.random.default_rng(3))
    noise = [surrogate.outcome(Proposal(arch, replicate=n))[1]["metrics"]["dice"] for n in range(1000)]  # type: ignore[index]
    assert np.isfinite(noise).all()


def test_a_failed_training_leaves_the_budgets_of_the_others() -> None:
    plain = table(40, 2)  # few columns, as each has a model
    curves = {name: np.tile(plain.metrics[name][:, None], (1, 2)).astype(np.float32) for name in ("dice", "seconds")}
    failed = replace(plain, curves={name: values.copy() for name, values in curves.items()}, states=[*plain.states])
    failed.states[4] = State.FAILED
    for values_NE in failed.curves.values():
        values_NE[4] = np.nan
    names = [set(Surrogate(one, cost).errors) for one in (replace(plain, curves=curves), failed)]
    assert names[0] == names[1] >= {"dice@1", "seconds@1"}


def test_searches_beyond_the_table() -> None:
    surrogate = Surrogate(replace(table(), objectives={"dice": "maximize"}), cost)
    best = {}
    for name, strategy in {"random": RandomSearch(), "linear": Predictor(start=5, model="linear")}.items():
        chosen = [simulate(strategy, surrogate, 30, seed).history.best.arch for seed in range(4)]
        best[name] = np.mean([metrics["dice"] for metrics in surrogate.expected(chosen)])
    assert best["linear"] > best["random"]


def test_a_table_that_is_too_small() -> None:
    with pytest.raises(NASError, match="at least 20"):
        Surrogate(table(networks=10), cost)


def test_a_budget_between_two_validations_is_refused() -> None:
    found = table(60)
    rows = len(found.seconds_N)
    dice_NE = np.tile(np.array([np.nan, 0.5, np.nan, 0.7], dtype=np.float32), (rows, 1))
    seconds_NE = np.tile(np.array([np.nan, 5.0, np.nan, 10.0], dtype=np.float32), (rows, 1))
    surrogate = Surrogate(replace(found, curves={"dice": dice_NE, "seconds": seconds_NE}), cost)
    arch = SPACE.sample(np.random.default_rng(1))
    assert surrogate.outcome(Proposal(arch, 2))[0] == pytest.approx(5, abs=0.1)
    with pytest.raises(NASError, match=r"after 3 of 4 epochs.*budgets among 2, 4"):
        surrogate.outcome(Proposal(arch, 3))
