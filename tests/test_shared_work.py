"""Pieces of work that several processes share out: each is done by one of them, and none is lost with a process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from nas.retraining.shared_work import each_once
from nas.utils.files import locked


def test_pieces_of_another_process_come_last(tmp_path: Path) -> None:
    """The first piece is in work elsewhere at the beginning."""
    done: list[str] = []

    def work(name: str) -> str:
        done.append(name)
        return name.upper()

    locks = {name: tmp_path / name for name in "abc"}
    held, release = threading.Event(), threading.Event()

    def other() -> None:
        with locked(locks["a"]):
            held.set()
            release.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    threading.Timer(0.5, release.set).start()
    assert each_once("abc", work, locks) == ["A", "B", "C"]
    assert done == ["b", "c", "a"]
    thread.join()


def test_pieces_of_a_killed_process_are_done(tmp_path: Path) -> None:
    lock, started = tmp_path / "a", tmp_path / "started"
    child = os.fork()
    if child == 0:
        with locked(lock):
            started.touch()
            time.sleep(60)
        os._exit(0)
    while not started.exists():
        time.sleep(0.05)
    threading.Timer(0.5, lambda: os.kill(child, signal.SIGKILL)).start()
    assert each_once(["a"], str.upper, {"a": lock}) == ["A"]
    os.waitpid(child, 0)


def test_one_process_needs_no_locks() -> None:
    assert each_once("ab", str.upper, {}) == ["A", "B"]
