"""`voxnas board`: the scripts of its page, the server, and the page in a browser."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from experiments.board import assets
from experiments.board.table import ASSETS, Asset
from nas.errors import NASError
from nas.tracking.base import Front, TrackedRun
from nas.tracking.visdom_board import VisdomBoard
from tests.commands import refused
from tests.conftest import REPO

COMMAND = [sys.executable, "-m", "experiments.commands.voxnas", "board"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """A user whose caches are in the folder, and who reaches no registry."""
    own = {"XDG_CACHE_HOME": str(folder), "npm_config_registry": "http://127.0.0.1:9", "PYTHONPATH": str(REPO)}
    return {**os.environ, **own, **more}


def zip_of(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return content.getvalue()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two small files in place of the real ones."""
    files = {"js/a.js": b"one", "css/b.css": b"two"}
    table = tuple(Asset(path, "p@1.0", path, hashlib.sha256(data).hexdigest()) for path, data in files.items())
    monkeypatch.setattr(assets, "ASSETS", table)
    return files


def test_a_zip_file_is_checked_and_never_extracted(small: dict[str, bytes], tmp_path: Path) -> None:
    outside = {"../../evil.js": b"x", "/etc/evil": b"x", "js/unknown.js": b"x"}
    assert assets.unpack(zip_of({**small, **outside}), "a.zip") == small
    with pytest.raises(NASError, match=r"without css/b\.css"):
        assets.unpack(zip_of({"js/a.js": b"one"}), "a.zip")
    with pytest.raises(NASError, match=r"another js/a\.js"):
        assets.unpack(zip_of({**small, "js/a.js": b"other"}), "a.zip")
    whole = zip_of(small)
    for damaged in (b"", b"no zip", whole[: len(whole) // 2], whole.replace(b"one", b"0ne")):
        with pytest.raises(NASError, match="damaged"):
            assets.unpack(damaged, "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_given_zip_file_is_kept(small: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "kept_file", lambda: tmp_path / "cache/board.zip")
    (tmp_path / "a.zip").write_bytes(zip_of(small))
    assert assets.load(tmp_path / "a.zip", "http://127.0.0.1:9") == small
    assert assets.load(None, "http://127.0.0.1:9") == small
    (tmp_path / "cache/board.zip").write_bytes(b"damaged")
    with pytest.raises(NASError, match="--pack-assets"):
        assets.load(None, "http://127.0.0.1:9")


def test_without_its_scripts_the_board_says_what_to_do(tmp_path: Path) -> None:
    for words, said in ((["--port", "0"], "--pack-assets"), (["--port", "0", "--assets", "no.zip"], "no.zip")):
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=100
        )
        notes, _, last = done.stderr.strip().rpartition("\n")
        refused((done.returncode, done.stdout, last), said)
        assert not (tmp_path / "outputs").exists()
        assert "Traceback" not in notes


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            [*COMMAND, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=100
        )
    refused((done.returncode, done.stdout, done.stderr), words[1])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real zip file, if an npm registry can be reached."""
    path = tmp_path_factory.mktemp("assets") / "board.zip"
    words = ["--pack-assets", str(path)]
    done = subprocess.run(
        [*COMMAND, *words],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "no answer of" in done.stderr:
        pytest.skip(f"the npm registry cannot be reached: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return path


def _heed_interrupts() -> None:
    """Ctrl-C is ignored in the background, and a new process inherits this."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Board:
    """`voxnas board` in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", *words],
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_interrupts,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        assert found, self.process.communicate()[1]
        self.address, self.port = found[0], int(found[1])

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, out, errors


@pytest.fixture
def board(packed: Path, tmp_path: Path) -> Iterator[Board]:
    running = Board(tmp_path, "--assets", str(packed))
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate()


@pytest.mark.slow
def test_the_files_come_with_their_licences(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    assert len(assets.unpack(packed.read_bytes(), "board.zip")) == len(ASSETS)
    for package in {asset.package for asset in ASSETS}:
        assert any(name.startswith(f"licences/{package}/") for name in names), package


@pytest.mark.slow
def test_everything_that_the_page_loads_is_served(board: Board, tmp_path: Path) -> None:
    page = requests.get(board.address, timeout=60).text
    loaded = re.findall(r"""(?:href|src)=['"]?(/static/[^'" >]+)""", page)
    assert len(loaded) > 15
    assert "/static/../user/style.css" in loaded  # which Tornado 6.6 refuses to name
    for path in loaded:
        assert requests.get(board.address + path, timeout=60).status_code == 200, path
    raw = requests.Request("GET", board.address).prepare()
    raw.url = f"{board.address}/static/../../../../etc/passwd"
    with requests.Session() as session:
        assert session.send(raw, timeout=60).status_code in (403, 404)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_front_curves_and_pictures_and_the_board_is_saved(board: Board, tmp_path: Path) -> None:
    tracker = VisdomBoard("http://127.0.0.1", board.port, "run")
    tracker.start(TrackedRun("run", tmp_path, {"seed": 3, "space": {"width": 8}}))
    for step, value in enumerate([0.5, 0.625, 0.75]):
        tracker.scalar("search", "auc", step, value)
    values = np.array([[1e6, 0.5], [2e6, 0.625], [3e6, 0.6]])
    tracker.front(Front("macs", "auc", values, np.array([True, True, False]), ("trial 0", "trial 1", "trial 2")))
    tracker.picture("validation sample 1", np.full((8, 12, 3), 128, dtype=np.uint8), "nodule <7>")
    tracker.close()
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *words, f"--user-data-dir={tmp_path / 'chromium'}", f"{board.address}/env/run"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    for shown in ("js-plotly-plot", "Pareto front", "dominated", "macs", "space.width", "data:image", "&lt;7&gt;"):
        assert shown in done.stdout, shown
    code, said, errors = board.end()
    assert (code, errors) == (0, "")
    assert "saved the boards in outputs/board" in said
    assert (tmp_path / "outputs/board/run.json").stat().st_size > 500
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", board.port), timeout=5)
    again = Board(tmp_path)  # the scripts were kept
    assert "run" in again.said
    assert again.end()[0] == 0
    assert (tmp_path / "outputs/board/run.json").stat().st_size > 500  # not read, and not lost
