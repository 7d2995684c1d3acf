"""The division of the time of `voxnas auto`: it never exceeds the limit, and there is always a reference network."""

from __future__ import annotations

import importlib
import json
import math
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.auto.clock import FILE, Clock
from experiments.auto.deadlines import LEAST_S, StopAt, interrupted_after
from experiments.auto.limits import limits_of, params_of, small_enough
from experiments.auto.schedule import (
    LONGEST_REFERENCE,
    RANKING_EPOCHS,
    SLACK,
    TYPICAL,
    first_reserve,
    networks_at_a_time,
    reference_epochs,
    retraining,
    search_part,
)
from experiments.commands.auto import parser
from nas.artifact import Artifact
from nas.errors import NASError, TrialFailed
from nas.planning.rules import ENOUGH_ALONE, FEWEST_EPOCHS, FEWEST_TRIALS, REFERENCE_SHARE, SEARCH_SHARE
from nas.study.heartbeat import time_limit
from nas.task_spec import TaskSpec
from nas.training.loop import EndTraining
from search_spaces import ResNet3DSpace
from tests.commands import refused, voxnas

LIMITS = st.floats(10, 1e6)
SHARES = st.floats(0.01, 1)
EPOCHS = st.integers(1, 300)


@given(LIMITS, SHARES, st.floats(1e-6, 2), EPOCHS)
def test_the_reference_network_is_always_trained_and_within_its_share(limit, share, epoch, wanted):
    left, epoch_s = limit * share, limit * epoch
    epochs = reference_epochs(limit, left, epoch_s, wanted)
    assert 1 <= epochs <= wanted
    if epochs > 1:
        longest = LONGEST_REFERENCE if epochs <= FEWEST_EPOCHS else REFERENCE_SHARE
        assert epochs * epoch_s <= min(longest * limit, left - first_reserve(limit)) * (1 + 1e-9)


@given(LIMITS, SHARES, st.floats(0, 0.2), st.floats(1e-6, 1), EPOCHS, st.integers(1, 8))
def test_a_search_leaves_time_for_the_reserve_and_one_training(limit, share, reserve, epoch, epochs, workers):
    left, epoch_s = limit * share, limit * epoch
    part = search_part(limit, left, limit * reserve, epochs, epoch_s, epochs, workers)
    assert part.seconds <= SEARCH_SHARE * limit
    assert (part.trials > 0) == (part.seconds > 0)
    if part.trials:
        kept = SLACK * min(epochs, ENOUGH_ALONE) * epoch_s
        assert part.seconds + limit * reserve + kept <= left * (1 + 1e-9)
        ranking_s = min(RANKING_EPOCHS, epochs) * TYPICAL * epoch_s
        assert workers * part.seconds >= FEWEST_TRIALS * ranking_s * (1 - 1e-9)
        assert 1 <= part.epochs <= max(epochs, 1)
        assert part.trials >= 2
        ended_s = part.time_of_trials(workers)
        assert 1 <= ended_s <= max(workers * part.seconds, 1)


@given(
    LIMITS,
    st.lists(st.floats(1e-5, 0.5), max_size=5),
    st.floats(0, 0.2),
    EPOCHS,
    st.integers(1, 9),
    st.integers(1, 8),
)
def test_retraining_fits_and_prefers_better_networks(seconds, costs, test, epochs, folds, processes):
    epoch_s, test_s = [seconds * one for one in costs], seconds * test
    part = retraining(seconds, epoch_s, test_s, epochs, folds, processes)
    per_wave, together = min(processes, folds), networks_at_a_time(processes, folds)
    waves = [math.ceil(rounds / per_wave) for rounds in part.rounds]
    each = [n * (SLACK * one * part.epochs + test_s) for n, one in zip(waves, epoch_s, strict=False)]
    took = sum(max(each[first : first + together]) for first in range(0, len(each), together))
    assert took <= seconds * (1 + 1e-6)
    assert part.seconds <= seconds * (1 + 1e-6)
    assert part.epochs <= epochs
    assert all(0 <= rounds <= folds for rounds in part.rounds)
    if part and part.epochs < epochs:  # shortened: only the best one, once
        assert part.rounds[0] > 0


def test_a_time_too_short_for_a_search_goes_into_one_network():
    assert not search_part(600, 490, 60, wanted=37, epoch_s=11.6, epochs=37, workers=2).trials
    assert retraining(430, [11.6], 10, 37, 4, 2).rounds == (2,)
    assert search_part(3600, 3100, 60, wanted=37, epoch_s=11.6, epochs=37, workers=2).trials == 24


@pytest.mark.parametrize(
    ("seconds", "epoch_s", "folds", "processes", "rounds"),
    [
        (1000, [1, 1, 1], 4, 1, (4, 2, 2)),
        (400, [1, 1, 1], 4, 1, (1, 1, 1)),
        (260, [1, 1, 1], 4, 1, (1, 1, 0)),
        (130, [1, 1, 1], 4, 1, (1, 0, 0)),
        (130, [1, 1, 1], 4, 2, (2, 0, 0)),
        (130, [1, 1, 1], 2, 3, (2, 0, 0)),
        # at least twice as many processes as folds: several networks at a time
        (130, [1, 1, 1], 1, 2, (1, 1, 0)),
        (260, [1, 1, 1], 1, 2, (1, 1, 1)),
        (130, [1, 2, 1], 1, 2, (1, 0, 0)),
        (130, [1, 1, 1], 1, 8, (1, 1, 1)),
        (130, [1, 1, 1], 2, 4, (2, 2, 0)),
    ],
)
def test_three_networks_on_as_many_folds_as_fit(seconds, epoch_s, folds, processes, rounds):
    assert retraining(seconds, epoch_s, 0, 100, folds, processes).rounds == rounds


def test_a_training_that_does_not_fit_is_shortened():
    short = retraining(60, [1], 0, 100, 4, 1)
    assert short.rounds == (1,)
    assert short.epochs == 52
    assert not retraining(4, [1], 0, 100, 4, 1)
    assert not retraining(100, [], 0, 100, 4, 1)


def test_the_time_of_all_runs_counts(tmp_path: Path):
    with Clock(tmp_path, 100, {"--time": "100s"}, time.monotonic() - 10) as clock:
        assert clock.used == pytest.approx(10, abs=1)
        clock.begin("plan")
        clock.done("plan", cases=3)
    again = Clock(tmp_path, 100, {"--time": "100s"}, time.monotonic() - 5)
    assert again.used == pytest.approx(15, abs=1)
    assert again.left == pytest.approx(85, abs=1)
    assert again.runs == 2
    assert again.is_done("plan")
    assert again.facts("plan")["cases"] == 3


def test_another_command_in_a_folder_is_refused(tmp_path: Path):
    with Clock(tmp_path, 100, {"--seed": 0}):
        pass
    with pytest.raises(NASError, match=r"--seed 1 in .* begun with 0"):
        Clock(tmp_path, 100, {"--seed": 1})
    (tmp_path / FILE).write_text(json.dumps({"format": 1}))
    with pytest.raises(NASError, match="damaged"):
        Clock(tmp_path, 100, {"--seed": 0})


def test_a_training_ends_before_its_deadline():
    stop = StopAt(time.time() + 1000)
    stop("fold", 1, 10, {})
    stop("fold", 2, 10, {})
    stop.deadline = time.time() - 1
    stop("fold", 10, 10, {})  # the last epoch
    with pytest.raises(EndTraining):
        stop("fold", 3, 10, {})


def test_a_block_is_interrupted_after_its_time():
    started = time.monotonic()
    with interrupted_after(0.2) as fired:
        threading.Event().wait(20)
    assert fired.is_set()
    assert time.monotonic() - started < 10
    with interrupted_after(60) as fired:
        pass
    assert not fired.is_set()
    with pytest.raises(KeyboardInterrupt), interrupted_after(60):  # of the user
        raise KeyboardInterrupt


SLOW_IMPORT = """
import time
begun = time.monotonic()
while time.monotonic() < begun + {seconds}:
    pass
"""


def import_and_wait(name: str, done: list[str]) -> None:
    importlib.import_module(name)
    done.append("imported")
    threading.Event().wait(20)
    done.append("waited")


def test_an_import_is_not_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "slow_package").mkdir()
    (tmp_path / "slow_package/__init__.py").write_text("from slow_package import part\n")
    (tmp_path / "slow_package/part.py").write_text(SLOW_IMPORT.format(seconds=2 * LEAST_S))
    monkeypatch.syspath_prepend(tmp_path)
    done: list[str] = []
    with interrupted_after(LEAST_S) as fired:
        import_and_wait("slow_package", done)
    assert fired.is_set()
    for name in ("slow_package", "slow_package.part"):
        del sys.modules[name]
    with pytest.raises(TrialFailed), time_limit(LEAST_S):
        import_and_wait("slow_package", done)
    assert done == ["imported", "imported"]


def test_the_reference_network_keeps_the_limit_of_parameters():
    space = ResNet3DSpace(widths=[4, 8, 16])
    task = TaskSpec("classification", 3, 1, 2)
    widest = Artifact(space, space.repair([len(gene.choices) - 1 for gene in space.genes]), task)
    whole = params_of(space, widest.arch, task)
    assert small_enough(widest, limits_of(widest, None, None, None)) is widest
    assert small_enough(widest, limits_of(widest, whole, None, None)) is widest
    limit = whole / 5
    found = small_enough(widest, limits_of(widest, limit, None, None))
    assert params_of(space, found.arch, task) <= limit
    with pytest.raises(NASError, match="--max-params 10"):
        small_enough(widest, limits_of(widest, 10, None, None))


def test_wrong_options_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    refused(voxnas(capsys, "auto", tmp_path / "missing"), "no folder")
    refused(voxnas(capsys, "auto", tmp_path, "--time", "soon"), "--time soon")
    refused(voxnas(capsys, "auto", tmp_path, "--time", "1s"), "at least 10 s")
    refused(voxnas(capsys, "auto", tmp_path, "--folds", "1"), "--folds")
    assert "--max-latency-ms" in parser().format_help()
