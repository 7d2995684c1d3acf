"""Baselines on real nodules, features of bodies with known answers, and the tables' units."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.baselines import feature_baseline, volume_baseline
from experiments.tables import Row, main, markdown, terminal
from nas.data.features import NAMES, features, object_mask
from nas.data.lidc_shapes import LidcShapes
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.stats import binary_metrics


@pytest.fixture(scope="module")
def store(data_cache: Path) -> VolumeStore:
    return LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare()


def ball(radius_mm: float, spacing: tuple[float, float, float], side: int = 40) -> np.ndarray:
    axes = [(np.arange(side) - (side - 1) / 2) * mm for mm in spacing]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius_mm**2).astype(np.float32)


def test_features_of_a_ball() -> None:
    found = dict(zip(NAMES, features(ball(12, (1, 1, 1)), (1, 1, 1)), strict=True))
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    assert found["surface"] == pytest.approx(4 * np.pi * 12**2, rel=0.05)
    assert found["sphericity"] == pytest.approx(1.0, abs=0.06)
    assert found["extent_long"] == pytest.approx(24, abs=1)
    assert found["elongation"] == pytest.approx(1.0, abs=0.01)
    assert (found["mean_inside"], found["mean_outside"]) == (1.0, 0.0)


def test_features_know_the_spacing() -> None:
    spacing = (2.0, 1.0, 1.0)
    found = dict(zip(NAMES, features(ball(12, spacing), spacing), strict=True))
    assert found["volume"] == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.03)
    assert found["flatness"] == pytest.approx(1.0, abs=0.03)


def test_the_object_is_the_component_at_the_centre() -> None:
    volume = ball(5, (1, 1, 1))
    volume[:4, :4, :4] = 1.0
    assert object_mask(volume)[20, 20, 20]
    assert not object_mask(volume)[1, 1, 1]


def test_an_empty_volume_has_finite_features() -> None:
    assert np.isfinite(features(np.zeros((8, 8, 8), dtype=np.uint8), (float("nan"),) * 3)).all()


def test_baselines_on_real_nodules(store: VolumeStore) -> None:
    rounds = Split(store).cross_validation_rounds()
    rows, prob = volume_baseline(store, rounds)
    assert rows.tolist() == list(range(len(store)))
    assert binary_metrics(prob, store.labels)["auc"] == pytest.approx(0.891, abs=0.005)
    rows, prob = feature_baseline(store, rounds, seed=0)
    assert binary_metrics(prob, store.labels)["auc"] > 0.86
    np.testing.assert_allclose(prob.sum(axis=1), 1)


def test_baselines_under_holdout_average_their_rounds(store: VolumeStore) -> None:
    split = Split(store)
    rows, prob = volume_baseline(store, split.holdout_rounds())
    assert rows.tolist() == split.test.tolist()
    single = np.mean([volume_baseline(store, [part])[1] for part in split.holdout_rounds()], axis=0)
    np.testing.assert_allclose(prob, single)


METRICS = {"auc": 0.91234, "accuracy": 0.8, "sensitivity": 0.7, "specificity": 0.9, "f1": 0.75}
COSTS = {
    "params": 16128,
    "macs": 31_271_472,
    "bytes": 65_756,
    "latency_ms": {"median": 2.345, "p10": 2.0, "p90": 3.0, "device": "x"},
    "peak_memory_mb": 2.556,
}


def test_units_are_named_and_never_mixed() -> None:
    cells = Row("a", METRICS, {"auc": (0.9, 0.95)}, COSTS).cells()
    assert cells["AUC"] == "0.912 [0.900, 0.950]"
    assert cells["params (M)"] == "0.0161"
    assert cells["MACs (G)"] == "0.0313"
    assert cells["FLOPs (G)"] == "0.0625"
    assert cells["size (MB)"] == "0.0658"
    assert cells["latency (ms)"] == "2.35"
    assert Row("b", METRICS).cells()["params (M)"] == "–"
    assert Row("c", METRICS, costs={**COSTS, "params": 28_456_204}).cells()["params (M)"] == "28.5"


def test_both_forms_of_a_table() -> None:
    rows = [Row("network", METRICS, costs=COSTS), Row("volume", METRICS)]
    text = markdown(rows, "caption")
    lines = text.splitlines()
    assert lines[0] == "caption"
    assert len({line.count("|") for line in lines[2:]}) == 1
    shown = terminal(rows, "caption")
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("volume") == 1


def result(seed: int, value: float) -> dict:
    return {
        "name": "naslung/model-1",
        "arch_id": "abc",
        "data": {"name": "d", "sha256": "0" * 64, "n": 9},
        "split": {"sha256": "1" * 64, "unit": "patient"},
        "protocol": "holdout",
        "seed": seed,
        "mean": dict.fromkeys(METRICS, value),
        "params": 16128,
    }


def test_table_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    paths = []
    for seed, value in enumerate([0.8, 0.9]):
        paths.append(tmp_path / f"{seed}.json")
        paths[-1].write_text(json.dumps(result(seed, value)))
    assert main([str(path) for path in paths]) == 0
    out = capsys.readouterr().out
    assert "0.850 ± 0.071" in out
    assert "| 2 |" in out


def test_a_file_that_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert main([str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err.startswith("error: got")
    assert main([str(tmp_path / "nowhere.json")]) == 2
