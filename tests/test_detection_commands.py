"""Search and retraining of a detector from the command line, and the detector that the service loads."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import run_search
import run_train
from experiments.lung_detector import train as lung_train
from experiments.lung_detector.predictor import Predictor
from nas.artifact import load
from nas.bundle import bundles_of
from tests.commands import Command, refused

DATA = ["task=detection", "data=nodule_phantoms", "data.size=48", "data.radius_mm=[16,22]", "data.patients=15"]
QUICK = ["data.slices=2", "training.batch_size=8", "training.augment.shift=2", "training.augment.cutout=0"]
SPACE = ["space=detector", "space.settings.depths=[1]", "space.settings.widths=[4]", "space.heads=[1]"]


def search(command: Command, *words: str) -> tuple[int, str, str]:
    words = ("training.epochs=1", *words)
    return command(run_search.main, *DATA, *QUICK, *SPACE, "split.folds=3", "study.name=s", "study.trials=2", *words)


def train(command: Command, *words: str) -> tuple[int, str, str]:
    named = ["arch=outputs/s/arch.json", "name=t", "split.folds=3", "training.epochs=1"]
    short = ["resamples=20", "baselines.random_search=false"]
    return command(run_train.main, *DATA, *QUICK, *named, *short, *words)


def test_search_then_train_then_predict(command: Command) -> None:
    code, out, err = search(command)
    assert code == 0, err
    assert "map50 on the validation part" in out
    artifact = load(command.folder / "outputs/s/arch.json")
    assert (artifact.task.kind, artifact.task.dims, artifact.task.outputs) == ("detection", 2, 1)
    assert {"map50", "map", "recall50", "macs"} <= set(artifact.metrics)

    code, out, err = train(command)
    assert code == 0, err
    folder = command.folder / "outputs/train/t"
    result = json.loads((folder / "result.json").read_text())
    assert len(result["folds"]) == 2
    assert {"map50", "map", "recall50"} <= set(result["mean"])
    assert result["baselines"] == {}
    assert "| system | mAP@0.5 | mAP@0.5:0.95 | recall@0.5 |" in (folder / "table.md").read_text()
    rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    assert len(rows) == result["tested"]["samples"]
    assert sum(int(row["objects: nodule"]) for row in rows) > 0
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "mAP@0.5" in page

    bundles = bundles_of(folder)
    assert len(bundles) == 2
    scores = [bundle.spec.facts["validation"]["map50"] for bundle in bundles]
    assert scores == sorted(scores, reverse=True)
    assert all(bundle.spec.facts["trained"]["samples"]["test"] > 0 for bundle in bundles)
    assert {bundle.artifact.arch for bundle in bundles} == {artifact.arch}
    predictor = Predictor.load(folder, threshold=0.001)
    assert predictor.classes == ("nodule",)
    assert predictor.preprocessing.size == 48
    (found,) = predictor.predict([np.full((96, 96), -850.0, dtype=np.float32)], units="hu")
    assert set(found.labels) <= {"nodule"}


@pytest.mark.slow
def test_volumes_with_a_classification_network_as_backbone(command: Command) -> None:
    words = [
        "data.dims=3",
        "data.size=16",
        "data.radius_mm=[5,8]",
        "space.backbone=search_spaces.naslung.NASLungSpace",
        "~space.settings",
        "+space.settings={widths: [4], max_depth: 3, head: softmax}",
        "space.stems=[1]",
        "space.heads=[1]",
        "training.augment.shift=1",
    ]
    named = ["space=detector", "study.name=s", "study.trials=1", "training.epochs=1", "split.folds=3"]
    code, _, err = command(run_search.main, *DATA, *QUICK, *named, *words)
    assert code == 0, err
    assert load(command.folder / "outputs/s/arch.json").task.dims == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=segmentation"], "task.outputs=1"),
        (["task=classification"], "at least two classes"),
        (["data.dims=3", "data.size=16", "data.radius_mm=[5,8]"], "spatial_dims=3"),
        (["data.size=50"], "multiples of"),
        (["task.overlap=2"], "task.overlap"),
        (["training.augment.rotate=10"], "rotate=0"),
        (["data.negatives=1"], "negatives"),
    ],
)
def test_what_does_not_fit_together(command: Command, words: list[str], said: str) -> None:
    refused(search(command, *words), said)


def test_the_earlier_command_names_the_present_one(capsys: pytest.CaptureFixture) -> None:
    assert lung_train.main() == 2
    refused((2, "", capsys.readouterr().err), "python run_train.py experiment=lung_detector")


def test_spaces_for_something_else(command: Command) -> None:
    refused(command(run_search.main, *DATA, *QUICK, "space=unet", "study.trials=1"), "UNetSpace", "task=segmentation")
    tissue = ["task=segmentation", "data=icbm_tissue", "data.size=16", "data.spacing_mm=2", "split.folds=3"]
    refused(command(run_search.main, *tissue, "space=detector", "study.trials=1"), "DetectorSpace", "task=detection")
