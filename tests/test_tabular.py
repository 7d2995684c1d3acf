"""Tables of trials in HDF5, the evaluator that looks results up in them, and searches replayed on them."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import run_search
from benchmarks import compare_strategies
from nas.artifact import SpaceFacts
from nas.errors import NASError, TrialFailed
from nas.evaluators.tabular import Tabular
from nas.history import Proposal, State, Trial
from nas.simulator import simulate
from nas.strategies.evolution import RegularizedEvolution
from nas.strategies.partial_order.strategy import PartialOrderPruning
from nas.strategies.random import RandomSearch
from nas.trials_table import TrialsTable, read_h5, write_h5
from search_spaces.naslung import NASLungSpace
from tests.commands import Command, refused
from tests.problems import problem_of
from tests.tables import DATA_WORDS, OBJECTIVES, SPACE, SPACE_WORDS, records_of, table_of

NOTHING: Any = SimpleNamespace()
PROBLEM = problem_of(SPACE, OBJECTIVES)


@pytest.fixture(scope="module")
def records() -> list[Trial]:
    return records_of()


@pytest.fixture
def path(records: list[Trial], tmp_path: Path) -> Path:
    write_h5(tmp_path / "t.h5", table_of(records))
    return tmp_path / "t.h5"


def test_a_table_with_replicates(records: list[Trial], tmp_path: Path) -> None:
    once = table_of(records[:3])
    more = [
        replace(one, number=3 + one.number, replicate=1, metrics={**one.metrics, "auc": 0.1}) for one in records[:3]
    ]
    table = table_of([*records[:3], *more])
    assert (once.format, table.format) == (1, 2)
    write_h5(tmp_path / "t.h5", table)
    again = read_h5(tmp_path / "t.h5")
    assert again.sha256 == table.sha256 != replace(table, replicates_N=table.replicates_N[::-1]).sha256
    assert again.replicates_N.tolist() == [0, 0, 0, 1, 1, 1]
    look_up = Tabular(tmp_path / "t.h5").look_up
    assert look_up(Proposal(records[1].arch, replicate=1))["auc"] == 0.1
    assert look_up(Proposal(records[1].arch))["auc"] == records[1].metrics["auc"]
    with pytest.raises(TrialFailed, match="replicate 2"):
        look_up(Proposal(records[1].arch, replicate=2))


def test_a_table_comes_back_as_it_was_written(records: list[Trial], tmp_path: Path) -> None:
    failed = Trial(90, records[0].arch, 3, State.FAILED, reason="loss became NaN", started=5.0, finished=9.0)
    running = Trial(91, records[1].arch, 3, State.RUNNING, started=5.0)
    table = table_of([*records[:4], failed, running])
    write_h5(tmp_path / "t.h5", table)
    again = read_h5(tmp_path / "t.h5")
    assert again.sha256 == table.sha256
    assert again.space == SpaceFacts.of(SPACE)
    assert again.space.build().fingerprint == SPACE.fingerprint
    assert again.states == (*[State.COMPLETE] * 4, State.FAILED, State.RUNNING)
    assert again.reasons[4] == "loss became NaN"
    assert again.budgets_N.tolist() == [0, 0, 0, 0, 3, 3]
    assert again.genes_NG[:4].tolist() == [list(record.arch.genes) for record in records[:4]]
    assert again.metrics["auc"][2] == records[2].metrics["auc"]
    assert np.isnan(again.metrics["auc"][4:]).all()
    assert again.seconds_N[4] == 4.0
    assert np.isnan(again.seconds_N[5])
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


def test_a_table_without_trials(tmp_path: Path) -> None:
    empty = TrialsTable.of([], SpaceFacts.of(SPACE), OBJECTIVES, {})
    write_h5(tmp_path / "t.h5", empty)
    assert len(read_h5(tmp_path / "t.h5")) == 0
    with pytest.raises(NASError, match="without a finished trial"):
        Tabular(tmp_path / "t.h5")


def test_files_that_are_no_table(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NASError, match="no such file"):
        read_h5(tmp_path / "nowhere.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name in ("cut.h5", "other.h5"):
        with pytest.raises(NASError, match="a table of trials"):
            read_h5(tmp_path / name)
    with h5py.File(path, "r+") as file:
        file["metrics/auc"][0] = 0.99
    with pytest.raises(NASError, match="recorded in the file"):
        read_h5(path)


def test_the_evaluator_gives_what_was_recorded(path: Path, records: list[Trial]) -> None:
    evaluator = Tabular(path)
    evaluator.check(PROBLEM, NOTHING)
    assert evaluator.evaluate(Proposal(records[3].arch), PROBLEM, NOTHING) == records[3].metrics
    with pytest.raises(NASError, match="7 epochs"):
        evaluator.evaluate(Proposal(records[3].arch, 7), PROBLEM, NOTHING)
    with pytest.raises(NASError, match="a table of the same space"):
        evaluator.check(problem_of(NASLungSpace(), OBJECTIVES), NOTHING)
    with pytest.raises(NASError, match=r"data\.size"):
        evaluator.check(problem_of(SPACE, OBJECTIVES, shape=(1, 32, 32, 32)), NOTHING)


def test_failed_and_unknown_networks_and_budgets(records: list[Trial], tmp_path: Path) -> None:
    first, second, third = (record.arch for record in records[:3])
    trials = [
        replace(records[0], budget=2, state=State.FAILED, metrics={}, reason="out of memory"),
        replace(records[0], number=1, budget=2, metrics={**records[0].metrics, "auc": 0.6}),
        replace(records[0], number=2, budget=2, metrics={**records[0].metrics, "auc": 0.9}),
        replace(records[0], number=3, budget=6, metrics={**records[0].metrics, "auc": 0.7}),
        replace(records[1], number=4, budget=6, state=State.FAILED, metrics={}, reason="out of memory"),
    ]
    write_h5(tmp_path / "t.h5", table_of(trials))
    evaluator = Tabular(tmp_path / "t.h5")
    assert evaluator.evaluate(Proposal(first, 2), PROBLEM, NOTHING)["auc"] == 0.6  # the first that finished
    assert evaluator.evaluate(Proposal(first), PROBLEM, NOTHING)["auc"] == 0.7  # the largest budget
    with pytest.raises(TrialFailed, match="out of memory"):
        evaluator.evaluate(Proposal(second), PROBLEM, NOTHING)
    with pytest.raises(TrialFailed, match="does not hold"):
        evaluator.evaluate(Proposal(third), PROBLEM, NOTHING)
    with pytest.raises(TrialFailed, match="does not hold"):
        evaluator.evaluate(Proposal(second, 2), PROBLEM, NOTHING)


@pytest.mark.parametrize("strategy", [RandomSearch(), PartialOrderPruning(patience=0), RegularizedEvolution()])
def test_a_replay_with_one_worker(records: list[Trial], strategy: Any) -> None:
    """Against plain sums and maxima over the same order of trials."""
    result = simulate(strategy, table_of(records), 12, seed=3)
    ends = result.history.complete()
    assert len({record.arch.id for record in ends}) == len(ends) == len(result.time_T) <= 12
    np.testing.assert_allclose(result.time_T, np.cumsum([record.metrics["seconds"] for record in ends]))
    np.testing.assert_array_equal(result.best_T, np.maximum.accumulate([record.metrics["auc"] for record in ends]))
    again = simulate(strategy, table_of(records), 12, seed=3)
    assert [record.arch for record in again.history] == [record.arch for record in result.history]


@pytest.mark.parametrize("workers", [2, 5, 40])
def test_a_replay_with_many_workers(records: list[Trial], workers: int) -> None:
    """No worker has two trials at once, no architecture is trained twice, and time is shared."""
    result = simulate(RandomSearch(), table_of(records), 1000, seed=0, workers=workers)
    trials = result.history.records
    assert len({record.arch.id for record in trials}) == len(trials) == len(records)
    for worker in {record.worker for record in trials}:
        own = [record for record in trials if record.worker == worker]
        assert all(a.finished <= b.started for a, b in itertools.pairwise(own))
    total = sum(record.metrics["seconds"] for record in trials)
    longest = max(record.metrics["seconds"] for record in trials)
    assert total / workers <= result.time_T[-1] <= total / workers + longest
    assert (np.diff(result.time_T) >= 0).all()
    assert result.best_T[-1] == max(record.metrics["auc"] for record in records)


def test_a_strategy_sees_who_is_running(records: list[Trial]) -> None:
    seen: list[int] = []

    class Watching(RandomSearch):
        def propose(self, space, history, rng):  # type: ignore[no-untyped-def]
            seen.append(sum(record.state is State.RUNNING for record in history))
            return super().propose(space, history, rng)

    simulate(Watching(), table_of(records), 9, seed=0, workers=3)
    assert seen == [0, 1, *[2] * 7]


def test_a_replay_on_a_part_of_the_space(records: list[Trial]) -> None:
    """The strategy keeps to what the table holds; a trial that failed in the table fails again, and takes its time."""
    part = [*records[::3]]
    part[2] = replace(part[2], state=State.FAILED, metrics={"macs": 1.0, "seconds": 77.0}, reason="out of memory")
    result = simulate(RandomSearch(), table_of(part), 1000, seed=0)
    assert {record.arch for record in result.history} == {record.arch for record in part}
    (failed,) = (record for record in result.history if record.state is State.FAILED)
    assert failed.reason == "out of memory"
    assert failed.finished - failed.started == 77.0


def test_the_command_does_what_the_replay_does(path: Path, command: Command) -> None:
    """The same proposals, in the same order, through the store and in memory."""
    settings = [f"evaluator.path={path}", "evaluator=tabular", "strategy=pop", "study.trials=8", "study.name=s"]
    words = [*settings, *SPACE_WORDS, *DATA_WORDS]
    code, _, err = command(run_search.main, *words)
    assert code == 0, err
    rows = list(csv.DictReader((command.folder / "outputs/s/trials.csv").read_text().splitlines()))
    result = simulate(PartialOrderPruning(), read_h5(path), 8, seed=0)
    assert [row["arch_id"] for row in rows] == [record.arch.id for record in result.history]
    assert [float(row["seconds"]) for row in rows] == [record.metrics["seconds"] for record in result.history]
    other = [*words, "space.max_depth=5", "study.name=other"]
    refused(command(run_search.main, *other), "a table of the same space")
    assert not (command.folder / "outputs/other/study.db").exists()


@pytest.mark.slow
def test_the_comparison_of_strategies(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--table", str(path), "--strategies", "random", "pop", "random+asha", "--seeds", "2"]
    places = ["--out", str(tmp_path), "--plot", str(tmp_path / "p.png")]
    compare_strategies.main([*words, "--evaluations", "10", *places])
    content = json.loads((tmp_path / "compare_strategies.json").read_text())
    assert [row["strategy"] for row in content["rows"]] == ["random", "pop"]
    assert "random+asha" in content["skipped"]
    assert len(content["curves"]["quality"]["random"]["mean"]) == 10
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
