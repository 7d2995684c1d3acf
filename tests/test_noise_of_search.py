"""Noise of the evaluations of a search: from its trials, in the command, without invented numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.errors import NASError
from nas.history import CONFIRMATION, History, State, Trial
from nas.noise import Noise, require_noise
from nas.trials_table import write_h5
from tests.commands import refused, voxnas
from tests.tables import OBJECTIVES, records_of, table_of


def trials_of(value_NR: np.ndarray, first: int = 0) -> list[Trial]:
    """Trials of networks with these scores, replicate by replicate."""
    networks = records_of()[: len(value_NR)]
    return [
        replace(record, number=number, metrics={"auc": float(value), "macs": 1.0}, replicate=first + replicate)
        for number, (record, replicate, value) in enumerate(
            (record, replicate, value)
            for replicate, column in enumerate(np.asarray(value_NR).T)
            for record, value in zip(networks, column, strict=True)
        )
    ]


def history_of(records: list[Trial]) -> History:
    return History(tuple(records), OBJECTIVES, lambda genes_NG: np.zeros(len(genes_NG)))


def scores(networks: int, replicates: int, between: float, within: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.7 + between * rng.normal(size=(networks, 1)) + within * rng.normal(size=(networks, replicates))


def test_effects_that_all_networks_share_are_no_noise() -> None:
    value_NR = scores(8, 3, 0.02, 0.002) + np.array([0.0, 0.2, -0.1])  # validation folds of other difficulty
    found = Noise.of(history_of(trials_of(value_NR)))
    assert found is not None
    assert found.icc > 0.9
    assert found.interval[0] > 0.8
    assert found.one_way < 0.1
    assert found.tau > 0.7
    assert found.can_rank
    assert (found.repeated, found.evaluations) == (8, 24)


def test_confirmation_measures_the_noise_of_a_search_without_replicates() -> None:
    value_NR = scores(len(records_of()), 6, 0.02, 0.02, seed=3)
    best = {records_of()[row].arch for row in np.argsort(-value_NR[:, 0])[:8]}
    again = [trial for trial in trials_of(value_NR[:, 1:], CONFIRMATION) if trial.arch in best]
    found = Noise.of(history_of([*trials_of(value_NR[:, :1]), *again]))
    assert found is not None
    assert found.repeated == 8
    assert found.icc == pytest.approx(0.5, abs=0.2)
    assert np.isnan(found.tau)


def test_without_replicates_nothing_is_invented() -> None:
    history = history_of(trials_of(scores(5, 1, 0.02, 0.01)))
    assert Noise.of(history) is None
    with pytest.raises(NASError, match=r"5 finished trials of 5 networks.*study\.replicates=2"):
        require_noise(history)
    assert Noise.of(history_of([])) is None
    assert Noise.of(history_of([replace(one, state=State.FAILED) for one in history])) is None


def test_sentence_of_evaluations_that_cannot_rank() -> None:
    found = Noise.of(history_of(trials_of(scores(10, 3, 0.002, 0.02))))
    assert found is not None
    assert not found.can_rank
    assert found.share > 0.5
    assert "% of the differences in AUC is noise" in found.sentence("AUC")
    assert "30 evaluations of 10 networks" in found.sentence("AUC")


def test_command_reads_a_table_and_refuses_one_without_replicates(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_h5(tmp_path / "table.h5", table_of(trials_of(scores(9, 3, 0.03, 0.004))))
    code, out, _ = voxnas(capsys, "study", "noise", tmp_path / "table.h5", "--icc", 0.95)
    assert code == 0
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert lines["networks"].strip() == "9, 9 of them repeated, 27 evaluations"
    assert float(lines["ICC"].split()[0]) > 0.9
    assert "for an ICC of 0.95" in lines["replicates"]
    assert {"noise ceiling", "expected loss", "standard deviation", "ICC, one-way"} <= set(lines)
    write_h5(tmp_path / "once.h5", table_of(trials_of(scores(9, 1, 0.03, 0.004))))
    refused(voxnas(capsys, "study", "noise", tmp_path / "once.h5"), "without replicates", "study.replicates=2")
    refused(voxnas(capsys, "study", "noise", tmp_path / "table.h5", "--metric", "dice"), "--metric dice", "auc")
