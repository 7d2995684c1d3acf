"""The quick start of the README, as Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.inference.model_card import ModelCard
from search_spaces import NASLungSpace
from tests.commands import voxnas
from tests.data.written_decathlon import write_nifti


def test_search_and_retrain_in_python(tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = nas.data.LidcShapes(size=16, spacing_mm=2.0, cache_dir=str(data_cache)).prepare()
    split = nas.data.Split(data, folds=3)  # the search never sees the test fold
    problem = nas.Problem.of(
        NASLungSpace(widths=(4, 8), max_depth=4), data, objectives={"auc": "maximize", "macs": "minimize"}
    )
    found = nas.run_search(
        problem,
        split,
        strategy=nas.strategies.PartialOrderPruning(),
        evaluator=nas.evaluators.Train(epochs=1, batch_size=128, lr=0.01),
        trials=2,
        folder="outputs/quickstart",
    )
    assert len(found.history) == 2
    assert found.best.provenance.search is not None
    assert set(found.best.provenance.search.patients or ()) == set(data.patient_digests(split.search[0])) | set(
        data.patient_digests(split.search[1])
    )
    training = nas.training.TrainingSettings(epochs=1, batch_size=128)
    result = nas.retrain(found.best, split, folder="outputs/quickstart/train", training=training, resamples=50)
    table = result.table()
    assert found.best.arch.id in table
    assert "volume" in table
    assert "unknown" not in table
    with pytest.raises(nas.NASError, match="patients that its search has seen"):
        nas.retrain(found.best, nas.data.Split(data, folds=3, test_fold=1), folder="elsewhere", training=training)
    assert not Path("elsewhere").exists()


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
    card = ModelCard.load(next(Path("out").glob("bundles/*/*/model.json")))
    assert card.preparation == json.loads(json.dumps(source.preparation()))
    code, _, err = voxnas(capsys, "predict", "out", "3.nii.gz", "--out", "said.json")
    assert code == 0, err
    (said,) = json.loads(Path("said.json").read_text())
    assert said["class"] in ("ill", "well")
