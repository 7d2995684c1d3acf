"""The quick start of the README, as Python."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas.artifact import load
from nas.data.loading import VolumeSet
from nas.inference.model_spec import ModelSpec
from nas.retraining.answer import answer
from nas.retraining.result import TrainResult
from nas.training.loop import predict
from search_spaces import NASLungSpace
from tests.commands import voxnas
from tests.conftest import REPO
from tests.data.written_decathlon import write_nifti
from tests.formats import check_files
from tests.report_pages import Page

(CODE,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), re.S)
SMALLER = {
    "folds=5": "folds=3",
    "NASLungSpace()": "NASLungSpace(widths=(4, 8), max_depth=4)",
    "epochs=3": "epochs=1, batch_size=128",
    "trials=12": "trials=2",
    'quickstart/train"': 'quickstart/train", training=TRAINING, resamples=50',
}
TRAINING = nas.training.TrainingSettings(epochs=1, batch_size=128)


def test_the_quick_start_has_few_lines() -> None:
    lines = [line for line in CODE.splitlines() if line]
    searched = next(number for number, line in enumerate(lines, 1) if line == ")" and number > 5)
    assert searched <= 15
    assert len(lines) <= 20


def test_search_and_retrain_in_python(
    tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's own lines, with a smaller space, fewer trials and epochs."""
    monkeypatch.chdir(tmp_path)
    code = CODE.replace("spacing_mm=2.0", f'spacing_mm=2.0, cache_dir="{data_cache}"')
    for long, short in SMALLER.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    names: dict[str, Any] = {"TRAINING": TRAINING}
    exec(compile(code, "README.md", "exec"), names)
    data, split, found, result = (names[name] for name in ("data", "split", "found", "result"))
    table = result.table()
    assert table in capsys.readouterr().out
    assert len(found.history) == 2
    assert found.best.provenance.search is not None
    assert set(found.best.provenance.search.patients or ()) == set(data.patient_digests(split.search[0])) | set(
        data.patient_digests(split.search[1])
    )
    assert found.best.arch.id in table
    assert "volume" in table
    assert "unknown" not in table
    with pytest.raises(nas.NASError, match="patients that its search has seen"):
        nas.retrain(found.best, nas.data.Split(data, folds=3, test_fold=1), folder="elsewhere", training=TRAINING)
    assert not Path("elsewhere").exists()

    # the network of the search, with the weights that gave its score
    valid = VolumeSet(data, split.search[1], torch.device("cpu"))
    task = nas.tasks.Classification()
    score = task.score(predict(found.best.model(), task, valid, 128), valid.targets).over()
    assert score["auc"] == pytest.approx(found.best.metrics["auc"], abs=1e-3)
    assert load("outputs/quickstart/arch.json").arch == found.best.arch
    with pytest.raises(nas.NASError, match="no weights of"):
        load("outputs/quickstart/arch.json").model()
    assert {artifact.arch.id for artifact in found.front} == {path.stem for path in Path().glob("outputs/*/pareto/*")}

    # the files of the commands
    for home, names_of in (("quickstart", ("search.json",)), ("quickstart/train", ("result.json", "table.md"))):
        for name in ("report.html", "live.html", "curves.csv", *names_of):
            assert (Path("outputs") / home / name).is_file(), name
    assert found.best.arch.id in Path("outputs/quickstart/report.html").read_text()
    assert answer(result.result) in Page(Path("outputs/quickstart/train/report.html")).text
    assert "The search ended" in Page(Path("outputs/quickstart/live.html")).text
    assert answer(result.result) in Page(Path("outputs/quickstart/train/live.html")).text
    with Path("outputs/quickstart/train/curves.csv").open() as file:
        trained = {(row["fold"], row["epoch"]) for row in csv.DictReader(file)}
    assert trained == {(fold["fold"], "1") for fold in result.result.folds}

    counts = check_files(Path("outputs"))
    assert min(counts[name] for name in ("arch", "model", "result", "study")) > 0

    # the retrained one, and what a notebook shows
    folds = [result.model(fold["fold"]) for fold in result.result.folds]
    assert all(type(one) is type(found.best.model()) and not one.training for one in folds)
    best = result.model().state_dict()
    assert any(all(torch.equal(value, one.state_dict()[name]) for name, value in best.items()) for one in folds)
    with Path("outputs/quickstart/train/predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(split.test)
    for one in (found, found.best):
        assert "<svg" in one._repr_html_()
        assert found.best.arch.id in one._repr_html_()
    assert result._repr_html_().count("<tr>") == 1 + len(result.rows)
    shown = TrainResult.load(Path("outputs/quickstart/train/result.json"))._repr_html_()
    assert f"<td>{result.rows[0].cells(result.result.columns)['AUC']}</td>" in shown

    with Path("outputs/quickstart/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    frame = found.table()
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    plain = found.table()
    assert list(frame.columns) == list(plain.columns) == [*rows[0], "front", "chosen"]
    assert list(frame["arch_id"]) == plain["arch_id"] == [row["arch_id"] for row in rows]
    assert plain["auc"] == list(frame["auc"])
    assert [row["arch_id"] for row in plain if row["chosen"]] == [found.best.arch.id]
    assert len(repr(plain).splitlines()) == 1 + len(plain)
    assert "<th>auc</th>" in plain._repr_html_()


def test_a_network_that_was_retrained_in_python_predicts_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["path,label,patient"]
    for number in range(12):
        write_nifti(tmp_path / f"{number}.nii.gz", rng.normal(number % 2, size=(16, 16, 16)).astype(np.float32))
        lines.append(f"{number}.nii.gz,{'well' if number % 2 else 'ill'},{number}")
    Path("my.csv").write_text("\n".join(lines))
    source = nas.data.Manifest("my.csv", "cache", size=16, window=(-4, 6))
    split = nas.data.Split(source.prepare(), folds=3)
    training = nas.training.TrainingSettings(epochs=1, batch_size=4)
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    network = nas.Artifact(space, space.repair([0] * len(space.genes)), nas.tasks.Classification().spec)
    with pytest.raises(nas.NASError, match="a task of segmentation with manifest"):
        nas.retrain(network, split, folder="out", training=training, task=nas.tasks.Segmentation())
    assert not Path("out").exists()
    nas.retrain(network, split, folder="out", training=training, resamples=20)
    spec = ModelSpec.load(next(Path("out").glob("bundles/*/*/model.json")))
    assert spec.preparation == json.loads(json.dumps(source.preparation()))
    code, _, err = voxnas(capsys, "predict", "out", "3.nii.gz", "--out", "said.json")
    assert code == 0, err
    (said,) = json.loads(Path("said.json").read_text())
    assert said["class"] in ("ill", "well")
