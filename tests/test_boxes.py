"""Boxes beside MONAI's: overlaps and non-maximum suppression in 2D and 3D, and cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import box_utils

from nas.metrics.boxes import non_max_suppression, overlaps, paired_overlaps, suppressed_by_class, volumes


@st.composite
def random_boxes(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to 40 boxes in 2D or 3D on a coarse grid, so that many overlap, touch, coincide or share a score."""
    dims, count = draw(st.sampled_from([2, 3])), draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = rng.integers(0, 12, (count, dims)) * draw(st.sampled_from([1.0, 0.7]))
    sides = rng.integers(1, 9, (count, dims)) * draw(st.sampled_from([1.0, 1.3]))
    scores = rng.integers(0, 10, count) / 10 if draw(st.booleans()) else rng.random(count)
    return torch.from_numpy(np.hstack([low, low + sides])).float(), torch.from_numpy(scores).float()


@settings(max_examples=120, deadline=None)
@given(random_boxes(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 1.0]))
def test_suppression_is_monais(given_boxes: tuple[torch.Tensor, torch.Tensor], threshold: float) -> None:
    boxes_NX, scores_N = given_boxes
    theirs = box_utils.non_max_suppression(boxes_NX, scores_N, threshold)
    assert non_max_suppression(boxes_NX, scores_N, threshold).tolist() == theirs.tolist()


@settings(max_examples=50, deadline=None)
@given(random_boxes(), st.integers(1, 4))
def test_each_class_is_suppressed_by_itself(given_boxes: tuple[torch.Tensor, torch.Tensor], count: int) -> None:
    boxes_NX, scores_N = given_boxes
    classes_N = torch.arange(len(boxes_NX)) % count
    found = suppressed_by_class(boxes_NX, scores_N, classes_N, 0.3)
    expected = set()
    for number in range(count):
        rows = torch.nonzero(classes_N == number)[:, 0]
        expected |= set(rows[non_max_suppression(boxes_NX[rows], scores_N[rows], 0.3)].tolist())
    assert set(found.tolist()) == expected
    assert scores_N[found].tolist() == sorted(scores_N[found].tolist(), reverse=True)


@settings(max_examples=50, deadline=None)
@given(random_boxes())
def test_overlaps_are_monais(given_boxes: tuple[torch.Tensor, torch.Tensor]) -> None:
    boxes_NX, _ = given_boxes
    if not len(boxes_NX):
        return
    half = boxes_NX[: (len(boxes_NX) + 1) // 2]
    torch.testing.assert_close(overlaps(boxes_NX, half), box_utils.box_iou(boxes_NX, half))
    torch.testing.assert_close(volumes(boxes_NX), box_utils.box_area(boxes_NX))
    others = boxes_NX.flip(0)
    overlap_N, generalised_N = paired_overlaps(boxes_NX, others)
    torch.testing.assert_close(overlap_N, box_utils.box_iou(boxes_NX, others).diagonal())
    torch.testing.assert_close(generalised_N, box_utils.box_pair_giou(boxes_NX, others), atol=1e-5, rtol=1e-4)


def test_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[2.0, 0, 6, 4]])
    assert overlaps(a, b).item() == pytest.approx(8 / 24)
    assert paired_overlaps(a, b)[1].item() == pytest.approx(8 / 24)  # their hull is their union
    apart = torch.tensor([[0.0, 8, 4, 12]])
    assert paired_overlaps(a, apart)[1].item() == pytest.approx(-16 / 48)
    boxes = torch.cat([a, b, apart])
    assert non_max_suppression(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.3).tolist() == [1, 2]
    assert non_max_suppression(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.34).tolist() == [1, 0, 2]
