"""The live board against a real Visdom server on loopback, and without one."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from omegaconf import OmegaConf

from nas.tracking.base import NoTracking
from nas.tracking.visdom_board import VisdomBoard

CONF = Path(__file__).resolve().parents[1] / "conf"
SERVE = """
from visdom.server.run_server import start_server
start_server(port={}, base_url="", env_path={!r}, bind_local=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A Visdom server in its own process; `start_server` needs no internet, `python -m visdom.server` does."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE.format(self.port, str(folder))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 300
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=10).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("the Visdom server did not start")

    def stop(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def windows(self, env: str) -> dict:
        """What the server holds, by window name, through its own API."""
        query = json.dumps({"win": None, "eid": env})
        with requests.post(f"http://127.0.0.1:{self.port}/win_data", data=query, timeout=100) as answer:
            return json.loads(answer.text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("visdom"))
    yield running
    running.stop()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()


def board_of(server: Server, env: str) -> VisdomBoard:
    return VisdomBoard("http://127.0.0.1", server.port, env)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
def test_curves_arrive(server: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    board = board_of(server, "curves")
    for step, value in enumerate([0.5, 0.625, 0.75]):
        board.scalar("search", "auc", step, value)
        board.scalar("search", "best", step, value + 0.125)
    board.close()
    content = server.windows("curves")["search"]["content"]
    traces = {trace["name"]: (trace["x"], trace["y"]) for trace in content["data"]}
    assert traces == {"auc": ([0, 1, 2], [0.5, 0.625, 0.75]), "best": ([0, 1, 2], [0.625, 0.75, 0.875])}
    assert warnings_of(caplog) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_second_run_continues_the_curve(server: Server) -> None:
    for first in (0, 2):
        board = board_of(server, "resumed")
        for step in (first, first + 1):
            board.scalar("loss", "train", step, 1.0 / (1 + step))
        board.close()
    (trace,) = server.windows("resumed")["loss"]["content"]["data"]
    assert trace["x"] == [0, 1, 2, 3]


@pytest.mark.slow
def test_points_that_the_board_has_are_left_out(server: Server) -> None:
    for steps in ((0, 1), (1, 2, 2)):
        board = board_of(server, "repeated")
        for step in steps:
            board.scalar("loss", "train", step, 0.5)
            board.scalar("loss", "valid", step, 0.25)
        board.close()
    traces = server.windows("repeated")["loss"]["content"]["data"]
    assert {trace["name"]: trace["x"] for trace in traces} == {"train": [0, 1, 2], "valid": [0, 1, 2]}


@pytest.mark.slow
def test_nan_and_infinity_leave_a_gap(server: Server) -> None:
    board = board_of(server, "gaps")
    for step, value in enumerate([1.0, math.nan, math.inf, 2.0]):
        board.scalar("loss", "train", step, value)
    board.close()
    (trace,) = server.windows("gaps")["loss"]["content"]["data"]
    assert [value for value in trace["y"] if value is not None] == [1.0, 2.0]


@pytest.mark.slow
def test_text_is_replaced(server: Server) -> None:
    board = board_of(server, "words")
    board.text("summary", "<b>first</b>")
    board.text("summary", "<b>second</b>")
    board.close()
    assert server.windows("words")["summary"]["content"] == "<b>second</b>"


@pytest.mark.slow
def test_the_board_is_saved(mortal: Server, tmp_path: Path) -> None:
    board = board_of(mortal, "kept")
    board.scalar("search", "auc", 0, 0.5)
    board.close()
    mortal.stop()
    assert "search" in json.loads((tmp_path / "kept.json").read_text())["jsons"]


def use(board: VisdomBoard, times: int) -> float:
    """Seconds that this many points and texts take: far more than the limits below if each asks for the server."""
    start = time.monotonic()
    for step in range(times):
        board.scalar("search", "auc", step, 0.5)
        board.text("summary", "text")
    return time.monotonic() - start


def test_no_server_is_one_warning(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    board = VisdomBoard("http://127.0.0.1", port)
    assert use(board, 10_000) < 5
    board.close()
    (warning,) = warnings_of(caplog)
    assert f"http://127.0.0.1:{port}" in warning
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_server_killed_half_way(
    mortal: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    board = board_of(mortal, "killed")
    board.scalar("search", "auc", 0, 0.5)
    assert "search" in mortal.windows("killed")
    mortal.stop()
    assert use(board, 10_000) < 5
    board.close()
    assert len(warnings_of(caplog)) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_server_that_hangs(mortal: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.tracking.visdom_board.ANSWER_S", 0.5)
    board = board_of(mortal, "hung")
    os.kill(mortal.process.pid, signal.SIGSTOP)
    assert use(board, 1000) < 20
    board.close()
    assert len(warnings_of(caplog)) == 1


class Greeter(BaseHTTPRequestHandler):
    """Some other program's web server: it answers every POST with a page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>hello</p>")

    def log_message(self, *arguments: object) -> None:
        return


def test_another_program_at_the_port_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        board = VisdomBoard("http://127.0.0.1", other.server_address[1])
        board.scalar("search", "auc", 0, 0.5)
        board.close()
        other.shutdown()
    (warning,) = warnings_of(caplog)
    assert "another program" in warning


def test_no_tracking_has_the_same_methods() -> None:
    tracker = NoTracking()
    assert tracker.scalar("search", "auc", 0, 0.5) is None
    assert tracker.text("summary", "text") is None
    assert tracker.close() is None


@pytest.mark.parametrize(
    ("rest", "env"),
    [({"study": {"name": "demo"}}, "demo"), ({"name": "model-1-seed0"}, "model-1-seed0"), ({}, "voxnas")],
)
def test_configuration_names_the_environment(rest: dict, env: str) -> None:
    tracking = {"visdom": OmegaConf.load(CONF / "tracking" / "visdom.yaml")}
    cfg = OmegaConf.create({"tracking": tracking, **rest})
    assert cfg.tracking.visdom.env == env
    assert cfg.tracking.visdom._target_ == "nas.VisdomBoard"


@pytest.mark.slow
def test_three_workers_share_the_windows_of_one_board(server: Server) -> None:
    """Trials of three workers, each with a connection of its own, are points of one curve."""
    ready = threading.Barrier(3)

    def work(worker: int) -> None:
        board = board_of(server, "shared")
        ready.wait()  # all make the window at once
        for step in range(worker, 30, 3):
            board.scalar("search", "auc", step, 0.5 + step / 100)
        board.close()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (trace,) = server.windows("shared")["search"]["content"]["data"]
    assert len(trace["x"]) == 30
    points = dict(zip(trace["x"], trace["y"], strict=True))
    assert points == {step: pytest.approx(0.5 + step / 100) for step in range(30)}
