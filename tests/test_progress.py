"""The time left of a search, from its trials and the epochs of the running one."""

from __future__ import annotations

import time

import pytest

from experiments.progress import SearchProgress
from nas.strategies.random import RandomSearch
from search_spaces.naslung import NASLungSpace
from tests.problems import problem_of
from tests.strategies.tables import OBJECTIVES, Grid, empty, extended, record


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
