"""F5 of the faults: COCO's metrics equal to pycocotools, FROC and CPM equal to LUNA16's script."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import roc_curve

from nas.metrics.froc import RATES, Findings, froc
from nas.tasks.detection import Detection
from tests.scans import drawn_scans


def pycocotools(prediction: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """map50, map and recall50 of boxes in 2D, by pycocotools; its first axis is the width, which decides nothing."""
    images = [{"id": number} for number in range(len(target))]
    kinds = np.unique(target[..., -1][target[..., -1] >= 0]).astype(int).tolist()

    def boxes(rows: np.ndarray, number: int) -> list[dict]:
        found = []
        for row in rows[rows[:, -1] >= 0].astype(np.float64):
            low, high = row[:2], row[2:4]
            box = [*low.tolist(), *(high - low).tolist()]
            found.append({"image_id": number, "bbox": box, "area": box[2] * box[3], "category_id": int(row[-1])})
        return found

    truth = [box for number, rows in enumerate(target) for box in boxes(rows, number)]
    answers = []
    for number, rows in enumerate(prediction):
        kept = rows[rows[:, -1] >= 0]
        answers += [box | {"score": float(row[4])} for box, row in zip(boxes(kept, number), kept, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": images,
            "categories": [{"id": kind} for kind in kinds],
            "annotations": [box | {"id": number, "iscrowd": 0} for number, box in enumerate(truth, start=1)],
        }
        coco.createIndex()
        answers = [answer for answer in answers if answer["category_id"] in kinds]
        if not answers:
            return 0.0, 0.0, 0.0
        found = COCOeval(coco, coco.loadRes(answers), "bbox")
        found.params.areaRng, found.params.areaRngLbl = [[0, 1e10]], ["all"]
        found.evaluate()
        found.accumulate()
    precision_TRK = found.eval["precision"][:, :, :, 0, -1]
    return precision_TRK[0].mean(), precision_TRK.mean(), found.eval["recall"][0, :, 0, -1].mean()


def drawn(seed: int, images: int, most: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes on whole numbers, so that overlaps of 1/2 and equal overlaps occur, with scores of which many are equal."""
    rng = np.random.default_rng(seed)
    target = np.full((images, 4, 5), -1.0, dtype=np.float32)
    prediction = np.full((images, most, 6), -1.0, dtype=np.float32)
    for image in range(images):
        for row in range(rng.integers(image == 0, 5)):
            low = rng.integers(0, 6, 2)
            target[image, row] = [*low, *(low + rng.integers(1, 5, 2)), rng.integers(kinds)]
        for row in range(rng.integers(0, most + 1)):
            near = target[image, rng.integers(4)]
            low = rng.integers(0, 6, 2) if near[-1] < 0 or rng.random() < 0.3 else near[:2] + rng.integers(-1, 2, 2)
            sides = rng.integers(1, 5, 2) if near[-1] < 0 else np.maximum(near[2:4] - near[:2] + rng.integers(-1, 2), 1)
            prediction[image, row] = [*low, *(low + sides), rng.integers(1, 6) / 10, rng.integers(kinds)]
    return prediction, target


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 12), st.integers(1, 3))
def test_F5_map_equals_pycocotools(seed: int, images: int, most: int, kinds: int) -> None:
    prediction, target = drawn(seed, images, most, kinds)
    found = Detection(outputs=3, dims=2, detections=most).score(prediction, target).over()
    assert tuple(found.values()) == pytest.approx(pycocotools(prediction, target), abs=1e-12)
    # in 3D, where every box is one voxel deep, the overlaps are the same
    deep = np.insert(np.insert(prediction, 2, 1.0, axis=2), 0, 0.0, axis=2)
    true = np.insert(np.insert(target, 2, 1.0, axis=2), 0, 0.0, axis=2)
    assert Detection(outputs=3, dims=3, detections=most).score(deep, true).over() == found


@pytest.mark.parametrize("objects", [10, 20, 25, 50, 100])
def test_F5_a_hit_at_an_exact_threshold_of_recall_counts(objects: int) -> None:
    """Each number of hits among so many objects reaches recalls such as 0.29 or 0.57 exactly."""
    for hits in range(1, objects + 1, 3):
        target = np.zeros((objects, 1, 5), dtype=np.float32)
        target[:, 0, 2:4] = 4
        prediction = np.full((objects, 1, 6), -1.0, dtype=np.float32)
        prediction[:hits, 0] = [0, 0, 4, 4, 0.5, 0]
        found = Detection(dims=2).score(prediction, target).over()
        assert tuple(found.values()) == pytest.approx(pycocotools(prediction, target), abs=1e-12)


def test_F5_a_box_at_an_exact_threshold_of_overlap_counts() -> None:
    target = np.array([[[0.0, 0, 10, 10, 0]]], dtype=np.float32)
    said = np.array([[[0.0, 0, 5, 10, 0.9, 0]]], dtype=np.float32)  # half of it: an IoU of exactly 0.5
    assert Detection(dims=2).score(said, target).over() == pytest.approx({"map50": 1.0, "map": 0.1, "recall50": 1.0})


def luna16(scans: list[Findings]) -> tuple[np.ndarray, np.ndarray]:
    """False positives per scan and sensitivities, step by step as noduleCADEvaluationLUNA16.py is described."""
    truth, prob, missed = [], [], []
    for scan in scans:
        left = set(range(len(scan.scores_N)))
        excluded = np.zeros(len(scan.radii_M), bool) if scan.excluded_M is None else scan.excluded_M
        for centre, radius, is_excluded in zip(scan.centres_M3, scan.radii_M, excluded, strict=True):
            near = [
                number
                for number, point in enumerate(scan.candidates_N3)
                if sum((float(a) - float(b)) ** 2 for a, b in zip(point, centre, strict=True)) < radius**2
            ]
            left -= set(near)
            if not is_excluded:
                truth.append(1.0)
                prob.append(max((scan.scores_N[number] for number in near), default=-1e9))
                missed.append(not near)
        for number in sorted(left):
            truth.append(0.0)
            prob.append(scan.scores_N[number])
            missed.append(False)
    kept = [number for number, is_missed in enumerate(missed) if not is_missed]
    found = sum(truth[number] for number in kept)
    if found == 0:
        return np.zeros(1), np.zeros(1)
    if len(kept) == found:  # no false positive: the rate is undefined, and the script takes 0
        return np.zeros(2), np.array([0.0, found / sum(truth)])
    rate, share, _ = roc_curve([truth[number] for number in kept], [prob[number] for number in kept])
    return rate * (len(kept) - found) / len(scans), share * found / sum(truth)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_F5_cpm_equals_luna16(seed: int) -> None:
    scans = drawn_scans(seed)
    curve, (rates, shares) = froc(scans), luna16(scans)
    assert [curve.at(rate) for rate in RATES] == pytest.approx(np.interp(RATES, rates, shares).tolist())
    assert curve.cpm == pytest.approx(np.interp(RATES, rates, shares).mean())


def test_F5_cpm_is_interpolated() -> None:
    """One nodule at the score 0.5, between false positives at 0.9 and 0.1 in two scans: from (0, 0) over (0.5, 0)."""
    centre, radius = np.zeros((1, 3)), np.array([5.0])
    none = np.zeros((0, 3)), np.zeros(0)
    one = Findings(np.array([[50.0, 0, 0], [0, 0, 0], [60, 0, 0]]), np.array([0.9, 0.5, 0.1]), centre, radius)
    two = Findings(np.array([[0.0, 0, 0], [50, 0, 0]]), np.array([0.3, 0.4]), centre, radius)
    curve = froc([one, two, Findings(*none, *none)])
    # false positives per scan and sensitivity: (1/3, 0), (1/3, 1/2), (2/3, 1/2), (2/3, 1), (1, 1)
    assert [curve.at(rate) for rate in (0.0, 0.25, 1 / 3, 0.5, 2 / 3, 8.0)] == [0, 0, 0.5, 0.5, 1, 1]
    ties = Findings(np.array([[0.0, 0, 0], [50, 0, 0]]), np.array([0.5, 0.5]), centre, radius)
    assert froc([ties]).at(0.25) == pytest.approx(0.25)  # half way from (0, 0) to (1, 1) is at 0.5


def test_F5_a_candidate_in_two_nodules_finds_both_as_in_the_script() -> None:
    both = Findings(np.zeros((1, 3)), np.ones(1), np.array([[1.0, 0, 0], [-1, 0, 0]]), np.array([3.0, 3]))
    assert froc([both]).cpm == 1.0
