"""`voxnas auto` from the outside, by the commands of its tutorial in a shorter time: killed once, and continued."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.auto.clock import FILE
from nas.planning.plan import Plan
from tests.commands import refused, voxnas
from tests.conftest import REPO
from tests.small_folders import decathlon, labelled_csv

PAGE = (REPO / "docs/tutorials/from-a-folder-to-a-model.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.splitlines() if line.startswith("    voxnas ")]
TIME, SHORT = "40s", "10s"  # with a search, and with the reference network alone


def shortened(command: str, folder: Path, seconds: str = SHORT) -> list[str]:
    """A command of the tutorial with small data and a short time."""
    command = command.replace("/data/Task04_Hippocampus", str(folder / "Task04_Hippocampus"))
    command = command.replace("patients.csv", str(folder / "patients" / "balls.csv"))
    return shlex.split(re.sub(r"--time \w+", f"--time {seconds}", command))


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "COLUMNS": "80"}
    command = [sys.executable, "-m", "experiments.commands.voxnas", *words[1:]]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(words: list[str], folder: Path) -> tuple[str, str]:
    process = start(words, folder)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, f"{words}\n{out}\n{err}"
    return out, err


def steps_of(out: Path) -> dict[str, dict[str, object]]:
    try:
        return json.loads((out / FILE).read_text())["steps"]
    except FileNotFoundError:
        return {}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_tutorial_from_a_folder_to_a_model(tmp_path: Path):
    decathlon(tmp_path / "Task04_Hippocampus")
    labelled_csv(tmp_path / "patients")
    first, table, plan, planned, *_ = COMMANDS
    out = tmp_path / "outputs/auto/Task04_Hippocampus"

    process = start(shortened(first, tmp_path, TIME), tmp_path)
    while "search" not in steps_of(out) and process.poll() is None:
        time.sleep(0.2)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    begun = steps_of(out)
    said, err = run(shortened(first, tmp_path, TIME), tmp_path)
    steps = steps_of(out)
    assert steps["reference"] == begun["reference"]  # not trained again
    assert set(steps) >= {"plan.yaml", "reference", "search", "retraining", "choice"}
    assert max(map(len, err.splitlines())) < 80
    if "ended_s" not in begun["search"]:  # a busy machine has no time for one, and may be past it when it is killed
        assert "3/6 search" in err
    answer = " ".join(said.split("\n\n")[0].split())
    assert answer.startswith("Test Dice ")
    report = (out / "report.html").read_text(encoding="utf-8")
    assert answer[:40] in report
    assert "In 2 runs" in report
    assert "planned reference" in report

    command = said.splitlines()[-1].removeprefix("next: ")
    assert command.startswith("voxnas predict outputs/auto/Task04_Hippocampus/")
    scan = tmp_path / "Task04_Hippocampus/imagesTr/ball_00.nii.gz"
    run(shlex.split(command.replace("SCANS", str(scan))), tmp_path)
    assert list((tmp_path / "masks").iterdir())

    run(shortened(plan, tmp_path), tmp_path)
    path = tmp_path / "hippocampus/plan.yaml"
    path.write_text(re.sub(r"training.lr: \S+", "training.lr: 0.003", path.read_text(encoding="utf-8")))
    run(shortened(planned, tmp_path), tmp_path)
    assert Plan.read(path).value("training.lr") == 0.003
    assert "lr: 0.003" in (tmp_path / "hippocampus/reference/config.yaml").read_text(encoding="utf-8")

    said, _ = run(shortened(table, tmp_path), tmp_path)
    assert said.startswith("Test AUC ")
    assert "--out predictions.csv" in said


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_a_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    data = labelled_csv(tmp_path / "patients")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    code, out, _ = voxnas(capsys, "auto", data, "--time", "1h", "--max-params", "3e4", "--dry-run", "--device", "cpu")
    assert code == 0
    params = re.search(r"([\d,]+) parameters", out)
    assert params is not None
    assert int(params[1].replace(",", "")) <= 3e4
    assert "params<=30000" in out
    assert not list(here.iterdir())
    refused(voxnas(capsys, "auto", data, "--time", "1h", "--max-params", "30", "--dry-run"), "--max-params 30")
    refused(voxnas(capsys, "auto", data, "--task", "segmentation"), "task segmentation")

    assert "one of 5 folds" in out
    with_parts = data.with_name("parts.csv")
    header, *lines = data.read_text(encoding="utf-8").splitlines()
    parts = ["train"] * 20 + ["val"] * 5 + ["test"] * 5
    rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    with_parts.write_text("\n".join([f"{header},split", *rows]), encoding="utf-8")
    code, out, _ = voxnas(capsys, "auto", with_parts, "--time", "1h", "--dry-run", "--device", "cpu")
    assert code == 0
    assert "on the parts that the csv states" in out
    refused(voxnas(capsys, "auto", with_parts, "--time", "1h", "--dry-run", "--folds", "3"), "--folds 3")
    assert not list(here.iterdir())
