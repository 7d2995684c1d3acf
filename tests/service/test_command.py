"""How the service starts, and why it does not."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from experiments.lung_detector.serve import _listen, main
from tests.commands import refused
from tests.conftest import REPO
from tests.service.files import slice_png
from tests.service.server import BRIGHT_SPOTS, KEY, Server

LONG = "0123456789abcdef"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("VOXNAS_API_KEY", raising=False)
    path = tmp_path / "seconds.txt"
    path.write_text("0")
    return str(path)


def start(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, str, str]:
    code = main([*words, *BRIGHT_SPOTS])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_refuses_to_start_without_a_key(checkpoint: str, capsys: pytest.CaptureFixture) -> None:
    refused(start(capsys, checkpoint), "no API key", "VOXNAS_API_KEY", "--insecure-local")
    refused(start(capsys, checkpoint, "--host", "0.0.0.0", "--insecure-local"), "--insecure-local", "loopback")
    refused(start(capsys, checkpoint, "--host", "example.org", "--insecure-local"), "loopback")


@pytest.mark.parametrize("key", ["short", "", " " * 20, "ключ" * 8, "with a space in it all"])
def test_refuses_a_key_that_is_none(
    key: str, checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text(key)
    refused(start(capsys, checkpoint, "--key-file", str(file), "--insecure-local"), "key")
    refused(start(capsys, checkpoint, "--key-file", str(tmp_path / "none")), "cannot be read")
    refused(start(capsys, checkpoint, "--key-file", "/dev/zero"), "cannot be read")  # has no end
    monkeypatch.setenv("VOXNAS_API_KEY", key)
    refused(start(capsys, checkpoint), "key")


def test_refuses_what_it_cannot_serve(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VOXNAS_API_KEY", LONG)
    refused(start(capsys, f"{checkpoint}.none"), "no file")
    refused(start(capsys), "no MODEL")
    refused(start(capsys, checkpoint, "--places", "0"), "--places")
    refused(start(capsys, checkpoint, "--port", "70000"), "70000")
    refused(start(capsys, checkpoint, "--allow-package", "mine"), "--allow-package")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(start(capsys, checkpoint, "--port", str(taken.getsockname()[1])), "in use")
    code = main([checkpoint, "--predictor", "no.such:Thing"])
    refused((code, *capsys.readouterr()), "no.such:Thing")
    code = main([checkpoint, "--predictor", "builtins:int"])
    refused((code, *capsys.readouterr()), "builtins:int", "`load` and `predict`")
    with _listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("package", ["fastapi", "python_multipart"])
def test_a_missing_package_names_the_extra(package: str, checkpoint: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; from experiments.lung_detector.serve import main; "
    words = [sys.executable, "-c", f"{code} sys.exit(main(['{checkpoint}', '--insecure-local']))"]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
    refused((done.returncode, done.stdout, done.stderr), package, "voxnas[serve]")


def test_without_a_key_only_names_of_this_machine_are_answered(checkpoint: str, tmp_path: Path) -> None:
    server = Server(tmp_path, "--insecure-local", key=None)
    try:
        files = {"file": slice_png()}
        assert httpx.post(f"{server.url}/predict", files=files).status_code == 200
        assert httpx.get(f"{server.url}/health").json()["key_required"] is False
        answer = httpx.post(f"{server.url}/predict", files=files, headers={"Host": "elsewhere.example"})
        assert answer.status_code == 400
    finally:
        server.stop()
    assert server.process.returncode in (0, -15)
    assert "Traceback" not in server.log.read_text()


def test_a_defect_of_the_predictor_is_reported_in_one_line_and_logged(tmp_path: Path) -> None:
    server = Server(tmp_path, "--predictor", "tests.service.bright_spots:Failing")
    try:
        headers = {"X-API-Key": KEY, "Accept": "application/json"}
        answer = httpx.post(f"{server.url}/predict", files={"file": slice_png()}, headers=headers)
        assert answer.status_code == 500
        assert answer.json() == {"detail": "the service failed on this request; see its log"}
        assert httpx.get(f"{server.url}/health").json()["at_work"] == 0
    finally:
        server.stop()
    assert "RuntimeError: a defect" in server.log.read_text()
