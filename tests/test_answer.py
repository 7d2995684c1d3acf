"""The answer of a training: the headline is the ensemble, beside its strongest rival."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nas.metrics.metric import Metric, with_class_names
from nas.retraining.answer import answer, strongest_rival
from nas.retraining.result import TrainResult
from nas.tasks.segmentation import METRICS as OF_SEGMENTATION
from nas.tasks.segmentation import Segmentation

DICE = Metric("dice", "Dice")
ERROR = Metric("error", "error", "mm", "minimize", digits=1)


def result(metric: Metric = DICE, **changes: Any) -> TrainResult:
    score = metric.name
    content: dict[str, Any] = {
        "name": "searched abc",
        "arch_id": "abc",
        "protocol": "holdout",
        "folds": [{"fold": f"valid{number}", "n": 9, score: 0.5} for number in range(4)],
        "mean": {score: 0.557},
        "ci95": {score: (0.3, 0.7)},
        "ensembles": {"searched abc": {score: 0.731, "ci95": {score: (0.70, 0.76)}}},
        "baselines": {"U-Net, equal cost": {score: 0.72}, "intensity": {score: 0.1}},
        "differences": {
            "U-Net, equal cost": {score: {"value": 0.011, "ci95": (-0.02, 0.04)}},
            "intensity": {score: {"value": 0.631, "ci95": (0.6, 0.66)}},
        },
        "data": {"name": "toy", "sha256": "ab" * 32},
        "split": {"sha256": "cd" * 32, "unit": "patient"},
        "seed": 0,
        "metrics": (metric,),
        "headline": {"system": "searched abc", "networks": 4},
    }
    return TrainResult(**{**content, **changes})


def test_the_headline_is_the_ensemble_and_the_rival_the_strongest_system() -> None:
    assert answer(result()) == (
        "Test Dice 0.731 [0.700, 0.760] with the ensemble of four trainings of searched abc. U-Net, equal cost, the "
        "best of 2 systems beside it, has 0.720: the difference is within noise (+0.011 [-0.020, +0.040])."
    )


@pytest.mark.parametrize(
    ("metric", "bounds", "words"),
    [
        (DICE, (0.01, 0.04), "in favour of the network"),
        (DICE, (-0.04, -0.01), "in its favour"),
        (ERROR, (-0.4, -0.1), "in favour of the network"),
    ],
)
def test_the_verdict_follows_the_interval_and_the_direction(metric: Metric, bounds: tuple, words: str) -> None:
    differences = {"other": {metric.name: {"value": sum(bounds) / 2, "ci95": bounds}}}
    text = answer(result(metric, baselines={"other": {metric.name: 0.7}}, differences=differences))
    assert words in text
    assert text.count(". ") == 1
    assert (" mm " in text) == (metric is ERROR)


def test_the_strongest_rival_of_a_distance_is_the_smallest() -> None:
    differences = {name: {"error": {"value": 0.0, "ci95": (-1.0, 1.0)}} for name in ("far", "near")}
    found = strongest_rival(
        result(ERROR, baselines={"far": {"error": 9.0}, "near": {"error": 2.0}}, differences=differences)
    )
    assert found is not None
    assert found[0] == "near"


def test_without_baselines_or_headline_there_is_one_sentence_on_what_is_known() -> None:
    old = replace(result(), headline={}, ensembles={}, baselines={}, differences={})
    assert answer(old) == "Test Dice 0.557 [0.300, 0.700] with searched abc."


def test_a_headline_survives_the_file() -> None:
    content = result().to_json()
    assert TrainResult.from_json(content).headline == {"system": "searched abc", "networks": 4}
    assert list(content).index("headline") < list(content).index("mean")


def test_metrics_of_classes_have_their_names() -> None:
    declared = Segmentation(outputs=3).metrics
    named = {metric.name: metric.heading for metric in with_class_names(declared, ("background", "front", "back"))}
    assert named["dice_1"] == "Dice, front"
    assert named["hd95_2"] == "HD95, back (mm)"
    assert named["dice"] == "Dice"
    assert with_class_names(OF_SEGMENTATION, ("a", "b")) == OF_SEGMENTATION
