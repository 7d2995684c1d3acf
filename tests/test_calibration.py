"""Calibration: the expected calibration error, temperatures, and their way from the validation part to predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.bundle import Bundle, bundles_of
from nas.data.sample import Sample
from nas.data.store_writer import write_store
from nas.export.torch_network import bundle_networks
from nas.export.trained import export_bundle
from nas.html.calibration import calibration_section
from nas.inference.runtime import ExportedNetwork
from nas.metrics.calibration import (
    BINS,
    MARGIN,
    around_foreground,
    binned,
    bins_of_case,
    expected_calibration_error,
    fit_temperature,
    tempered,
    tempered_threshold,
)
from nas.retraining.calibration import calibration_of
from nas.retraining.folds import FoldPrediction
from nas.retraining.scoring import Scorer, System
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.tasks.temperature import at_temperature, scaled
from search_spaces.resnet3d import ResNet3DSpace
from tests.trainings import write_segmenter, write_training


def drawn(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a network that is `temperature` times too sure, and classes drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, classes))
    true_NK = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label_N = (true_NK.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return tempered(true_NK, 1 / temperature), label_N


# ---- expected calibration error


def brute_force(prob_NK: np.ndarray, label_N: np.ndarray, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            (max(prob), int(np.argmax(prob)) == label)
            for prob, label in zip(prob_NK.tolist(), label_N, strict=True)
            if low < max(prob) <= high
        ]
        if inside:
            confidence, accuracy = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            total += len(inside) / len(label_N) * abs(accuracy - confidence)
    return total


@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 10_000))
def test_ece_is_that_of_its_definition(count: int, classes: int, seed: int) -> None:
    prob, label = drawn(count, classes, 2.0, seed)
    assert expected_calibration_error(binned(prob, label)) == pytest.approx(brute_force(prob, label, BINS), abs=1e-12)


def test_bins_are_those_of_MONAI() -> None:
    calibration = pytest.importorskip("monai.metrics.calibration", reason="MONAI without calibration metrics")
    prob, label = drawn(500, 3, 2.0)
    confidence, right = prob.max(axis=1), prob.argmax(axis=1) == label
    shown = (torch.tensor(values, dtype=torch.float64)[None, None] for values in (confidence, right.astype(float)))
    means, accuracies, counts = (
        found.numpy()[0, 0] for found in calibration.calibration_binning(*shown, num_bins=BINS, right=True)
    )
    filled = counts > 0
    ours = binned(prob, label)
    assert ours[:, 0] == pytest.approx(counts)
    assert (ours[filled, 1] / ours[filled, 0]) == pytest.approx(means[filled])
    assert (ours[filled, 2] / ours[filled, 0]) == pytest.approx(accuracies[filled])


def test_true_probabilities_are_calibrated_in_the_box_but_not_in_the_union_of_foregrounds() -> None:
    """The reason for the region: selecting voxels by their truth makes true probabilities look overconfident."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij")
    p = 1 / (1 + np.exp(6 * (np.sqrt(sum(axis**2 for axis in axes)) - 0.5)))
    mask = (rng.random(p.shape) < p).astype(np.uint8)
    prob = np.stack([1 - p, p])
    assert expected_calibration_error(bins_of_case(prob, mask)) < 0.01
    union = (mask > 0) | (p > 0.5)
    assert expected_calibration_error(binned(prob[:, union].T, mask[union])) > 0.1


def test_the_region_of_a_segmentation() -> None:
    mask = np.zeros((20, 20, 20), dtype=np.uint8)
    mask[10, 8:11, 1] = 2
    assert around_foreground(mask) == (slice(10 - MARGIN, 11 + MARGIN), slice(8 - MARGIN, 11 + MARGIN), slice(0, 6))
    empty = bins_of_case(np.full((3, 4, 4, 4), 1 / 3), np.zeros((4, 4, 4), dtype=np.uint8))
    assert np.isnan(expected_calibration_error(empty))


# ---- temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    prob, label = drawn(20_000, 3, temperature)
    found = fit_temperature(prob, label)
    assert found == pytest.approx(temperature, rel=0.05)
    ece = expected_calibration_error(binned(tempered(prob, found), label))
    assert ece < 0.015
    assert ece <= expected_calibration_error(binned(prob, label)) + 1e-3


def test_the_temperature_is_the_best_of_a_grid() -> None:
    prob, label = drawn(300, 3, 2.0)

    def loss(value: float) -> float:
        return float(-np.log(tempered(prob, value)[np.arange(300), label]).mean())

    grid = np.geomspace(0.05, 20, 400)
    assert loss(fit_temperature(prob, label)) <= min(map(loss, grid)) + 1e-9


def test_all_right_has_no_temperature() -> None:
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == 1
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1


@given(st.integers(0, 10_000), st.floats(0.2, 10))
def test_scaling_keeps_answers_and_agrees_with_logits(seed: int, temperature: float) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 5, (16, 4)))
    prob = logits.softmax(dim=1).numpy()
    moved = tempered(prob, temperature)
    assert moved == pytest.approx((logits / temperature).softmax(dim=1).numpy(), abs=1e-9)
    assert (moved.argmax(axis=1) == prob.argmax(axis=1)).all()
    assert tempered(moved, 1 / temperature) == pytest.approx(prob, abs=1e-6)  # its smallest values are rounded to 0
    assert scaled(torch.from_numpy(prob), temperature).numpy() == pytest.approx(moved, abs=1e-9)


@given(st.integers(0, 10_000), st.floats(0.2, 10))
def test_a_threshold_moves_with_its_probabilities(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    threshold, p = rng.uniform(0.05, 0.95), rng.random(50)
    moved = tempered(np.column_stack([1 - p, p]), temperature)[:, 1]
    far = abs(p - threshold) > 1e-6
    assert ((moved >= tempered_threshold(threshold, temperature)) == (p >= threshold))[far].all()


def test_a_task_fits_on_validation_and_decides_as_before() -> None:
    prob, label = drawn(400, 2, 3.0)
    plain = Classification(threshold="validation", temperature=None).chosen_on(lambda: prob, label)
    task = Classification(threshold="validation").chosen_on(lambda: prob, label)
    assert task.inference["temperature"] == fit_temperature(prob, label)
    assert "temperature" not in plain.inference
    before = plain.score(prob, label).over()
    after = task.score(tempered(prob, task.inference["temperature"]), label).over()
    for name in ("auc", "accuracy", "sensitivity", "specificity", "f1"):
        assert after[name] == pytest.approx(before[name])
    assert after["log_loss"] < before["log_loss"]


def test_a_segmentation_fits_on_the_voxels_around_its_foreground() -> None:
    rng = np.random.default_rng(0)
    true = 1 / (1 + np.exp(-rng.normal(0, 2, (2, 12, 12, 12))))
    mask = (rng.random(true.shape) < true).astype(np.uint8)
    prob = tempered(np.stack([1 - true, true], axis=1), 1 / 2.0)
    task = Segmentation(outputs=2).chosen_on(lambda: prob, mask)
    assert task.inference["temperature"] == pytest.approx(2.0, rel=0.2)
    assert Segmentation(outputs=2, temperature=None).chosen_on(lambda: prob, mask).inference.get("temperature") is None


def test_the_default_changes_no_identity() -> None:
    assert "temperature" not in Classification().identity
    assert "temperature" not in Segmentation(outputs=2).identity
    assert Classification(temperature=None).identity != Classification().identity


# ---- every reader of a bundle


PREPARATION = {"how": "array", "scale": 1.0, "offset": 0.0}


def classifiers(folder: Path, temperature: float | None) -> None:
    space = ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=1)
    task = at_temperature(Classification(), temperature)
    write_training(folder, space, task, PREPARATION, ("a", "b"), 8)


def test_readers_of_a_classifier_apply_the_temperature(tmp_path: Path) -> None:
    classifiers(tmp_path / "plain", None)
    classifiers(tmp_path / "scaled", 2.5)
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8, 8)).astype(np.float32)
    for plain, network in zip(bundle_networks(tmp_path / "plain"), bundle_networks(tmp_path / "scaled"), strict=True):
        expected = tempered(plain.probabilities(x), 2.5)
        assert network.probabilities(x) == pytest.approx(expected, abs=1e-6)
        assert network.predict(x) == pytest.approx(expected, abs=1e-6)
        assert (network.probabilities(x).argmax(axis=1) == plain.probabilities(x).argmax(axis=1)).all()
        network.mirrored((0, 2))
        plain.mirrored((0, 2))
        assert network.probabilities(x) == pytest.approx(tempered(plain.probabilities(x), 2.5), abs=1e-6)
    pytest.importorskip("onnxruntime")
    (bundle,) = bundles_of(tmp_path / "scaled", best=1)
    export_bundle(bundle, tmp_path / "export", ["onnx"])
    exported = ExportedNetwork(tmp_path / "export/model.onnx")
    assert exported.probabilities(x) == pytest.approx(
        bundle_networks(tmp_path / "scaled")[0].probabilities(x), abs=1e-5
    )


class Plain(Classification):
    """A task of a plug-in, whose constructor takes none of the settings."""

    def __init__(self, in_channels: int = 1, outputs: int = 2, dims: int = 3) -> None:
        super().__init__(in_channels, outputs, dims)


def test_a_subclass_without_the_setting_keeps_its_temperature(tmp_path: Path) -> None:
    space = ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=1)
    write_training(tmp_path, space, at_temperature(Plain(), 2.5), PREPARATION, ("a", "b"), 8)
    for bundle in bundles_of(tmp_path, trusted=("tests",)):
        assert type(bundle.task) is Plain
        assert bundle.task.inference["temperature"] == 2.5


def test_readers_of_a_segmentation_apply_the_temperature(tmp_path: Path) -> None:
    write_segmenter(tmp_path, seeds=(0,))
    (bundle,) = bundles_of(tmp_path)
    assert "temperature" not in bundle.spec.inference  # as in a bundle of an earlier version
    (plain,) = bundle_networks(tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 1, 10, 9, 8)).astype(np.float32)
    before = plain.probabilities(x)
    folder = next(tmp_path.glob("bundles/*/*"))
    task = at_temperature(bundle.task, 0.5)
    shape = [int(side) for side in bundle.spec.inputs[0].shape[1:]]
    again = Bundle.of(
        bundle.network(), bundle.artifact, task, shape, classes=bundle.spec.classes,
        preparation=bundle.spec.preparation, facts=bundle.spec.facts,
    )  # fmt: skip
    again.save(folder)
    (network,) = bundle_networks(tmp_path)
    assert network.probabilities(x) == pytest.approx(tempered(before, 0.5), abs=1e-5)
    with torch.inference_mode():
        direct = network.task.predict(again.network(), torch.from_numpy(x)).numpy()
    assert direct == pytest.approx(tempered(before, 0.5), abs=1e-4)


# ---- the result of a training


def test_the_result_of_a_segmentation_undoes_the_temperatures(tmp_path: Path) -> None:
    """Two networks with temperatures of their own: before is their mean without them, after the mean with them."""
    rng = np.random.default_rng(0)
    true = 1 / (1 + np.exp(-rng.normal(-1, 2, (12, 6, 6, 6))))
    mask = (rng.random(true.shape) < true).astype(np.uint8)
    samples = [
        Sample(f"s{n}", rng.uniform(size=(1, 6, 6, 6)).astype(np.float32), 0, f"p{n}", mask_DHW=mask[n])
        for n in range(12)
    ]
    store = write_store(tmp_path / "s.h5", samples, name="toy", classes=("background", "front"), provenance={})
    rows, temperatures = np.arange(12), (2.0, 0.5)
    raw = [np.stack([1 - p, p], axis=1) for p in (true, np.clip(true + rng.normal(0, 0.1, true.shape), 0.01, 0.99))]
    tested = [
        FoldPrediction(f"valid{number}", rows, tempered(prob, temperature), None, temperature)
        for number, (prob, temperature) in enumerate(zip(raw, temperatures, strict=True))
    ]
    task = Segmentation(outputs=2)
    pooled = task.pool([(one.indices, one.prob) for one in tested])
    scorer = Scorer(store, task, rows, 50, 0)
    found = calibration_of(scorer, System("net", *pooled, tested), [System("net", *pooled, tested)])
    assert found["temperatures"] == {"valid0": 2.0, "valid1": 0.5}
    assert "voxels in the box" in found["of"]
    for name, mean in (("before", sum(raw) / 2), ("after", pooled[1])):
        bins = sum(bins_of_case(prob, truth) for prob, truth in zip(mean, mask, strict=True))
        assert found[name]["ece"] == pytest.approx(expected_calibration_error(bins), abs=1e-6)
        low, high = found[name]["ci95"]
        assert 0 <= low <= high
        assert sum(entry["n"] for entry in found[name]["reliability"]) == mask.size
    assert found["difference"]["value"] == pytest.approx(found["after"]["ece"] - found["before"]["ece"])
    page = calibration_section(found)
    assert page.count("<svg") == 2
    assert calibration_section({}) == ""
