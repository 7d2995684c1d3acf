"""Tables with curves and cases: round trip, budgets by epoch against brute force, damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.artifact import SpaceFacts
from nas.errors import NASError, TrialFailed
from nas.evaluators.tabular import LookUp
from nas.history import Proposal, State, Trial
from nas.simulator import simulate
from nas.strategies.random import RandomSearch
from nas.trials_table import TrialsTable, read_h5, write_h5
from search_spaces.resnet3d import ResNet3DSpace

SPACE = ResNet3DSpace()
EPOCHS, REPLICATES, CASES = 4, 2, 3


def table_of(seed: int, networks: int = 5, failed: bool = True) -> TrialsTable:
    """Networks of drawn values, one of which failed; some epochs are not validated."""
    rng = np.random.default_rng(seed)
    archs = {arch.id: arch for arch in (SPACE.sample(rng) for _ in range(4 * networks))}
    trials: list[Trial] = []
    for number, arch in enumerate(list(archs.values())[:networks]):
        for replicate in range(REPLICATES):
            state = State.FAILED if failed and number == 1 else State.COMPLETE
            metrics = {
                "dice": rng.random(),
                "macs": 100.0 + number,
                "scores/width": float(number),
                "seconds": 4.0,
                "epochs": float(EPOCHS),
            }
            reason = "" if state is State.COMPLETE else "out of memory"
            metrics = metrics if state is State.COMPLETE else {}
            trials.append(Trial(len(trials), arch, EPOCHS, state, metrics, reason, replicate=replicate))
    table = TrialsTable.of(trials, SpaceFacts.of(SPACE), {"dice": "maximize"}, {"seed": seed})
    dice_NE = rng.random((len(table), EPOCHS)).astype(np.float32)
    dice_NE[rng.random(dice_NE.shape) < 0.3] = np.nan
    cases = rng.random((len(table), CASES, 2)).astype(np.float32)
    cases[rng.random(cases.shape) < 0.2] = np.nan
    seconds_NE = np.tile(np.arange(1, EPOCHS + 1, dtype=np.float32), (len(table), 1))
    return TrialsTable(
        **{
            name: getattr(table, name)
            for name in table.__dataclass_fields__
            if name not in ("curves", "cases", "facts")
        },
        curves={"dice": dice_NE, "seconds": seconds_NE},
        cases={"test/dice": cases},
        facts={"licence": "CC0", "cases": {"test": ["a", "b", "c"]}},
    )


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, seed: int, networks: int) -> None:
    table = table_of(seed, networks)
    write_h5(tmp_path / "t.h5", table)
    again = read_h5(tmp_path / "t.h5")
    assert (again.format, again.sha256) == (3, table.sha256)
    assert (again.facts, again.spec, again.states) == (table.facts, table.spec, table.states)
    for group in ("metrics", "curves", "cases"):
        for name, array in getattr(table, group).items():
            found = getattr(again, group)[name]
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_tables_without_them_keep_format_and_hash() -> None:
    full = table_of(0)
    plain = replace(full, curves={}, cases={}, facts={})
    assert plain.format == 2
    assert plain.rows(np.arange(0, len(full), REPLICATES)).format == 1
    assert read_h5(Path(__file__).parents[1] / "benchmarks/tables/naslung671.h5").format == 1  # checks its hash


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_every_epoch_is_a_budget(seed: int) -> None:
    table = table_of(seed)
    look_up = LookUp(table)
    for row in range(len(table)):
        arch, replicate = SPACE.architecture(tuple(table.genes_NG[row].tolist())), int(table.replicates_N[row])
        for epoch in range(1, EPOCHS):
            known = [value for value in table.curves["dice"][row, :epoch] if np.isfinite(value)]
            if not known or table.states[row] is State.FAILED:
                with pytest.raises((TrialFailed, NASError)):
                    look_up(Proposal(arch, epoch, replicate))
                continue
            found = look_up(Proposal(arch, epoch, replicate))
            assert found["dice"] == max(known)
            assert (found["macs"], found["seconds"], found["epochs"]) == (table.metrics["macs"][row], epoch, epoch)
            assert found["scores/width"] == table.metrics["scores/width"][row]
        if table.states[row] is State.COMPLETE:
            for budget in (0, EPOCHS):
                assert look_up(Proposal(arch, budget, replicate))["dice"] == table.metrics["dice"][row]


def test_a_training_that_ended_early_has_taken_its_time() -> None:
    table = table_of(0, failed=False)
    for curve_NE in table.curves.values():
        curve_NE[:, 2:] = np.nan  # it had no better epoch and was stopped after two
    table.curves["dice"][:, 0] = 0.5
    proposal = Proposal(SPACE.architecture(tuple(table.genes_NG[0].tolist())), 3)
    assert LookUp(table)(proposal)["seconds"] == 2.0


def test_values_of_test_cases_are_no_metrics_of_a_search() -> None:
    table = table_of(3)
    expected = [np.mean([np.nanmean(case[:, k]) for k in range(2)]) for case in table.cases["test/dice"].astype(float)]
    np.testing.assert_allclose(table.mean_over_cases("test/dice"), expected)
    result = simulate(RandomSearch(), table, 20, seed=0)
    assert result.history.complete()
    assert not any("test" in name for trial in result.history for name in trial.metrics)
    with pytest.raises(NASError, match="no cases 'valid/dice'"):
        table.mean_over_cases("valid/dice")


def edit(path: Path, name: str, value: float) -> None:
    with h5py.File(path, "r+") as file:
        file[name][0] = value


def test_damaged_and_edited_files(tmp_path: Path) -> None:
    path, table = tmp_path / "t.h5", table_of(1)
    for name in ("curves/dice", "cases/test/dice"):
        write_h5(path, table)
        edit(path, name, 0.5)
        with pytest.raises(NASError, match="recorded in the file"):
            read_h5(path)
    write_h5(path, table)
    with h5py.File(path, "r+") as file:
        file.attrs["facts"] = "{}"
    with pytest.raises(NASError, match="recorded in the file"):
        read_h5(path)
    with h5py.File(path, "r+") as file:
        del file["curves/dice"]
        file["curves/dice"] = np.zeros((2, EPOCHS), dtype=np.float32)
    with pytest.raises(NASError, match="curves/dice of shape"):
        read_h5(path)
    write_h5(path, table)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(NASError, match="a table of trials, format 1, 2 or 3"):
            read_h5(path)
