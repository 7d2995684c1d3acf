"""The report of a training: its table, confusion matrix, ROC curve and cases, and broken predictions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from nas.errors import NASError
from nas.html.roc import rates, roc
from nas.metrics.metric import in_unit_of, with_class_names
from nas.tasks.segmentation import Segmentation
from tests.report_pages import SVG, confusion, predictions_of, write_train


def test_train_report_of_two_classes(tmp_path: Path) -> None:
    given = predictions_of(2)
    given["prob_volume"] = np.linspace(0, 1, len(given["label"]))
    page = write_train(tmp_path / "report.html", given)
    page.assert_stands_alone()
    for words in ("test scores", "volume <alone>", "0.810 (0.771–0.853)", "0.771 to 0.853", "3.25 ms", "two <cores>"):
        assert words in page.text
    assert page.of_class("chosen") == ["tr"]
    guess = given["prob"] >= 0.5
    want = [[np.sum((given["label"] == t) & (guess == p)) for p in (0, 1)] for t in (0, 1)]
    np.testing.assert_array_equal(confusion(page), want)
    curves = page.plot("ROC")
    words = " ".join("".join(text.itertext()) for text in curves.iter(f"{SVG}text"))
    assert f"this network: AUC {roc_auc_score(given['label'], given['prob']):.3f}" in words
    assert f"volume: AUC {roc_auc_score(given['label'], given['prob_volume']):.3f}" in words
    assert len([path for path in curves.iter(f"{SVG}path") if path.attrib["class"].startswith("area")]) == 1
    assert page.plot("calibration") is not None


def test_train_report_of_three_classes(tmp_path: Path) -> None:
    given = predictions_of(3)
    data = {"name": "toy", "n": 240, "classes": ["solid", "part & solid", "ground glass"]}
    page = write_train(tmp_path / "report.html", given, data=data)
    assert confusion(page).sum() == 240
    np.testing.assert_array_equal(confusion(page).sum(axis=1), np.bincount(given["label"]))
    curves = page.plot("ROC")
    assert len([path for path in curves.iter(f"{SVG}path") if path.attrib["class"].startswith("area")]) == 3
    words = " ".join("".join(text.itertext()) for text in curves.iter(f"{SVG}text"))
    for number, name in enumerate(data["classes"]):
        assert f"{name}: AUC {roc_auc_score(given['label'] == number, given['prob'][:, number]):.3f}" in words


def test_train_report_of_one_class_has_no_curve(tmp_path: Path) -> None:
    given = predictions_of(2)
    page = write_train(tmp_path / "report.html", {**given, "label": np.zeros_like(given["label"])})
    assert "one class only" in page.text
    assert confusion(page)[1].sum() == 0


def test_train_report_without_predictions(tmp_path: Path) -> None:
    page = write_train(tmp_path / "report.html", {})
    assert "Confusion matrix" not in page.text
    assert "Each training" in page.text


@pytest.mark.parametrize(("protocol", "cases"), [("holdout", 120), ("cross_validation", 240)])
def test_cases_are_counted_once(tmp_path: Path, protocol: str, cases: int) -> None:
    folds = [{"fold": name, "n": 120, "auc": 0.8} for name in ("a", "b")]
    page = write_train(tmp_path / "report.html", {}, protocol=protocol, folds=folds)
    assert re.search(rf"Test cases\s*{cases}\s*2 trainings", page.text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prob": np.full(240, np.nan)}, "NaN"),
        ({"group": np.array(["a", "b"])}, "lengths"),
    ],
)
def test_broken_predictions(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(NASError, match=message):
        write_train(tmp_path / "report.html", {**predictions_of(2), **change})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("decimals", [1, 3, 17])
def test_rates_of_resampled_curves_are_those_of_scikit_learn(decimals: int) -> None:
    rng, grid = np.random.default_rng(decimals), np.linspace(0, 1, 201)
    label, prob = np.arange(150) % 3 == 0, np.round(rng.random(150), decimals).astype(np.float32)
    fpr, tpr, _ = roc_curve(label, prob)
    np.testing.assert_allclose(np.interp(grid, *rates(label, prob)), np.interp(grid, fpr, tpr), rtol=0, atol=1e-12)


def test_roc_band_holds_the_curve_and_widens_with_groups() -> None:
    """Cases of one patient that all agree carry the information of one: the band must grow."""
    given = predictions_of(2, cases=60)
    label, prob = np.repeat(given["label"], 5), np.repeat(given["prob"], 5)
    alone = roc(label, prob, np.arange(300))
    grouped = roc(label, prob, np.repeat(np.arange(60), 5))
    assert alone.auc == pytest.approx(roc_auc_score(label, prob))
    assert grouped.auc_low < alone.auc_low < alone.auc < alone.auc_high < grouped.auc_high
    assert (grouped.high - grouped.low).mean() > 1.5 * (alone.high - alone.low).mean()
    assert np.all(grouped.low <= grouped.high)
    inside = np.interp(grouped.grid, grouped.fpr, grouped.tpr)
    assert np.mean((inside >= grouped.low) & (inside <= grouped.high)) > 0.95


def segmented() -> dict[str, object]:
    scores = {"dice": 0.73, "dice_1": 0.7, "dice_2": 0.76, "hd95": 3.2, "hd95_1": 3.0, "hd95_2": 3.4}
    bounds = {name: [value - 0.1, value + 0.1] for name, value in scores.items()}
    fold = {"fold": "valid1", "n": 20, **scores}
    return {
        "folds": [fold, {**fold, "fold": "valid2", "dice": 0.28}],
        "mean": scores,
        "ci95": bounds,
        "ensembles": {"found": {**scores, "ci95": bounds}},
        "headline": {"system": "found", "networks": 2},
        "protocol": "holdout",
        "differences": {"U-Net": {"dice": {"value": 0.01, "ci95": [-0.02, 0.04]}}},
        "data": {"name": "toy", "sha256": "ab" * 32, "n": 40, "classes": ["background", "front", "back & <tail>"]},
    }


def test_a_segmentation_names_classes_units_and_verdicts(tmp_path: Path) -> None:
    declared = in_unit_of(Segmentation(outputs=3).metrics, voxel_size_known=True)
    content = segmented()
    metrics = with_class_names(declared, content["data"]["classes"])  # type: ignore[index]
    page = write_train(tmp_path / "report.html", {}, metrics=metrics, answer="Test Dice 0.730.", command="x", **content)
    page.assert_stands_alone()
    assert page.source.index("Test Dice 0.730.") < page.source.index("Beside the baselines")
    for words in ("Each class", "back & <tail>", "HD95 (mm)", "HD95, front (mm)", "ensemble of 2", "within noise"):
        assert words in page.text
    assert "Dice 1" not in page.text
    assert "Dice, back & <tail>" in page.text


def test_no_table_has_more_columns_than_fit(tmp_path: Path) -> None:
    """Metrics are rows of the table of the single trainings, so that many classes do not widen it."""
    declared = Segmentation(outputs=9).metrics
    names = [metric.name for metric in declared]
    folds = [{"fold": f"valid{number}", "n": 9, **dict.fromkeys(names, 0.5)} for number in range(4)]
    page = write_train(tmp_path / "report.html", {}, metrics=declared, folds=folds, mean=dict.fromkeys(names, 0.5))
    heads = re.findall(r"<thead>(.*?)</thead>", page.source, flags=re.S)
    assert max(head.count("<th") for head in heads) <= 8
