"""The quick start of the README, as Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import nas
from search_spaces import NASLungSpace


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
