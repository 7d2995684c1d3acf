"""Python programs in processes of their own, without the seconds of their imports.

Each is a fork of one process that has imported torch and the commands. What a program imports, and how it starts, is
tested with processes that are started as a user starts them.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import shutil
import site
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess

from tests.conftest import REPO

PROCESSES = multiprocessing.get_context("forkserver")
IMPORTED = ["tests.processes", "tests.faults.worker", "tests.problems", "tests.tables", "tests.comparisons"]
IMPORTED += ["tests.commands"]
# torch imports its compiler with the first network that it measures.
OF_TRAININGS = ["torch._dynamo", "experiments.search.job", "experiments.train.job"]
# Imported late, by every search and training: a second of each.
OF_TRAININGS += ["sklearn.model_selection", "sklearn.calibration", "nas.baselines.simple", "experiments.hydra_main"]
OF_TRAININGS += ["optuna.storages._rdb.storage", "sqlalchemy.dialects.sqlite", "alembic.command", "alembic.context"]
OF_TRAININGS += [
    "nas.data.sources.lidc_shapes",
    "nas.html.classification",
    "rich.progress",
    "PIL.Image",
    "monai.losses",
]
PROCESSES.set_forkserver_preload(IMPORTED)


def import_for_trainings() -> None:
    """Import what a training needs in the process that is forked; call it before the first fork."""
    PROCESSES.set_forkserver_preload([*IMPORTED, *OF_TRAININGS])
    here = Path.cwd()
    os.chdir(REPO)  # it finds `tests` there only
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


class Program:
    """A running `python WORDS…` in a folder.

    Args:
        words: A path of a script or `-m` and a module, then arguments.
        folder: Where it runs.
        environment: Environment variables beside those of the tests.
        sites: Folders of installed packages beside those of the tests.
    """

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        sites: Sequence[Path] = (),
    ) -> None:
        import_for_trainings()
        self.words = [*map(str, words)]
        self._said = Path(tempfile.mkdtemp(prefix="voxnas-said-"))
        for name in ("out", "err"):
            (self._said / name).touch()
        more = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self.process: ForkServerProcess = PROCESSES.Process(
            target=_become, args=(self.words, str(folder), more, str(self._said), [*map(str, sites)])
        )
        self.process.start()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.join(60)
        shutil.rmtree(self._said)

    def wait(self, timeout_s: float = 500.0) -> CompletedProcess[str]:
        """Wait for its end; after the time-out it is killed and the test fails."""
        self.process.join(timeout_s)
        code = self.process.exitcode
        out, err = ((self._said / name).read_text() for name in ("out", "err"))
        self.kill()
        assert code is not None, f"{self.words} has not ended within {timeout_s} s\n{out}\n{err}"
        return CompletedProcess(self.words, code, out, err)


def run_python(
    *words: object, folder: Path, environment: Mapping[str, str] | None = None, timeout_s: float = 500.0
) -> CompletedProcess[str]:
    """Run `python WORDS…` to its end."""
    return Program(words, folder, environment).wait(timeout_s)


def run_ranks(*words: object, folder: Path, count: int = 2, timeout_s: float = 500.0) -> None:
    """Run `python WORDS…` as the ranks of one job, with the variables that torchrun sets."""
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [Program(words, folder, {**shared, "RANK": str(n), "LOCAL_RANK": str(n)}) for n in range(count)]
    for done in [rank.wait(timeout_s) for rank in ranks]:
        assert done.returncode == 0, done.stderr[-3000:]


def free_port() -> int:
    """A port of this machine that no program listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _become(words: list[str], folder: str, environment: dict[str, str], said: str, sites: list[str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        with open(Path(said) / name, "wb") as file:
            os.dup2(file.fileno(), number)
    sys.path[:] = [path for path in sys.path if path]
    sys.path[:0] = [str(REPO), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    for path in sites:
        site.addsitedir(path)
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    finally:
        # A fork leaves without them. Those of threads come first, as at the end of Python: the others wait for the
        # processes of joblib, which end only when its executor has been shut down.
        for at_exit in reversed(getattr(threading, "_threading_atexits", ())):
            at_exit()
        atexit._run_exitfuncs()
