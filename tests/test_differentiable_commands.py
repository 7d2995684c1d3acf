"""A differentiable search from the command line: what it leaves behind, what is retrained, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import run_search
import run_train
from nas.artifact import load
from tests.commands import Command, refused
from tests.conftest import REPO

DEMO = ["experiment=dints_demo", "split.folds=3", "training.precision=fp32"]
QUICK = ["strategy.settings.epochs=4", "strategy.settings.batch_size=8", "strategy.target=null", "study.trials=2"]
SMALL = ["space.num_blocks=2", "space.num_depths=2", "space.channel_mul=0.0625"]


def search(command: Command, *words: str) -> tuple[int, str, str]:
    return command(run_search.main, *DEMO, *SMALL, *QUICK, *words)


def test_search_then_retrain_from_the_supernet(command: Command) -> None:
    code, _, err = search(command)
    assert code == 0, err
    folder = command.folder / "outputs/dints_demo"
    artifact = load(folder / "arch.json")
    assert {"dice", "macs", "params"} <= set(artifact.metrics)
    supernet = folder / "checkpoints/supernet/last.pt"
    assert "<svg" in (supernet.parent / "picture.html").read_text()
    report = (folder / "report.html").read_text()
    assert all(f"{name} by epoch" in report for name in ("loss", "validation score", "topology", "edge entropy"))
    assert "What it made probable" in report

    words = [*DEMO, "training.epochs=1", "arch=outputs/dints_demo/arch.json", "resamples=50"]
    code, _, err = command(run_train.main, *words, "name=own", "baselines.random_search=false")
    assert code == 0, err
    code, _, err = command(run_train.main, *words, "name=inherited", f"supernet={supernet}")
    assert code == 0, err
    own, inherited = (
        json.loads((command.folder / f"outputs/train/{name}/result.json").read_text()) for name in ("own", "inherited")
    )
    assert set(inherited["baselines"]) == {"intensity", "random, equal cost"}
    rows = [line.split("|") for line in (command.folder / "outputs/train/inherited/table.md").read_text().splitlines()]
    gigamacs = {row[1].split(",")[0].strip(): row[6] for row in rows if len(row) > 6}
    assert float(gigamacs["random"]) == pytest.approx(float(gigamacs[f"searched {inherited['arch_id']}"]), rel=0.11)
    assert own["mean"]["dice"] != inherited["mean"]["dice"]

    refused(command(run_train.main, *words, "name=x", f"supernet={supernet}", "split.seed=7"), "split")
    refused(command(run_train.main, *words, "name=x", "supernet=nowhere.pt"), "no supernet that can be read")


def test_settings_that_cannot_work(command: Command) -> None:
    refused(search(command, "strategy.budget=10"), "a budget of 10", "smallest feasible architecture")
    refused(search(command, "strategy.warm_up=2"), "strategy.warm_up=2")
    words = [*DEMO, *SMALL, "strategy=random", "~strategy.settings", "~strategy.target", "~strategy.validate_every"]
    refused(command(run_search.main, *words, "~strategy.lr"), "no supernet that can be read")


def test_processes_of_torchrun_train_one_supernet(tmp_path: Path, data_cache: Path) -> None:
    words = [*DEMO, *SMALL, *QUICK, f"data_cache={data_cache}"]
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=127.0.0.1:0",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *launcher, str(REPO / "run_search.py"), *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert load(tmp_path / "outputs/dints_demo/arch.json").metrics["dice"] >= 0
    lines = (tmp_path / "outputs/dints_demo/checkpoints/supernet/curves.csv").read_text().splitlines()
    assert len(lines) == 5
