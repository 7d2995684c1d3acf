"""Optuna's own dashboard opens our store."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from nas.history import Proposal
from tests.problems import study_of as make_study
from tests.tables import OBJECTIVES, SPACE, records_of

pytest.importorskip("optuna_dashboard")
pytestmark = pytest.mark.slow


def read(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return json.load(answer)


def test_the_dashboard_shows_a_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = make_study(url, "shown", SPACE, OBJECTIVES, {"data": "abc"})
    for record in records_of()[:3]:
        ticket = study.claim(Proposal(record.arch), "0")
        assert ticket is not None
        study.finish(ticket, record.metrics)
    study.close()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, url, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 300
        while True:
            try:
                summaries = read(port, "/api/studies")["study_summaries"]
                break
            except OSError:
                assert process.poll() is None, "the dashboard has ended"
                assert time.monotonic() < end, "the dashboard does not answer"
                time.sleep(0.2)
        (summary,) = summaries
        assert summary["study_name"] == "shown"
        assert [way.lower() for way in summary["directions"]] == ["maximize", "minimize"]
        detail = read(port, f"/api/studies/{summary['study_id']}?after=0")
        assert detail["objective_names"] == ["auc", "macs"]
        values = [trial["values"] for trial in detail["trials"]]
        assert values == [[r.metrics["auc"], r.metrics["macs"]] for r in records_of()[:3]]
        assert {parameter["name"] for parameter in detail["trials"][0]["params"]} == {g.name for g in SPACE.genes}
    finally:
        process.terminate()
        process.wait(60)
