"""`python -m benchmarks.gpu`: no GPU, a failed check, and all checks on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_checks import Bench, Facts


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().out == f"{gpu.NO_GPU}\n"


def test_a_failed_check_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(bench: Bench) -> Facts:
        raise RuntimeError("tensors on two devices")

    monkeypatch.setattr(gpu, "CHECKS", {"first": fails, "second": lambda bench: {"ratio": 2.5}})
    monkeypatch.setattr(gpu, "RATIOS", {})
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL first")
    assert lines[0].endswith("RuntimeError: tensors on two devices")
    assert lines[1].startswith("ok   second")
    assert lines[1].endswith("ratio 2.5")
    (result,) = tmp_path.glob("*-gpu-*.json")
    rows = json.loads(result.read_text())["rows"]
    assert [row["ok"] for row in rows] == [False, True]
    assert "in fails" in rows[0]["trace"]


LONG = ("compile", "workers: one device")  # minutes on a CPU


@pytest.mark.slow
def test_the_checks_pass_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "CHECKS", {name: check for name, check in gpu.CHECKS.items() if name not in LONG})
    monkeypatch.setattr(gpu, "RATIOS", {})
    code = gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path)])
    assert code == 0, [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
