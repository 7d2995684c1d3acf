"""Processes that help a training: they do some of its trainings, and the random search, at the same time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins

from experiments.train.config import TrainConfig

NO_TRACKING = {"_target_": "nas.NoTracking"}
Work = Callable[[Mapping[str, Any], Path, int], None]
log = logging.getLogger(__name__)


@contextmanager
def helpers(config: TrainConfig, folder: Path, work: Work) -> Iterator[None]:
    """Run `config.processes` - 1 processes that do trainings of a folder which no other process is doing.

    Results of a training depend on its seeds only, not on the process; the networks that a random search draws depend
    on the order in which trials end. A helper that fails is missed, but the trainings are done without it.

    Args:
        config: The settings of the training.
        folder: Its output folder.
        work: Does the trainings, called with the settings, the folder and the number of the process; a function of a
            module.

    Yields:
        None, while the processes run.
    """
    with processes_of(replace(config, tracking=NO_TRACKING).plain(), config.processes, folder, work):
        yield


@contextmanager
def processes_of(settings: Mapping[str, Any], count: int, folder: Path, work: Work) -> Iterator[Sequence[BaseProcess]]:
    """Run processes beside this one, which is number 0, until the block ends.

    Args:
        settings: Settings of the command, as plain values.
        count: Number of processes, this one included.
        folder: The output folder.
        work: Called with the settings, the folder and the number of the process; a function of a module.

    Yields:
        The other processes, while they run.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads or a GPU may hang
    processes = [
        context.Process(target=_help, args=(work, settings, folder, number, _search_path()), daemon=True)
        for number in range(1, count)
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            if process.exitcode not in (None, 0):
                log.warning("a helping process ended with the exit code %d; see %s", process.exitcode, folder)
            process.terminate()
            process.join()


def _search_path() -> ConfigSearchPath | None:
    """Where Hydra looks for conf/; None outside of its commands."""
    hydra = GlobalHydra.instance()
    return hydra.config_loader().get_search_path() if hydra.is_initialized() else None


def _help(
    work: Work, settings: Mapping[str, Any], folder: Path, number: int, search_path: ConfigSearchPath | None
) -> None:
    """Work without output; the training ends its helpers."""
    if search_path is not None:
        Plugins.instance()  # which read the places of a search path
        Hydra.create_main_hydra2("helper", search_path)  # published networks are named by the files of conf/
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        work(settings, folder, number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
