"""Schemathesis against the API's own description: all of its checks, with real PNGs where a file is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.service.server import KEY, Server

pytestmark = pytest.mark.slow


def test_the_service_does_what_its_description_says(server: Server, tmp_path: Path) -> None:
    words = ["--checks", "all", "--max-examples", "15", "--seed", "1", "--header", f"X-API-Key: {KEY}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.service.fuzz_hooks", "PYTHONPATH": str(REPO)}
    environment["PYTHONIOENCODING"] = (
        "utf-8"  # a command that a test ran in this process may have left one without name
    )
    command = [Path(sys.executable).with_name("st"), "run", f"{server.url}/openapi.json", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout
    log = server.log.read_text()
    assert "Traceback" not in log
    assert 'POST /predict HTTP/1.1" 200' in log
    assert 'POST /predict HTTP/1.1" 5' not in log
