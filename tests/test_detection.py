"""The detection task: which points answer for which box, the loss, decoding, pooling, and mAP worked out by hand."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.errors import NASError, TrialFailed
from nas.metrics.coco import coco_metrics, match
from nas.task_spec import TaskSpec
from nas.tasks.detection import RADIUS, REACH, Detection, assigned, focal_loss
from search_spaces import DetectorSpace, UNetSpace

NONE = [0.0, 0, 0, 0, -1]


def grid(dims: int, side: int, strides: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of feature maps of an image with these sides, and their strides."""
    places, of = [], []
    for stride in strides:
        axes = [torch.arange(side // stride)] * dims
        place = (torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1).T + 0.5) * stride
        places.append(place)
        of.append(torch.full((len(place),), float(stride)))
    return torch.cat(places), torch.cat(of)


def certain(boxes: list[list[float]], dims: int = 2, outputs: int = 1, side: int = 32) -> torch.Tensor:
    """(1, C, P): what a network says that is sure of these boxes (with classes), and of nothing else."""
    place, stride = grid(dims, side, (2, 4, 8))
    truth = torch.tensor([boxes])
    of_BP, classes_BP = assigned(place, stride, truth)
    centre = torch.full((outputs, len(place)), -20.0)
    for number in range(outputs):
        centre[number, classes_BP[0] == number] = 20.0
    edges = truth[0, of_BP[0].clamp(min=0), :-1].T
    return torch.cat([centre, torch.full((1, len(place)), 20.0), edges, place.T, stride[None]])[None]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_every_box_has_a_point_and_points_are_where_they_say(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    side = 64 if dims == 2 else 16
    low = rng.uniform(0, side - 8, (1, dims))
    high = np.minimum(low + np.exp(rng.uniform(0, np.log(side), (1, dims))), side)
    box = torch.tensor(np.hstack([low, high, [[0.0]]])[None]).float()
    place, stride = grid(dims, side, (2, 4, 8))
    of_BP, classes_BP = assigned(place, stride, box)
    answering = of_BP[0] == 0
    assert answering.any()
    assert set(stride[answering].tolist()) == {next(s for s in (2, 4, 8) if s == 8 or (high - low).max() < REACH * s)}
    middle = torch.from_numpy((low + high) / 2).float()
    assert ((place[answering] - middle).abs().amax(dim=1) <= RADIUS * stride[answering] + 1e-4).all()
    assert (classes_BP[0] == torch.where(answering, 0.0, -1.0)).all()


def test_of_two_boxes_the_smaller_one_is_answered_for() -> None:
    place, stride = grid(2, 32, (2,))
    boxes = torch.tensor([[[4.0, 4, 20, 20, 0], [8.0, 8, 16, 16, 1], NONE]])
    of_BP, classes_BP = assigned(place, stride, boxes)
    at = (place == torch.tensor([11.0, 11.0])).all(dim=1)  # near both middles
    assert of_BP[0, at].tolist() == [1]
    assert classes_BP[0, at].tolist() == [1.0]
    assert set(of_BP[0].tolist()) == {-1, 1}


def test_focal_loss_by_hand() -> None:
    found = focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    expected = [0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_sure_and_right_answer_costs_nothing_and_a_wrong_one_much() -> None:
    task, truth = Detection(outputs=2, dims=2), torch.tensor([[[3.0, 4, 12, 15, 1], NONE]])
    right = certain([[3.0, 4, 12, 15, 1]], outputs=2)
    assert task.loss(right, truth).item() < 1e-3
    moved, other = certain([[9.0, 4, 18, 15, 1]], outputs=2), certain([[3.0, 4, 12, 15, 0]], outputs=2)
    assert task.loss(moved, truth).item() > 1
    assert task.loss(other, truth).item() > 1
    nothing = torch.tensor([[NONE, NONE]])
    assert task.loss(certain([NONE], outputs=2), nothing).item() < 1e-3  # an image without a box is learned from too
    assert task.loss(right, nothing).item() > 1
    leaf = right.clone().requires_grad_()
    task.loss(leaf, nothing).backward()
    assert torch.isfinite(leaf.grad).all()  # type: ignore[arg-type]


class Says(nn.Module):
    """A network that gives one answer, whatever it is shown."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return self.answer.expand(len(x), -1, -1)


def test_decoding_gives_the_boxes_back() -> None:
    boxes = [[3.0, 4, 12, 15, 1], [20.0, 20, 24, 25, 0], [22.0, 3, 30, 12, 1]]
    task, model = Detection(outputs=2, dims=2, detections=5), Says(certain(boxes, outputs=2))
    found = task.predict(model, torch.zeros(2, 1, 32, 32))
    assert model.training
    assert found.shape == (2, 5, 6)
    assert found[0, 3:, -1].tolist() == [-1, -1]
    rows = {tuple(row[[0, 1, 2, 3, 5]].tolist()) for row in found[0, :3]}
    assert rows == {tuple(box) for box in boxes}
    assert (found[0, :3, 4] > 0.99).all()
    clipped = task.predict(model, torch.zeros(1, 1, 11, 32))
    assert clipped[0, :, :4].amax() <= 32
    assert clipped[0, :, [0, 2]].amax() <= 11


def test_a_detector_of_volumes() -> None:
    boxes = [[3.0, 4, 5, 8, 9, 12, 0]]
    task = Detection(dims=3, detections=4)
    found = task.predict(Says(certain(boxes, dims=3, side=16)), torch.zeros(1, 1, 16, 16, 16))
    assert found.shape == (1, 4, 8)
    assert found[0, 0, :6].tolist() == boxes[0][:6]


def prediction(*boxes: list[float], detections: int = 3) -> np.ndarray:
    empty = [[0.0, 0, 0, 0, 0, -1]] * (detections - len(boxes))
    return np.array([[*boxes, *empty]], dtype=np.float32)


def test_average_precision_by_hand() -> None:
    """Two images with an object each. One is found, by a box that overlaps by 0.92; two other boxes are wrong: one more
    probable than the right one, one less. COCO reads precision at 101 recalls: 1/2 at the 51 up to recall 0.5."""
    target = np.array([[[0.0, 0, 10, 10, 0]], [[5.0, 5, 9, 9, 0]]], dtype=np.float32)
    said = np.concatenate(
        [
            prediction([0.0, 0, 9.2, 10, 0.8, 0], [20.0, 20, 30, 30, 0.9, 0]),
            prediction([15.0, 5, 19, 9, 0.1, 0]),
        ]
    )
    found = Detection(dims=2).score(said, target).over()
    assert found["map50"] == pytest.approx(51 / 101 / 2)
    assert found["map"] == pytest.approx(51 / 101 / 2 * 0.9, abs=1e-6)  # at all thresholds but 0.95
    assert found["recall50"] == 0.5


def test_a_class_that_is_not_there_does_not_count() -> None:
    target = np.array([[[0.0, 0, 10, 10, 1]]], dtype=np.float32)
    said = prediction([0.0, 0, 10, 10, 0.8, 1], [0.0, 0, 10, 10, 0.9, 0])
    assert Detection(outputs=3, dims=2).score(said, target).over()["map50"] == pytest.approx(1.0)
    nothing = prediction()
    assert Detection(outputs=3, dims=2).score(nothing, target).over()["map50"] == 0.0


def test_resampled_images_give_the_metrics_of_these_images() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20, (6, 2, 2))
    target = np.concatenate([low, low + 8, rng.integers(0, 2, (6, 2, 1))], axis=2).astype(np.float32)
    said = np.insert(target + rng.normal(0, 0.7, target.shape), 4, rng.random((6, 2)), axis=2).astype(np.float32)
    said[..., -1] = target[..., -1]
    task = Detection(outputs=2, dims=2)
    statistic = task.score(said, target).over
    for rows in (np.arange(6), np.array([0, 0, 3, 5])):
        assert statistic(rows) == task.score(said[rows], target[rows]).over()
    target[2, :, -1] = -1
    assert task.score(said, target).over(np.array([2])) == {}
    assert coco_metrics(match(said[:0], target[:0])) == {}


def test_boxes_of_several_networks_are_pooled() -> None:
    a = prediction([0.0, 0, 10, 10, 0.9, 0], [20.0, 20, 30, 30, 0.6, 0])
    b = prediction([1.0, 0, 10, 10, 0.5, 0], [20.0, 20, 30, 30, 0.8, 1])
    rows, pooled = Detection(outputs=2, dims=2, detections=3).pool([(np.array([4]), a), (np.array([4]), b)])
    assert rows.tolist() == [4]
    np.testing.assert_allclose(
        pooled[0], [[0, 0, 10, 10, 0.7, 0], [20, 20, 30, 30, 0.4, 1], [20, 20, 30, 30, 0.3, 0]], atol=1e-6
    )
    alone = Detection(outputs=2, dims=2, detections=3).pool([(np.array([4]), a)])[1]
    np.testing.assert_array_equal(alone, a)


def test_what_cannot_be_measured() -> None:
    task, target = Detection(dims=2), np.array([[NONE]], dtype=np.float32)
    with pytest.raises(NASError, match="without a box"):
        task.score(prediction(), target).over()
    target[0, 0] = [0, 0, 5, 5, 0]
    with pytest.raises(TrialFailed, match="not finite"):
        task.score(prediction([0.0, 0, 5, 5, math.nan, 0]), target).over()
    assert task.quick_metrics == {"map50", "map", "recall50"}


def test_a_network_that_diverged_is_not_an_empty_answer() -> None:
    answer = certain([[3.0, 4, 12, 15, 0]])
    answer[:, 0] = math.nan
    found = Detection(dims=2).predict(Says(answer), torch.zeros(1, 1, 32, 32))
    assert found.isnan().any()


@pytest.mark.parametrize(("name", "value"), [("detections", 0), ("overlap", 1.5), ("least", 0.0)])
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(NASError, match=f"task.{name}"):
        Detection(**{name: value})  # type: ignore[arg-type]


def test_rows_of_an_output() -> None:
    assert DetectorSpace().output_channels(TaskSpec("detection", 2, 1, 3)) == 3 + 1 + 4 + 2 + 1
    assert DetectorSpace().output_channels(TaskSpec("detection", 3, 1, 1)) == 1 + 1 + 6 + 3 + 1
    assert UNetSpace().output_channels(TaskSpec("segmentation", 3, 1, 5)) == 5


def test_boxes_are_measured_without_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    target = np.array([[[0.0, 0, 5, 5, 0]]], dtype=np.float32)
    monkeypatch.setattr(importlib, "import_module", missing)
    assert Detection(dims=2).score(prediction([0.0, 0, 5, 5, 0.5, 0]), target).over()["map"] == pytest.approx(1.0)
