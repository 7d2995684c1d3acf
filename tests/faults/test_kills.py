"""Workers killed at any instant, on every kind of store."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from nas.errors import NASError
from tests.faults.farm import Farm, check, is_locked, store_of
from tests.faults.worker import Orders, attach, work

pytestmark = pytest.mark.faults
WORKERS = 8


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql", "grpc"])
def test_kill_9_at_random_instants(kind: str, tmp_path: Path) -> None:
    """Eight workers, killed again and again: every trial is finished once, and no finished epoch is trained again."""
    rng = random.Random(kind)
    with store_of(kind, tmp_path) as (url, _):
        orders = Orders(url, str(tmp_path), trials=60, epoch_s=0.1)
        with Farm(orders) as farm:
            for worker in range(WORKERS):
                farm.start(worker)
            farm.wait_for_lines(12)
            for _ in range(8):
                time.sleep(rng.uniform(0.05, 0.6))
                farm.kill(rng.randrange(WORKERS))
            farm.wait(400)
            assert farm.kills >= 4
        check(orders)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_worker_that_wakes_after_its_lease_changes_nothing(kind: str, tmp_path: Path) -> None:
    with store_of(kind, tmp_path) as (url, _):
        orders = Orders(url, str(tmp_path), trials=2, lease_s=1.0, epoch_s=1.0)
        with Farm(orders) as farm:
            farm.start(0)
            farm.wait_for_lines(2)
            farm.stop_between_writes(0, lambda: is_locked(kind, tmp_path))
            asleep = farm.processes[0].pid
            farm.start(1)
            farm.processes[1].join(400)
            assert farm.processes[1].exitcode == 0
            before = attach(orders).records()
            farm.signal(0, signal.SIGCONT)
            farm.wait(300)
            assert attach(orders).records() == before
            assert asleep not in {record.metrics["pid"] for record in before}
        check(orders, repeated=True)


def test_a_clock_that_is_an_hour_off_steals_nothing(tmp_path: Path) -> None:
    with store_of("sqlite", tmp_path) as (url, _):
        orders = Orders(url, str(tmp_path), trials=24)
        with Farm(orders) as farm:
            for worker, skew_s in enumerate([0.0, 3600.0, -3600.0]):
                farm.start(worker, work, skew_s)
            farm.wait(300)
        check(orders)
        assert all("taking" not in key for trial in attach(orders).store.trials() for key in trial.user_attrs)
        starts = [record.started for record in attach(orders).records()]
        assert max(starts) - min(starts) > 3000  # the clocks really were apart


def test_a_worker_number_is_taken_once(tmp_path: Path) -> None:
    orders = Orders(f"sqlite:///{tmp_path}/study.db", str(tmp_path), trials=40)
    with Farm(orders) as farm:
        farm.start(3)
        farm.wait_for_lines(2)
        with pytest.raises(NASError, match="worker=3 twice"):
            work(orders, 3)
        farm.kill(3)  # a dead worker's number is free
        farm.wait_for_lines(12)
        assert farm.processes[3].is_alive()
