"""Stores that are out of reach, disks that are full, evaluators that misbehave."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from nas.history import State
from tests.commands import Command
from tests.faults.farm import Farm, check, store_of
from tests.faults.worker import Orders, attach, work_on_a_full_disk

pytestmark = pytest.mark.faults
OUTAGE_S, LEASE_S = 12.0, 10.0  # longer than a lease: an outage alone takes no trial from its worker


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql", "grpc"])
def test_a_store_out_of_reach_for_longer_than_a_lease(kind: str, tmp_path: Path) -> None:
    """The workers wait and go on; what they had computed is not lost."""
    with store_of(kind, tmp_path) as (url, server):
        orders = Orders(url, str(tmp_path), trials=40, lease_s=LEASE_S)
        with Farm(orders) as farm:
            for worker in range(3):
                farm.start(worker)
            farm.wait_for_lines(24)
            before = time.monotonic()
            take_away(kind, tmp_path, server)
            assert time.monotonic() - before >= OUTAGE_S
            assert all(process.is_alive() for process in farm.processes.values())
            farm.wait(400)
        check(orders)


def take_away(kind: str, folder: Path, server: Any) -> None:
    """Blocks for the length of the outage."""
    if server is not None:
        server.stop()
        time.sleep(OUTAGE_S)
        server.start()
    elif kind == "sqlite":
        other = sqlite3.connect(folder / "study.db", timeout=300, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(OUTAGE_S)
        other.execute("ROLLBACK")
        other.close()
    else:
        with open(folder / "study.log.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "study.log").rename(folder / "moved.log")
        time.sleep(OUTAGE_S)
        (folder / "moved.log").rename(folder / "study.log")


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_full_disk(kind: str, tmp_path: Path) -> None:
    """No file may grow for four seconds: the worker waits, the store stays whole, another worker is not disturbed."""
    with store_of(kind, tmp_path) as (url, _):
        orders = Orders(url, str(tmp_path), trials=16)
        with Farm(orders) as farm:
            farm.start(0, work_on_a_full_disk, 4.0)
            farm.start(1)
            farm.wait(400)
        check(orders, failed=None)
        assert len([r for r in attach(orders).records() if r.state is State.COMPLETE]) >= 14


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("nan", "no finite value for score"), ("failed", "NaN"), ("raises", "ValueError"), ("hangs", "not done within")],
)
def test_an_evaluator_that_misbehaves(fault: str, reason: str, tmp_path: Path) -> None:
    trials, limit = (10, 5.0) if fault == "hangs" else (24, None)
    orders = Orders(f"sqlite:///{tmp_path}/study.db", str(tmp_path), trials, fault=fault, time_limit_s=limit)
    with Farm(orders) as farm:
        for worker in range(2):
            farm.start(worker)
        farm.wait(400)
    check(orders, failed=None)
    records = attach(orders).records()
    bad = [record for record in records if record.state is State.FAILED]
    assert bad
    assert all(reason in record.reason for record in bad)
    assert all(int(record.arch.id[-1], 16) % 4 == 0 for record in bad)
    assert len(threading.enumerate()) < 20


def test_a_journal_with_an_unfinished_line(tmp_path: Path) -> None:
    """What a writer killed in the middle of a write leaves: it is cut off, and the journal stays readable."""
    orders = Orders(f"journal://{tmp_path}/study.log", str(tmp_path), trials=6)
    attach(orders).close()
    with open(tmp_path / "study.log", "ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x')
    with Farm(orders) as farm:
        farm.start(0)
        farm.wait(400)
    check(orders)
    assert b'"worker_id":"x{' not in (tmp_path / "study.log").read_bytes()


def test_a_search_through_a_server_ends_with_its_results(tmp_path: Path, command: Command) -> None:
    with store_of("grpc", tmp_path / "store") as (url, _):
        code, out, err = command.search(f"study.url={url}", "study.trials=1")
    assert code == 0, err
    assert "chosen" in out
    assert (command.folder / "outputs/s/arch.json").is_file()
