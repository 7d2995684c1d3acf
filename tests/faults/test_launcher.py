"""Processes of a launcher end with the command that started them, and release their trials."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.workers import GRACE_S
from nas.errors import NASError
from nas.history import State
from nas.study.lease import GIVEN_BACK
from nas.study.reader import StudyReader
from nas.utils.process import has_ended
from tests.commands import SMALL, SPACE
from tests.conftest import REPO

pytestmark = pytest.mark.faults
LONG = [
    "training.epochs=100000",
    "split.folds=3",
    "study.trials=4",
    "study.lease_s=4",
    "study.name=s",
    "strategy=random",
    "device=cpu",
]


def running_processes(folder: Path, count: int, timeout_s: float = 240.0) -> list[int]:
    """The processes of so many running trials of the study, as soon as each has given a sign of life."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        time.sleep(0.3)
        try:
            study = StudyReader.open(f"sqlite:///{folder}/study.db", "s")
        except NASError:
            continue
        attempts = list(study.attempts().values())
        study.close()
        if len(attempts) == count and all(attempt.beat > 0 for attempt in attempts):
            return [int(attempt.owner["pid"]) for attempt in attempts]
    raise AssertionError(f"no {count} running trials within {timeout_s} s")


@pytest.mark.parametrize(
    ("launcher", "number"),
    [("joblib", signal.SIGKILL), ("submitit_local", signal.SIGKILL), ("joblib", signal.SIGTERM)],
    ids=["joblib-killed", "submitit-killed", "joblib-terminated"],
)
def test_B11_workers_end_with_their_launcher(
    launcher: str, number: signal.Signals, tmp_path: Path, data_cache: Path
) -> None:
    if importlib.util.find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher") is None:
        pytest.skip(f"{launcher} is not installed")
    jobs = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    words = ["-m", "worker=0,1", f"hydra/launcher={launcher}", *jobs, *SMALL, *SPACE, *LONG, f"data_cache={data_cache}"]
    command = [sys.executable, str(REPO / "run_search.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "log.txt", "w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=environment)
    pids: list[int] = []
    try:
        pids = running_processes(tmp_path / "outputs/s", 2)
        assert len({*pids, process.pid}) == 3
        process.send_signal(number)
        process.wait(120)
        end = time.monotonic() + 4 * GRACE_S  # a process whose interrupt was lost ends after that time by itself
        while not all(map(has_ended, pids)) and time.monotonic() < end:
            time.sleep(0.2)
        assert all(map(has_ended, pids)), (tmp_path / "log.txt").read_text()
        study = StudyReader.open(f"sqlite:///{tmp_path}/outputs/s/study.db", "s")
        # An interrupt may be lost in a callback of the garbage collector, and joblib kills the others when one ends:
        # the trial of a process that has ended is taken over at once, as one that was given back.
        assert any(attempt.beat == GIVEN_BACK for attempt in study.attempts().values())
        assert [record.state for record in study.records()] == [State.RUNNING] * 2
        study.close()
        if number is signal.SIGTERM:
            assert process.returncode == 130
            assert "Traceback" not in (tmp_path / "log.txt").read_text()
    finally:
        for pid in [*pids, process.pid]:
            if not has_ended(pid):
                os.kill(pid, signal.SIGKILL)
