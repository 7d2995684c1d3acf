"""A differentiable search from the command line: what it leaves behind, what is retrained, what is refused."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import run_search
import run_train
from nas.artifact import load
from tests.commands import Command, refused
from tests.conftest import REPO
from tests.processes import Program, run_python, run_ranks

DEMO = ["experiment=dints_demo", "split.folds=3", "training.precision=fp32"]
QUICK = ["strategy.settings.epochs=4", "strategy.settings.batch_size=8", "strategy.target=null", "study.trials=2"]
SMALL = ["space.num_blocks=2", "space.num_depths=2", "space.channel_mul=0.0625"]


def search(command: Command, *words: str) -> tuple[int, str, str]:
    return command(run_search.main, *DEMO, *SMALL, *QUICK, *words)


@pytest.mark.slow
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
    assert "Final probabilities" in report

    words = [*DEMO, "training.epochs=1", "arch=outputs/dints_demo/arch.json", "resamples=50"]
    words += ["baselines.plain_unet=null"]
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

    changes = ["name=deep", f"supernet={supernet}", "+space_changes.deep_supervision=true"]
    code, _, err = command(run_train.main, *words, *changes, "baselines.random_search=false")
    assert code == 0, err
    deep = json.loads((command.folder / "outputs/train/deep/result.json").read_text())
    assert deep["params"] > inherited["params"]  # classifiers of the coarser levels
    assert deep["mean"]["dice"] != inherited["mean"]["dice"]
    refused(command(run_train.main, *words, "name=x", "+space_changes.num_blocks=3"), "changes that keep its")
    refused(command(run_train.main, *words, "name=x", "+space_changes.depth=3"), "space_changes.depth")
    wider = ["name=x", "+space_changes.channel_mul=0.125"]
    refused(command(run_train.main, *words, *wider, f"supernet={supernet}"), "is not as in the supernet")
    refused(command(run_train.main, *words, "name=x", f"supernet={supernet}", "split.seed=7"), "split")
    refused(command(run_train.main, *words, "name=x", "supernet=nowhere.pt"), "supernet=nowhere.pt")


def test_settings_that_cannot_work(command: Command) -> None:
    refused(search(command, "strategy.budget=10"), "a budget of 10", "smallest feasible architecture")
    refused(search(command, "strategy.warm_up=2"), "strategy.warm_up=2")
    refused(search(command, "strategy.target=10"), "a target of 10", "smallest feasible architecture")
    refused(search(command, "strategy.target=1e15"), "strategy.target=1e+15")
    refused(search(command, "cost.metric=activation_bytes", "strategy.target=1e6"), "cost.metric=macs, params")
    refused(search(command, "data.size=18"), "multiples of 4")
    refused(search(command, "task.window=[18,18,18]"), "multiples of 4", "task.window")
    words = [*DEMO, *SMALL, "strategy=random", "evaluator=supernet"]
    refused(command(run_search.main, *words), "RandomSearch, which trains no supernet", "evaluator.checkpoint=")
    refused(command(run_search.main, *words, "evaluator.checkpoint=nowhere.pt"), "no supernet that can be read")


@pytest.mark.slow
def test_the_task_is_that_of_the_data_and_the_settings_those_of_the_training(command: Command) -> None:
    """An arch.json is retrained without the experiment that found it."""
    code, _, err = search(command, "training.lr=0.03", "study.trials=1")
    assert code == 0, err
    config = OmegaConf.load(command.folder / "outputs/dints_demo/config.yaml")
    assert (config.strategy.settings.lr, config.strategy.settings.precision) == (0.03, "fp32")
    assert config.strategy.settings.batch_size == 8
    words = ["arch=outputs/dints_demo/arch.json", "data=icbm_tissue", "data.size=16", "data.spacing_mm=2", "name=plain"]
    words += ["split.folds=3", "training.epochs=1", "training.batch_size=8", "resamples=50"]
    words += ["baselines.plain_unet=null"]
    code, _, err = command(run_train.main, *words, "baselines.random_search=false")
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/plain/result.json").read_text())
    assert set(result["baselines"]) == {"intensity"}


@pytest.mark.slow
def test_a_search_that_is_killed_in_an_epoch_goes_on(tmp_path: Path, data_cache: Path) -> None:
    """SIGKILL, after one epoch has been written and before the last one."""
    words = [REPO / "run_search.py", *DEMO, *SMALL, *QUICK, f"data_cache={data_cache}"]
    words += ["strategy.settings.epochs=8", "study.trials=1", "device=cpu"]
    curves = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "outputs/dints_demo/checkpoints/supernet/curves.csv"
        if name == "killed":
            program = Program(words, folder)
            waiting = time.monotonic() + 400
            while not path.exists() and time.monotonic() < waiting:
                time.sleep(0.01)
            program.kill()
            assert path.exists()
            assert len(path.read_text().splitlines()) < 9
        done = run_python(*words, folder=folder)
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(path.read_text().splitlines()))
        curves.append([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
    assert len(curves[0]) == 8
    assert curves[0] == curves[1]
    found = [load(tmp_path / name / "outputs/dints_demo/arch.json") for name in ("whole", "killed")]
    assert found[0].arch == found[1].arch
    assert found[0].metrics["dice"] == found[1].metrics["dice"]


@pytest.mark.slow
def test_ranks_train_one_supernet(tmp_path: Path, data_cache: Path) -> None:
    words = [*DEMO, *SMALL, *QUICK, f"data_cache={data_cache}"]
    run_ranks(REPO / "run_search.py", *words, folder=tmp_path)
    assert load(tmp_path / "outputs/dints_demo/arch.json").metrics["dice"] >= 0
    lines = (tmp_path / "outputs/dints_demo/checkpoints/supernet/curves.csv").read_text().splitlines()
    assert len(lines) == 5
