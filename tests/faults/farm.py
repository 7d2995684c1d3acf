"""Workers as processes that can be killed, and the stores they share as real servers."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.history import State
from tests.faults.worker import Orders, attach, front_from_raw, front_of, score_of, work
from tests.processes import PROCESSES, free_port, import_for_trainings
from tests.programs import missing


class Farm:
    """Starts, kills and replaces workers of one study; ends all of them on leaving."""

    def __init__(self, orders: Orders) -> None:
        import_for_trainings()
        self.orders = orders
        self.processes: dict[int, Any] = {}
        self.kills = 0

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes.values():
            if process.is_alive():
                process.kill()
            process.join(60)

    def start(self, worker: int, target: Callable[..., None] = work, *more: Any) -> None:
        process = PROCESSES.Process(target=target, args=(self.orders, worker, *more))
        process.start()
        self.processes[worker] = process

    def kill(self, worker: int) -> None:
        """SIGKILL, and a fresh worker of the same number in its place."""
        if self.processes[worker].is_alive():
            self.processes[worker].kill()
            self.processes[worker].join(60)
            self.kills += 1
            self.start(worker)

    def signal(self, worker: int, number: signal.Signals) -> None:
        os.kill(self.processes[worker].pid, number)

    def stop_between_writes(self, worker: int, is_locked: Callable[[], bool]) -> None:
        """SIGSTOP at an instant at which the worker holds no lock of the store, which it would keep while it sleeps."""
        status = Path(f"/proc/{self.processes[worker].pid}/stat")
        while True:
            self.signal(worker, signal.SIGSTOP)
            while status.read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)
            if not is_locked():
                return
            self.signal(worker, signal.SIGCONT)
            time.sleep(0.01)

    def wait(self, timeout_s: float) -> None:
        """Until all workers have ended well."""
        end = time.monotonic() + timeout_s
        for process in self.processes.values():
            process.join(max(0.1, end - time.monotonic()))
        assert [p.exitcode for p in self.processes.values()] == [0] * len(self.processes)

    def wait_for_lines(self, count: int, timeout_s: float = 300.0) -> None:
        """Until the evaluators have logged so many lines."""
        path, end = Path(self.orders.folder) / "log.txt", time.monotonic() + timeout_s
        while time.monotonic() < end:
            if path.exists() and len(path.read_text().splitlines()) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"no {count} lines within {timeout_s} s")


def check(orders: Orders, failed: int | None = 0, repeated: bool = False) -> None:
    """What must hold after every fault: each architecture finished exactly once, nothing running, results true, the
    front equal to the one computed from the raw records, no epoch trained twice, no temporary file.

    failed: how many trials failed (None: any number). repeated: whether an epoch may have been trained twice.
    """
    study = attach(orders)
    records = study.records()
    assert len(records) == orders.trials
    assert all(record.state is not State.RUNNING for record in records)
    done = [record for record in records if record.state is State.COMPLETE]
    assert failed is None or len(records) - len(done) == failed
    assert max(Counter(record.arch.id for record in done).values()) == 1
    assert all(record.metrics["score"] == score_of(record.arch) for record in done)
    assert front_of(study) == front_from_raw(study)
    study.close()
    folder = Path(orders.folder)
    lines = [line.rsplit(" ", 1)[0] for line in (folder / "log.txt").read_text().splitlines()]
    if not repeated:
        ended = Counter(line for line in lines if line.startswith("end"))
        assert max(ended.values()) == 1, "an epoch that was checkpointed was trained again"
    left = [path.name for path in folder.rglob("*") if ".tmp" in path.name or path.name.endswith(("~", ".part"))]
    assert left == []


def is_locked(kind: str, folder: Path) -> bool:
    """Whether a process holds a lock of a store in files."""
    if kind == "sqlite":
        store = sqlite3.connect(folder / "study.db", timeout=0, isolation_level=None)
        try:
            store.execute("BEGIN EXCLUSIVE")
            store.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
        finally:
            store.close()
        return False
    with open(folder / "study.log.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Postgres:
    """A real PostgreSQL server of its own on loopback, in a folder of its own that the user postgres can reach."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        local = shutil.which("initdb")
        if not found and local is None:
            missing("PostgreSQL", "postgresql")
        self.bin = found[-1].parent if found else Path(str(local)).parent
        self.data, self.port = Path(tempfile.mkdtemp(prefix="voxnas-postgres-")), free_port()
        self.user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self.user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self.data, "postgres", "postgres")
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.data} -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", str(self.data), "-o", options, "-l", str(self.data / "log"), "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.data)

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self.bin / program), *words],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=300,
            cwd=self.data,
            **self.user,
        )


class GrpcProxy:
    """Optuna's proxy server on loopback, in front of another store."""

    def __init__(self, behind: str) -> None:
        self.behind, self.port = behind, free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        code = (
            "import warnings; warnings.simplefilter('ignore');"
            "from optuna.storages import run_grpc_proxy_server as run;"
            "from nas.study.opening import open_storage as open;"
            f"run(open({self.behind!r}), host='127.0.0.1', port={self.port})"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 300
        while time.monotonic() < end:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the gRPC server did not come up")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)

    remove = stop


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """A new store of a kind: its URL, and its server where it has one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/study.db", None
    elif kind == "journal":
        yield f"journal://{folder}/study.log", None
    else:
        server: Any = Postgres() if kind == "postgresql" else GrpcProxy(f"sqlite:///{folder}/study.db")
        try:
            yield server.url, server
        finally:
            server.remove()
