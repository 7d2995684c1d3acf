"""Jobs in processes of a launcher: when they watch it, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments import workers
from experiments.workers import LAUNCHER, job_of_launcher, mark_launcher, workers_first


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Default handlers, also in the background; restores handlers, environment and Hydra's configuration."""
    normal = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in normal.items()}
    cfg = HydraConfig.instance().cfg
    monkeypatch.setenv(LAUNCHER, "")
    yield
    HydraConfig.instance().cfg = cfg
    for number, handler in before.items():
        signal.signal(number, handler)


def configured(launcher: str, mode: RunMode = RunMode.MULTIRUN) -> None:
    HydraConfig.instance().cfg = OmegaConf.create(
        {"hydra": {"mode": mode, "runtime": {"choices": {"hydra/launcher": launcher}}}}
    )  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("launcher", "mode"), [("basic", RunMode.MULTIRUN), ("joblib", RunMode.RUN), ("joblib", RunMode.MULTIRUN)]
)
def test_the_process_of_the_command_is_left_alone(launcher: str, mode: RunMode, signals: None) -> None:
    """A single run ends only by a signal of its own, under nohup not with its terminal."""
    configured(launcher, mode)
    mark_launcher()
    before = signal.getsignal(signal.SIGTERM)
    with job_of_launcher():
        assert signal.getsignal(signal.SIGTERM) is before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch of launcher")]


def test_a_job_of_slurm_is_interrupted_but_not_watched(signals: None, monkeypatch: pytest.MonkeyPatch) -> None:
    configured("submitit_slurm")
    mark_launcher()
    monkeypatch.setenv(LAUNCHER, os.environ[LAUNCHER].replace(f'"pid": {os.getpid()}', '"pid": 1'))
    with pytest.raises(KeyboardInterrupt), job_of_launcher():
        os.kill(os.getpid(), signal.SIGTERM)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch of launcher")]


def test_one_interrupt_only(signals: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal does not disturb the release of the trial; the process of joblib ends after it."""
    configured("joblib")
    mark_launcher()
    monkeypatch.setenv(LAUNCHER, os.environ[LAUNCHER].replace(f'"pid": {os.getpid()}', '"pid": 1'))
    watched, ended = [], []
    monkeypatch.setattr(workers, "_watch", watched.append)
    monkeypatch.setattr(workers, "_end", lambda: ended.append(True))
    released = []

    def job() -> None:
        with job_of_launcher():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                released.append(True)

    with pytest.raises(KeyboardInterrupt):
        job()
    assert [one["pid"] for one in watched] == [1]
    assert (released, ended) == ([True], [True])


def test_signals_are_passed_on_by_a_sweep_with_joblib_only(signals: None) -> None:
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with workers_first(["-m", "hydra/launcher=joblib"]):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # as SIGHUP under nohup
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    signal.signal(signal.SIGTERM, handler)
    before = signal.getsignal(signal.SIGINT)
    with workers_first(["-m", "seed=0,1"]):
        assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), workers_first(["-m", "hydra/launcher=joblib"]):
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
