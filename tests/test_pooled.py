"""One table over several test folds: each patient once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import run_train
from nas.artifact import Artifact
from nas.errors import NASError
from nas.retraining.pooled import pooled_rows, read_pooled
from nas.retraining.result import TrainResult
from nas.task_spec import TaskSpec
from search_spaces.unet import UNetSpace
from tests.commands import Command, refused, voxnas

DATA = ["task=segmentation", "data=icbm_tissue", "data.size=16", "data.spacing_mm=2", "split.folds=3"]
QUICK = ["training=demo", "training.epochs=1", "training.batch_size=8", "resamples=20", "rounds=1"]
TASK = {"class": "nas.tasks.Segmentation", "spec": {"in_channels": 1, "outputs": 2, "dims": 3}}
COSTS = {"params": 1.0, "macs": 1.0, "bytes": 1.0}
NO_BASELINES = [
    "baselines.intensity=false",
    "baselines.plain_unet=null",
    "baselines.random_search=false",
    "baselines.published=null",
]


@pytest.fixture
def folders(command: Command) -> Path:
    """Two U-Nets, each trained for two of three test folds."""
    space = UNetSpace((1,), (4, 8), (1,), (3,))
    for width in (0, 1):
        artifact = Artifact(space, space.architecture((0, width, 0, 0, 0, 0)), TaskSpec("segmentation", 3, 1, 3))
        artifact.save(command.folder / f"unet{width}.json")
        for fold in (0, 1):
            words = [*DATA, *QUICK, *NO_BASELINES, f"split.test_fold={fold}"]
            code, _, err = command(run_train.main, *words, f"arch=unet{width}.json", f"name=unet{width}-fold{fold}")
            assert code == 0, err
    return command.folder / "outputs/train"


@pytest.mark.slow
def test_two_systems_over_two_folds(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = [read_pooled(f"U-Net {i}", sorted(folders.glob(f"unet{i}-fold*"))) for i in (0, 1)]
    rows, margins = pooled_rows(systems, resamples=200)
    for i, row in enumerate(rows):
        results = [json.loads((folders / f"unet{i}-fold{fold}/result.json").read_text()) for fold in (0, 1)]
        assert all(len(result["folds"]) == 1 for result in results)  # rounds=1
        assert len(systems[i].cases) == sum(result["tested"]["samples"] for result in results)
        lines = [line for fold in (0, 1) for line in _lines(folders / f"unet{i}-fold{fold}")]
        name = results[0]["name"]
        for number, label in enumerate(("grey matter", "white matter"), start=1):
            values = [float(line[f"{name}: dice, {label}"] or "nan") for line in lines]
            assert row.metrics[f"dice_{number}"] == pytest.approx(np.nanmean(values))
        assert row.metrics["dice"] == pytest.approx((row.metrics["dice_1"] + row.metrics["dice_2"]) / 2)
        low, high = row.ci95["dice"]
        assert low < row.metrics["dice"] < high
    (margin,) = margins
    assert margin.above == "U-Net 1"
    assert margin.value == pytest.approx(rows[0].metrics["dice"] - rows[1].metrics["dice"])
    assert margin.ci95[0] < margin.value < margin.ci95[1]

    code, out, _ = voxnas(capsys, "pooled", f"a={folders}/unet0-fold*", f"b={folders}/unet1-fold*")
    assert code == 0
    assert "2 test folds" in out
    assert f"| a | {rows[0].metrics['dice']:.3f} [" in out

    one = systems[0]
    with pytest.raises(NASError, match="twice"):
        read_pooled("again", [folders / "unet0-fold0", folders / "unet0-fold0"])
    with pytest.raises(NASError, match="the same test folds"):
        pooled_rows([one, read_pooled("half", [folders / "unet1-fold0"])])
    (folders / "unet0-fold0/predictions.csv").write_text("sample,region\na,b\n")
    for word in ("a=nowhere*", "nowhere", f"a={folders}/unet0-fold*"):
        refused(voxnas(capsys, "pooled", word))


@pytest.mark.parametrize(
    ("task", "data", "costs", "message"),
    [
        ({"spec": {"in_channels": 1}}, {"classes": ["a", "b"]}, COSTS, "without 'class'"),
        ({"class": "nas.tasks.Segmentation"}, {"classes": ["a", "b"]}, COSTS, "without 'spec'"),
        ({"class": "nas.tasks.Segmentation", "spec": []}, {"classes": ["a", "b"]}, COSTS, "task, classes or costs"),
        ({**TASK, "other": 3}, {"classes": ["a", "b"]}, COSTS, "other settings than those of Segmentation"),
        (
            {**TASK, "class": "nas.artifact.Artifact"},
            {"classes": ["a", "b"]},
            COSTS,
            "a subclass of nas.tasks.base.Task",
        ),
        ({**TASK, "class": "os.getcwd"}, {"classes": ["a", "b"]}, COSTS, "allow_packages"),
        (TASK, {}, COSTS, "'classes'"),
        (TASK, {"classes": 3}, COSTS, "task, classes or costs"),
        (TASK, {"classes": ["a", "b"]}, {}, "'params'"),
    ],
)
def test_a_damaged_record_of_a_task_is_one_line(
    tmp_path: Path, task: dict[str, Any], data: dict[str, Any], costs: dict[str, float], message: str
) -> None:
    scores = {"mean": {"dice": 0.5}, "ci95": {"dice": (0.4, 0.6)}}
    facts = {"data": {"name": "d", "sha256": "0" * 64, **data}, "split": {"sha256": "1" * 64, "unit": "patient"}}
    result = TrainResult("net", "abc", "holdout", [], **scores, **facts, seed=0, costs=costs, task=task)
    result.save(tmp_path / "result.json")
    (tmp_path / "predictions.csv").write_text("sample,patient,net: dice\na,p,0.5\n")
    with pytest.raises(NASError, match=message) as raised:
        read_pooled("net", [tmp_path])
    assert "\n" not in str(raised.value)


def test_more_rounds_than_there_are(command: Command) -> None:
    space = UNetSpace((1,), (4,), (1,), (3,))
    task = TaskSpec("segmentation", 3, 1, 3)
    Artifact(space, space.architecture((0, 0, 0, 0, 0, 0)), task).save(command.folder / "unet.json")
    for words in (["rounds=3"], ["rounds=0"], ["rounds=1", "protocol=cross_validation"]):
        refused(command(run_train.main, *DATA, *QUICK, "arch=unet.json", *words), "rounds")


def _lines(folder: Path) -> list[dict[str, str]]:
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))
