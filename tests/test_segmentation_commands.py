"""Search and retraining of a segmentation from the command line, in 3D and 2D, and spaces that do not fit the task."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

import run_search
import run_train
from nas.artifact import load
from tests.commands import Command, refused

DATA = ["task=segmentation", "data=icbm_tissue", "data.size=16", "data.spacing_mm=2", "split.folds=3"]
QUICK = ["training=demo", "training.epochs=1", "training.batch_size=8"]
SPACE = ["space=unet", "space.depths=[1]", "space.widths=[4,8]", "space.block_counts=[1]", "space.kernels=[3]"]


def search(command: Command, *words: str) -> tuple[int, str, str]:
    return command(run_search.main, *DATA, *QUICK, *SPACE, "study.name=s", "study.trials=2", *words)


def train(command: Command, *words: str) -> tuple[int, str, str]:
    return command(run_train.main, *DATA, *QUICK, "arch=outputs/s/arch.json", "name=t", "resamples=50", *words)


def test_search_then_train(command: Command) -> None:
    code, out, err = search(command)
    assert code == 0, err
    assert "dice on the validation part" in out
    artifact = load(command.folder / "outputs/s/arch.json")
    assert (artifact.task.kind, artifact.task.dims, artifact.task.outputs) == ("segmentation", 3, 3)
    assert {"dice", "dice_1", "dice_2", "macs"} <= set(artifact.metrics)

    code, out, err = train(command, "baselines.plain_unet=equal_cost")
    assert code == 0, err
    folder = command.folder / "outputs/train/t"
    result = json.loads((folder / "result.json").read_text())
    assert len(result["folds"]) == 2
    for fold in result["folds"]:
        assert {"dice", "hd95", "surface_dice", "dice_1", "hd95_2"} <= set(fold)
    assert set(result["baselines"]) == {"intensity", "random search", "plain U-Net, equal cost"}
    assert result["baselines"]["intensity"]["dice"] > 0.8
    assert (result["split"]["unit"], result["length_unit"]) == ("region", "mm")
    for metric, (low, high) in result["ci95"].items():
        assert low <= high, metric
    table = (folder / "table.md").read_text()
    assert "| system | Dice | HD95 (mm) | surface Dice |" in table
    assert "HD95 in mm" in table
    assert "the plain U-Net of equal cost" in table.splitlines()[-1]
    cells = [line.split("|") for line in table.splitlines()]
    gigamacs = {line[1].split(",")[0].strip(): line[6] for line in cells if len(line) > 6}
    assert float(gigamacs["plain U-Net"]) == pytest.approx(float(gigamacs[result["name"]]), rel=0.03)
    assert "accuracy" not in out
    rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    assert len(rows) == result["tested"]["samples"]
    assert "region" in rows[0]
    column = [float(row["intensity: dice, grey matter"]) for row in rows if row["intensity: dice, grey matter"]]
    assert np.mean(column) == pytest.approx(result["baselines"]["intensity"]["dice_1"], abs=1e-5)
    page = (folder / "report.html").read_text()
    assert "Confusion" not in page
    assert "<h2>Beside plain U-Nets</h2>" in page
    assert "&lt;p&gt;" not in page
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 9  # image, truth and prediction of the worst, the middle and the best case
    assert all(source.startswith("data:image/png;base64,") for source in sources)


@pytest.mark.slow
def test_slices_with_a_two_dimensional_space_and_windows(command: Command) -> None:
    flat = ["data.dims=2", "data.spacing_mm=1", "data.size=24"]
    code, _, err = search(command, *flat, "space.spatial_dims=2", "task.window=[16,16]", "study.trials=1")
    assert code == 0, err
    artifact = load(command.folder / "outputs/s/arch.json")
    assert artifact.task.dims == 2
    code, out, err = train(command, *flat, "task.window=[16,16]", "baselines.random_search=false")
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/t/result.json").read_text())
    assert 0 <= result["mean"]["dice"] <= 1
    assert set(result["baselines"]) == {"intensity", "plain U-Net, equal cost", "plain U-Net, own size"}
    assert "The difference to the plain U-Net at its own size is" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["space=naslung"], "task=classification"),
        (["space=unet", "task=classification"], "task=segmentation"),
        (["space=unet", "data.dims=2"], "space.spatial_dims=2"),
        (["space=unet", "task.overlap=2"], "overlap"),
        (["space=unet", "strategy=random", "data.size=20"], "multiples of 8"),
        (["space=unet", "data.spacing_mm=9"], "spacing_mm"),
    ],
)
def test_what_does_not_fit_together(command: Command, words: list[str], said: str) -> None:
    refused(command(run_search.main, *DATA, *QUICK, "study.trials=1", *words), said)


def test_a_space_of_another_task_than_the_data(command: Command) -> None:
    small = ["data.size=16", "data.spacing_mm=2.0"]
    refused(command(run_search.main, "space=unet", *small, "study.trials=1"), "UNetSpace", "task=segmentation")
    refused(command(run_search.main, "space=unet", "task=segmentation", *small), "task=classification")
    refused(train(command, "arch=naslung/model-1"), "NASLungSpace", "task=classification")
    refused(train(command, "arch=unet/lung-screening"), "space.spatial_dims=3")
