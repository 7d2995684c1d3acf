"""The generator of benchmark tables, on two tiny networks of synthetic volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from benchmarks.make_table import OWN_SCORES, WALL, Trainings, add_scores, make_table
from benchmarks.table_recipes import Recipe, recipes
from experiments.build import build
from nas.cost.model import CostModel
from nas.data.source import Source
from nas.data.sources.msd import Msd
from nas.errors import NASError, TrialFailed
from nas.evaluators.base import Evaluator
from nas.evaluators.tabular import LookUp
from nas.evaluators.train import Train
from nas.history import Proposal
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.training.settings import TrainingSettings
from nas.trials_table import SCORES, TrialsTable
from search_spaces.dints.space import DiNTSSpace
from tests.data.written_decathlon import write_decathlon

SPACE = DiNTSSpace(num_blocks=2, num_depths=2, channel_mul=1 / 32, use_downsample=False, out_channels=3)
TINY = Recipe(
    "tiny", SPACE, networks=2, replicates=2, settings=TrainingSettings(epochs=2, batch_size=4), data={"crop": (8, 8, 8)}
)
CLOCKS = ("seconds", WALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decathlon(tmp_path_factory.mktemp("boxes"), count=11)


@pytest.fixture(scope="module")
def made(root: Path) -> Trainings:
    return Trainings(TINY, root, root / "cache")


@pytest.fixture(scope="module")
def table(made: Trainings, tmp_path_factory: pytest.TempPathFactory) -> TrialsTable:
    return make_table(made, tmp_path_factory.mktemp("table") / "tiny.h5", 2, say=lambda text: None)


def assert_same(one: TrialsTable, other: TrialsTable) -> None:
    """Everything but clocks, bit for bit."""
    assert (one.states, one.spec, one.objectives) == (other.states, other.spec, other.objectives)
    np.testing.assert_array_equal(one.genes_NG, other.genes_NG)
    np.testing.assert_array_equal(one.replicates_N, other.replicates_N)
    for group in ("metrics", "curves", "cases"):
        first, second = getattr(one, group), getattr(other, group)
        assert set(first) == set(second)
        for name in set(first) - set(CLOCKS):
            np.testing.assert_array_equal(first[name], second[name])


def test_rows_are_networks_times_replicates_with_values_of_all_cases(made: Trainings, table: TrialsTable) -> None:
    assert table.replicates_N.tolist() == [0, 1, 0, 1]
    assert table.genes_NG[0].tolist() == table.genes_NG[1].tolist() != table.genes_NG[2].tolist()
    assert table.curves["dice"].shape == (4, 2)
    np.testing.assert_allclose(table.metrics["dice"], table.mean_over_cases("valid/dice"), atol=1e-6)
    np.testing.assert_allclose(np.nanmax(table.curves["dice"], axis=1), table.metrics["dice"], atol=1e-6)
    assert table.cases["test/dice"].shape == (4, len(made.test), 2)
    assert (table.seconds_N >= table.curves["seconds"][:, -1] - 1e-3).all()
    assert (np.diff(table.curves["seconds"], axis=1) > 0).all()
    names, parts = made.setup.store.names, table.facts["cases"]
    assert set(parts["valid"]) | set(parts["test"]) == set(names)
    for row, replicate in enumerate(table.replicates_N):
        validated = np.isfinite(table.cases["valid/dice"][row]).any(axis=1)
        assert set(np.array(parts["valid"])[validated]) == set(names[made.rounds[replicate].valid])
    for part in made.rounds:
        assert not set(parts["test"]) & set(names[[*part.train, *part.valid]])
    macs = made.problem.cost(table.genes_NG.astype(int))
    np.testing.assert_array_equal(table.metrics["macs"], macs)


def test_a_killed_generator_goes_on_where_it_stopped(made: Trainings, table: TrialsTable, tmp_path: Path) -> None:
    path, lines = tmp_path / "tiny.h5", list[str]()

    def kill(text: str) -> None:
        lines.append(text)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_table(made, path, 2, every=2, say=kill)
    again = make_table(made, path, 2, every=2, say=lines.append)
    assert [line.split(" ")[0] for line in lines] == ["0", "1", "2", "2", "3"]  # two trainings were in the file
    assert_same(again, table)
    make_table(made, path, 2, say=lines.append)
    assert len(lines) == 5  # nothing is trained twice
    assert make_table(made, tmp_path / "none.h5", 2, until=0.0).metrics == {}  # no time for a training


def test_searches_read_it(table: TrialsTable) -> None:
    look_up = LookUp(table)
    arch = SPACE.architecture(tuple(table.genes_NG[0].tolist()))
    assert look_up.budgets == [1, 2]
    for replicate in (0, 1):
        assert look_up(Proposal(arch, 0, replicate))["dice"] == table.metrics["dice"][replicate]
        assert look_up(Proposal(arch, 1, replicate))["dice"] == table.curves["dice"][replicate, 0]


def test_scores_before_the_training(made: Trainings, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    before = make_table(made, path, 1, say=lambda text: None)
    found = add_scores(made, path)
    for name in OWN_SCORES:
        values = found.metrics.get(SCORES + name, np.full(2, np.nan))  # some are undefined for one channel
        np.testing.assert_array_equal(values[0], values[1])  # of one network
    assert np.isfinite(found.metrics[f"{SCORES}width"]).all()
    assert_same(before, replace(found, metrics={name: found.metrics[name] for name in before.metrics}))
    arch = SPACE.architecture(tuple(found.genes_NG[0].tolist()))
    assert LookUp(found)(Proposal(arch, 1))[f"{SCORES}width"] == found.metrics[f"{SCORES}width"][0]
    again = make_table(made, path, 2, say=lambda text: None)
    assert np.isnan(again.metrics[f"{SCORES}width"]).tolist() == [False, False, True, True]
    assert np.isfinite(add_scores(made, path).metrics[f"{SCORES}width"]).all()


def test_a_table_of_another_recipe_is_not_continued(root: Path, made: Trainings, tmp_path: Path) -> None:
    make_table(made, tmp_path / "t.h5", 1, say=lambda text: None)
    other = replace(TINY, settings=replace(TINY.settings, lr=0.5))
    with pytest.raises(NASError, match=r"training\.lr=0\.002; expected training\.lr=0\.5"):
        make_table(Trainings(other, root, root / "cache"), tmp_path / "t.h5", 1)


def test_a_training_that_fails_is_recorded(made: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Train, proposal: Proposal, *rest: Any) -> Mapping[str, float]:
        if proposal.replicate:
            raise TrialFailed("out of memory")
        return original(self, proposal, *rest)

    original = Train.evaluate
    monkeypatch.setattr(Train, "evaluate", fail)
    table = make_table(made, tmp_path / "t.h5", 1, say=lambda text: None)
    assert table.reasons == ("", "out of memory")
    assert np.isnan(table.cases["test/dice"][1]).all()
    assert len(make_table(made, tmp_path / "t.h5", 1, say=lambda text: None)) == 2


@pytest.mark.slow
def test_recipes_have_networks_within_their_band(made: Trainings) -> None:
    for recipe in recipes().values():
        task = recipe.task(1, 3)
        cost = CostModel(recipe.space, task.spec, (1, *recipe.data["crop"]), "macs")
        archs = [arch for arch, _ in zip(recipe.networks_in_order(cost), range(9), strict=False)]
        again = [arch for arch, _ in zip(recipe.networks_in_order(cost), range(3), strict=False)]
        assert archs[:3] == again
        assert len({arch.id for arch in archs}) == 9
        for number, macs in enumerate(cost(recipe.space.encode(archs))):
            band = number % (len(recipe.macs) - 1)
            assert recipe.macs[band] <= macs <= recipe.macs[band + 1]


def test_the_experiment_is_the_protocol_of_the_table() -> None:
    """A live search and the table train the same networks in the same way on the same data."""
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        config = compose("search", overrides=["experiment=dints_hippocampus", "data.root=/x", "study.name=s"])
    recipe = recipes()["dints_hippocampus"]
    assert build(config.evaluator, "evaluator", Evaluator).identity == Train(recipe.settings).identity
    task = build(config.task, "task", Task, in_channels=1, outputs=3, dims=3)
    assert task.identity == recipe.task(1, 3).identity
    assert Msd("/x", **recipe.data).arguments() == build(config.data, "data", Source).arguments()
    genes = build(config.space, "space", SearchSpace, out_channels=3).genes
    assert genes == recipe.space.genes
    low, high = (float(limit.split("=")[1]) for limit in config.constraints)
    assert (low, high) == pytest.approx(recipe.macs, rel=1e-3)
