"""Processes that a launcher starts for jobs of a sweep: they end with it, and an interrupted one releases its trial."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from experiments.cli import ENDING_SIGNALS, INTERRUPTED
from nas.utils.process import has_ended, is_dead, new_worker_id

LAUNCHER = "VOXNAS_LAUNCHER"  # environment variable with the process that started the sweep
OF_LAUNCHER = (
    "joblib",
    "submitit_local",
)  # launchers whose processes end with the command; Slurm and Ray have their own
POLL_S = 1.0
OTHERS_S = 2.0  # for the other processes of joblib to release their trials
GRACE_S = 30.0  # for writing the results of an interrupted job


def mark_launcher() -> None:
    """Note this process in the environment, which the processes of a launcher inherit."""
    os.environ[LAUNCHER] = json.dumps(new_worker_id())


@contextmanager
def job_of_launcher() -> Iterator[None]:
    """Run a job; if a launcher started this process for it, the process ends within seconds of the launcher.

    Ctrl-C, SIGTERM and the end of the launcher raise KeyboardInterrupt once in the body, so that it can release its
    trial and write its results. The process of an interrupted job then ends. The process of the command itself is left
    as it is: in a single run and with the launcher basic nothing is done.

    Yields:
        None.
    """
    config = HydraConfig.get()
    name = str(config.runtime.choices["hydra/launcher"]) if config.mode is RunMode.MULTIRUN else "basic"
    launcher = _launcher()
    if name == "basic" or launcher is None or launcher["pid"] == os.getpid():
        yield
        return
    own = name in OF_LAUNCHER
    if own:
        _watch(launcher)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt_once)
    try:
        yield
    except KeyboardInterrupt:
        if own:
            if name == "joblib":  # it kills its other processes as soon as one has ended
                time.sleep(OTHERS_S)
            _end()
        raise


@contextmanager
def workers_first(arguments: Sequence[str]) -> Iterator[None]:
    """Pass signals that end a sweep with joblib to its processes, and let these release their trials before it ends.

    Joblib itself kills its processes at once.

    Args:
        arguments: The command line, without the program.

    Yields:
        None.
    """
    handled: dict[int, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        for one in handled:
            signal.signal(one, signal.default_int_handler)  # a second Ctrl-C does not wait
        pids = _processes_of_joblib()
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end and not all(map(_is_gone, pids)):
            time.sleep(0.1)
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    if main and "hydra/launcher=joblib" in arguments:
        numbers = [getattr(signal, name) for name in ("SIGINT", *ENDING_SIGNALS) if hasattr(signal, name)]
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as SIGHUP under nohup
                handled[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, before in handled.items():
            signal.signal(number, before)


def _launcher() -> Mapping[str, Any] | None:
    try:
        return dict(json.loads(os.environ.get(LAUNCHER, "")))
    except ValueError:
        return None


def _watch(launcher: Mapping[str, Any]) -> None:
    """Start the thread that ends this process after its launcher; one is enough for all jobs of the process."""
    name = f"watch of launcher {launcher['pid']}"
    if any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        while not is_dead(launcher):
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)  # interrupts a job; ends a process that waits for one
        time.sleep(GRACE_S)
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, name=name, daemon=True).start()


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)  # joblib's process would go on with the next job


def _processes_of_joblib() -> list[int]:
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = getattr(loky, "_executor", None)
    return list(getattr(executor, "_processes", None) or ())


def _is_gone(pid: int) -> bool:
    """Whether a child has ended, also if it has not been waited for yet."""
    with suppress(OSError):
        os.waitpid(pid, os.WNOHANG)
    return has_ended(pid)
