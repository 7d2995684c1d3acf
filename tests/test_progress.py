"""The time left of a search, from its trials and the epochs of the running one."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from experiments.progress import SearchProgress
from experiments.tables.progress import TableProgress
from nas.strategies.random import RandomSearch
from search_spaces.naslung import NASLungSpace
from tests.problems import problem_of
from tests.strategies.tables import OBJECTIVES, Grid, empty, extended, record

if TYPE_CHECKING:
    from experiments.tables.plan import Planned


def test_the_time_left_counts_epochs_as_parts_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    problem = problem_of(NASLungSpace(widths=(4, 8), max_depth=4), OBJECTIVES)
    progress = SearchProgress(5, RandomSearch(), problem, silent=True)
    progress.update_epoch(1, 2)  # of a supernet, before the first trial
    assert progress.time_left() == "?"
    space, metrics = Grid((3, 3)), {"score": 1.0, "cost": 1.0}
    history = extended(empty(), record(0, space.architecture((0, 0)), metrics))  # of an earlier run
    progress.update(history)
    assert progress.time_left() == "?"
    clock[0] = 10.0
    progress.update_epoch(1, 2)
    assert progress.time_left() == "01:10"  # half a trial took 10 s, three and a half are left
    clock[0] = 30.0
    history = extended(history, record(1, space.architecture((0, 1)), metrics))
    progress.update(history)
    assert progress.time_left() == "01:30"
    progress.close()


def test_G16_the_best_score_is_shown_by_its_direction(capsys: pytest.CaptureFixture[str]) -> None:
    objectives = {"log_loss": "minimize"}
    problem = problem_of(NASLungSpace(widths=(4, 8), max_depth=4), objectives)
    progress, space = SearchProgress(5, RandomSearch(), problem), Grid((3, 3))
    records = [record(n, space.architecture((0, n)), {"log_loss": loss}) for n, loss in enumerate((0.9, 0.25, 0.5))]
    progress.update(extended(empty(objectives), *records))
    progress.close()
    assert "best log_loss 0.250" in capsys.readouterr().err


def test_the_time_left_of_a_table_trusts_the_pace_as_far_as_the_work_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    rows = [SimpleNamespace(minutes=minutes, reason="") for minutes in (1, 59, 60)]
    progress = TableProgress("t", cast("list[Planned]", rows))
    for seconds, number in ((0.0, 0), (6.0, 1), (66.0, 1), (6 + 59 * 120, 2)):
        clock[0] = seconds
        progress(number, 3, f"row {number} at {seconds:.0f}")
    left = [re.search(r"about (\S+) left", line)[1] for line in capsys.readouterr().err.splitlines()]  # type: ignore[index]
    assert left == ["2:00:00", "1:58:06", "1:57:06", "1:29:03"]  # the last: half of the work took twice its time
