"""A task of a new kind, defined outside of `nas` and `experiments`, from the search to the exported network."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import run_search
import run_train
from nas.retraining.pooled import pooled_rows, read_pooled
from tests.commands import Command, refused, voxnas

OUTSIDE = ["hydra.searchpath=[pkg://tests.regression.conf]", "allow_packages=[tests]", "data=balls", "task=radius"]
QUICK = ["training=demo", "training.epochs=4", "training.batch_size=8", "split.folds=3"]


def test_regression_from_search_to_export(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["space=ballnets", "strategy=random", "study.name=balls", "study.trials=2"]
    code, out, err = command(run_search.main, *OUTSIDE, *QUICK, *search)
    assert code == 0, err
    assert "mae on the validation part" in out
    folder = command.folder / "outputs/balls"
    found = json.loads((folder / "arch.json").read_text())
    assert {"mae", "r2", "macs"} <= found["metrics"].keys()
    scores = [float(row["mae"]) for row in csv.DictReader((folder / "trials.csv").read_text().splitlines())]
    assert found["metrics"]["mae"] == pytest.approx(min(scores))  # smaller is better
    assert "validation MAE" in (folder / "report.html").read_text()

    words = [f"arch={folder / 'arch.json'}", "name=balls", "resamples=20", "export=[onnx]"]
    code, out, err = command(run_train.main, *OUTSIDE, *QUICK, *words)
    assert code == 0, err
    trained = command.folder / "outputs/train/balls"
    result = json.loads((trained / "result.json").read_text())
    assert set(result["baselines"]) == {"mean", "random search"}
    low, high = result["ci95"]["mae"]
    assert low <= result["mean"]["mae"] <= high
    value = result["mean"]["mae"]
    assert f"| searched {found['id']}, mean of 2 | {value:.2f} [{low:.2f}, {high:.2f}] |" in _line(trained, "mean of 2")
    assert "MAE in mm" in (trained / "table.md").read_text()
    difference = result["differences"]["mean"]["mae"]
    own, mean = result["ensembles"][result["name"]]["mae"], result["baselines"]["mean"]["mae"]
    assert difference["value"] == pytest.approx(own - mean)
    assert difference["ci95"][0] <= difference["value"] <= difference["ci95"][1]

    rows = list(csv.DictReader((trained / "predictions.csv").read_text().splitlines()))
    error_N = [float(row[f"{result['name']}: radius"]) - float(row["true radius"]) for row in rows]
    assert np.abs(error_N).mean() == pytest.approx(own, abs=1e-5)
    page = (trained / "report.html").read_text()
    for text in ("Largest error", "beside mean, random search", "Test MAE"):
        assert text in page

    (round_folder, _) = sorted((trained / "checkpoints" / found["id"]).glob("valid*"))
    last = torch.load(round_folder / "last.pt", weights_only=True)
    history = [epoch["mae"] for epoch in last["history"]]
    assert last["best_epoch"] == 1 + int(np.argmin(history))
    assert sorted(path.name for path in (trained / "export").glob("*/model.onnx")) == ["model.onnx"] * 2

    np.save(command.folder / "ball.npy", np.zeros((1, 16, 16, 16), dtype=np.float32))
    words = [str(trained), str(command.folder / "ball.npy"), "--out", str(command.folder / "ball.json")]
    refused(voxnas(capsys, "predict", *words), "--allow-package tests")
    code, _, err = voxnas(capsys, "predict", *words, "--allow-package", "tests")
    assert code == 0, err
    (said,) = json.loads((command.folder / "ball.json").read_text())
    assert said["input"] == str(command.folder / "ball.npy")
    assert np.isfinite(said["prediction"])
    exported = next((trained / "export").glob("*/model.onnx"))
    refused(voxnas(capsys, "predict", exported, *words[1:]), "for a task of regression")

    (row,), _ = pooled_rows([read_pooled("ball", [trained], allow=["tests"])], resamples=20)
    assert row.metrics["mae"] == pytest.approx(own, abs=1e-5)
    code, out, err = voxnas(capsys, "compare", trained / "result.json")
    assert code == 0, err
    assert f"| searched {found['id']}, mean of 2 | 1 | {value:.2f} [" in out


def _line(folder, words: str) -> str:  # type: ignore[no-untyped-def]
    return next(line for line in (folder / "table.md").read_text().splitlines() if words in line)
