"""F7 of the faults: networks that answer nothing, small validation parts, and searches at chance are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.architecture import Architecture
from nas.context import small_part
from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.found import warnings_of_search
from nas.history import History, State, Trial
from nas.inference.cases import Case
from nas.inference.many import Outcome
from nas.retraining.evaluation import evaluate_cases
from nas.retraining.training_warnings import at_chance
from nas.tasks.classification import Classification
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from tests.regression import Regression

CLASSES = ["benign", "malignant"]
LABELS = np.array([0, 1, 0, 1])


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array([[row, [0, 0, 0, 0, 0, -1]] for row in rows], dtype=np.float32)


def masks(*voxels: int) -> np.ndarray:
    """Probabilities (N, 3, 2, 2, 2) that mark one voxel of each case as a class, the others as background."""
    prob = np.zeros((len(voxels), 3, 2, 2, 2), dtype=np.float32)
    prob[:, 0] = 1
    for case, number in enumerate(voxels):
        prob[case, :, 0, 0, case % 2] = np.eye(3)[number]
    return prob


ALIKE = "answers every case alike"
BOX_A, BOX_B, NO_BOX = [0, 0, 4, 4, 0.9, 0], [1, 1, 4, 4, 0.8, 1], [0, 0, 0, 0, 0, -1]
MASK_TARGET = np.array([1, 2, 1, 2] * 2).reshape(2, 2, 2, 1)
BOX_TARGET = np.array([[[0, 0, 4, 4, 0]], [[1, 1, 4, 4, 1]]], dtype=np.float32)


@pytest.mark.parametrize(
    ("task", "prediction", "target", "expected"),
    [
        (Classification(), np.full((4, 2), 0.5), LABELS, [ALIKE]),
        (Classification(), 0.5 + np.outer(LABELS - 0.5, [-1e-6, 1e-6]), LABELS, [ALIKE]),  # an AUC of 1
        (Classification(), np.array([[0.9, 0.1], [0.6, 0.4]] * 2), LABELS, ["never predicts malignant"]),
        (Classification(), np.array([[0.9, 0.1], [0.4, 0.6]] * 2), LABELS, []),
        (
            Classification(),
            np.array([[0.9, 0.1]] * 19 + [[0.4, 0.6]]),
            np.array([0] * 4 + [1] * 16),
            ["predicts malignant for 6 % of its cases only"],
        ),
        (Segmentation(outputs=3), masks(1, 2), MASK_TARGET, []),
        (Segmentation(outputs=3), masks(1, 0), MASK_TARGET, ["never marks a voxel as lesion"]),
        (
            Segmentation(outputs=3),
            masks(0, 0),
            MASK_TARGET,
            ["never marks a voxel as organ", "never marks a voxel as lesion"],
        ),
        (Segmentation(outputs=3), np.repeat(masks(1), 2, axis=0), MASK_TARGET, [ALIKE]),
        (Detection(outputs=2, dims=2), boxes(BOX_A, BOX_B), BOX_TARGET, []),
        (Detection(outputs=2, dims=2), boxes(BOX_A, NO_BOX), BOX_TARGET, ["never finds a box of lesion"]),
        (Detection(outputs=2, dims=2), boxes(NO_BOX, NO_BOX), BOX_TARGET, ["finds no box in any case"]),
        (Detection(outputs=2, dims=2), boxes(BOX_A, BOX_A), BOX_TARGET, [ALIKE]),
        (Regression(), np.full(4, 3.1), np.arange(4.0), [ALIKE]),
        (Regression(), np.arange(4.0), np.arange(4.0), []),
    ],
)
def test_F7_a_network_that_answers_nothing(
    task: Any, prediction: np.ndarray, target: np.ndarray, expected: list
) -> None:
    classes = {"segmentation": ["nothing", "organ", "lesion"], "detection": ["organ", "lesion"]}
    assert task.degenerate(prediction, target, classes.get(task.spec.kind, CLASSES)) == expected


@pytest.mark.parametrize(("bounds", "warned"), [((0.45, 0.62), True), ((0.51, 0.62), False), ((0.5, 0.7), True)])
def test_F7_a_score_that_is_no_better_than_a_guess(bounds: tuple[float, float], warned: bool) -> None:
    found = at_chance(Classification().metrics[0], {"auc": 0.55, "ci95": {"auc": bounds}}, "net")
    assert found == (["AUC 0.550 of net is not better than that of a guess (0.5) beyond noise."] if warned else [])
    assert at_chance(Regression.metrics[0], {"mae": 1.0}, "net") == []


def history_of(*scores: float) -> History:
    trials = [
        Trial(number, Architecture("", (number,)), 0, State.COMPLETE, {"auc": score, "macs": 1.0}, "")
        for number, score in enumerate(scores)
    ]
    return History(tuple(trials), {"auc": "maximize"}, lambda genes_NG: np.ones(len(genes_NG)))


def test_F7_a_search_at_chance() -> None:
    metrics = Classification().metrics
    assert warnings_of_search(history_of(0.5, 0.5, 0.5), metrics) == [
        "All 3 networks of the search have the same AUC, 0.500: the choice among them is by cost alone.",
        "No network of the search is better than a guess: the best AUC is 0.500, that of a guess 0.5.",
    ]
    assert len(warnings_of_search(history_of(0.8, 0.8), metrics)) == 1
    assert len(warnings_of_search(history_of(0.49, 0.51), metrics)) == 1
    assert warnings_of_search(history_of(0.6, 0.8), metrics) == []
    assert warnings_of_search(history_of(0.5), metrics) == []


@pytest.mark.parametrize(("cases", "warned"), [(10, True), (19, True), (20, False)])
def test_F7_a_small_validation_part(tmp_path: Path, cases: int, warned: bool) -> None:
    samples = [Sample(f"s{n}", np.full((1, 4, 4, 4), n, np.uint8), n % 2, f"p{n // 2}") for n in range(cases)]
    store = write_store(tmp_path / "few.h5", samples, name="few", classes=CLASSES, provenance={})
    text = small_part(VolumeSet(store, range(cases), "cpu"))
    assert (
        text.startswith(f"The validation part has {cases} cases of {-(-cases // 2)} patients:")
        if warned
        else text == ""
    )


def test_F7_an_evaluation_names_a_network_that_answers_nothing() -> None:
    cases = [Case(f"c{n}", (Path(f"c{n}.npy"),), f"p{n}", CLASSES[n % 2]) for n in range(6)]
    outcomes = [Outcome(case, None, {"probabilities": {"benign": 0.7, "malignant": 0.3}}, None, 0.0) for case in cases]
    found = evaluate_cases(Classification(), outcomes, [False] * 6, CLASSES, resamples=20)
    first, second = found.warnings
    assert first == "The networks answer every case alike."
    assert "not better than that of a guess" in second
    assert f"- warning: {first}" in found.table()
    assert first in found.to_json()
