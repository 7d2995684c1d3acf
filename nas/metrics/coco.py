"""COCO's detection metrics for boxes in any number of dimensions, in float64 as pycocotools computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is read
LIMIT = 100  # boxes of a class in an image that count


@dataclass(frozen=True)
class OfClass:
    """The boxes of one class in one image.

    Attributes:
        score: Probabilities of the predicted boxes, falling (P,).
        hit: Whether each predicted box is matched with an object, at each IoU of `IOUS` (T, P).
        objects: Number of objects.
    """

    score: np.ndarray
    hit: np.ndarray
    objects: int


Matched = Mapping[int, OfClass]  # one image: class -> its boxes


def match(prediction: np.ndarray, target: np.ndarray) -> list[Matched]:
    """Match predicted boxes with objects, the most probable box first, at each IoU.

    Args:
        prediction: Boxes, probability and class (N, P, 2n + 2); class -1 for no box.
        target: Boxes and class (N, M, 2n + 1); class -1 for no box.

    Returns:
        The matches of each image.
    """
    return [_of_image(found, wanted) for found, wanted in zip(prediction, target, strict=True)]


def coco_metrics(images: Sequence[Matched]) -> dict[str, float]:
    """Compute map50, map and recall50, means over the classes that have an object in these images.

    Args:
        images: Matches of these images, as `match` gives them.

    Returns:
        Metric -> value; {} if the images hold no object.
    """
    precisions, recalls = [], []
    for number in sorted({number for image in images for number in image}):
        boxes = [image[number] for image in images if number in image]
        objects = sum(one.objects for one in boxes)
        if objects:
            precision_T, recall_T = _averages(boxes, objects)
            precisions.append(precision_T)
            recalls.append(recall_T)
    if not precisions:
        return {}
    precision_T = np.mean(precisions, axis=0)
    return {
        "map50": float(precision_T[0]),
        "map": float(precision_T.mean()),
        "recall50": float(np.mean([recall_T[0] for recall_T in recalls])),
    }


def as_text(image: Matched) -> str:
    """Write the matches of an image in one cell of a table.

    Args:
        image: The matches.

    Returns:
        For each class its number, the number of objects, and score/hits of every box, the hits as hexadecimal bits from
        the lowest IoU on: "0 2 0.91/3ff 0.2/0; 1 1".
    """
    bits_T = 1 << np.arange(len(IOUS))
    texts = []
    for number, boxes in sorted(image.items()):
        hits_P = bits_T @ boxes.hit
        found = [f"{score:.9g}/{hits:x}" for score, hits in zip(boxes.score, hits_P.tolist(), strict=True)]
        texts.append(" ".join([str(number), str(boxes.objects), *found]))
    return "; ".join(texts)


def from_text(text: str) -> dict[int, OfClass]:
    """Read what `as_text` wrote.

    Args:
        text: The text.

    Returns:
        The matches of an image.

    Raises:
        ValueError: If the text is of another form.
    """
    image = {}
    for part in filter(None, text.split("; ")):
        number, objects, *boxes = part.split(" ")
        pairs = [box.split("/") for box in boxes]
        hits_P = np.array([int(hits, 16) for _, hits in pairs], dtype=np.int64)
        hit_TP = (hits_P[None] >> np.arange(len(IOUS))[:, None] & 1).astype(bool)
        image[int(number)] = OfClass(np.array([float(score) for score, _ in pairs]), hit_TP, int(objects))
    return image


def _averages(boxes: Sequence[OfClass], objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Average precision (T,) and largest recall (T,) of a class over several images."""
    score_P = np.concatenate([one.score for one in boxes])
    if not len(score_P):
        return np.zeros(len(IOUS)), np.zeros(len(IOUS))
    order_P = np.argsort(-score_P, kind="stable")
    right_TP = np.concatenate([one.hit for one in boxes], axis=1)[:, order_P].cumsum(axis=1)
    recall_TP = right_TP / objects
    precision_TP = right_TP / np.arange(1, len(score_P) + 1)
    # the largest precision at this recall or a larger one; 0 at recalls that are not reached
    precision_TP = np.maximum.accumulate(precision_TP[:, ::-1], axis=1)[:, ::-1]
    padded_TP = np.pad(precision_TP, ((0, 0), (0, 1)))
    read_T = [
        precision_P[np.searchsorted(recall_P, RECALLS, side="left")].mean()
        for recall_P, precision_P in zip(recall_TP, padded_TP, strict=True)
    ]
    return np.array(read_T), recall_TP[:, -1]


def _of_image(found_PX: np.ndarray, wanted_MX: np.ndarray) -> dict[int, OfClass]:
    found_PX, wanted_MX = (boxes[boxes[:, -1] >= 0].astype(np.float64) for boxes in (found_PX, wanted_MX))
    numbers = np.union1d(found_PX[:, -1], wanted_MX[:, -1]).astype(int).tolist()
    return {
        number: _of_class(found_PX[found_PX[:, -1] == number], wanted_MX[wanted_MX[:, -1] == number])
        for number in numbers
    }


def _of_class(found_PX: np.ndarray, wanted_MX: np.ndarray) -> OfClass:
    found_PX = found_PX[np.argsort(-found_PX[:, -2], kind="stable")][:LIMIT]
    overlap_PM = box_overlaps(found_PX[:, :-2], wanted_MX[:, :-1])
    hit_TP = np.zeros((len(IOUS), len(found_PX)), dtype=bool)
    if overlap_PM.size:
        for number, least in enumerate(IOUS):
            free_M = np.ones(len(wanted_MX), dtype=bool)
            for place in np.flatnonzero(overlap_PM.max(axis=1) >= least):
                overlap_M = np.where(free_M, overlap_PM[place], -1.0)
                chosen = len(overlap_M) - 1 - int(overlap_M[::-1].argmax())  # of equal ones the last, as in pycocotools
                if overlap_M[chosen] >= least:
                    free_M[chosen], hit_TP[number, place] = False, True
    return OfClass(found_PX[:, -2], hit_TP, len(wanted_MX))


def box_overlaps(a_NX: np.ndarray, b_MX: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of each pair of boxes, exactly: two equal boxes have 1.

    Args:
        a_NX: Boxes (N, 2n), low corner and high corner.
        b_MX: Boxes (M, 2n).

    Returns:
        Overlaps (N, M), 0 for two boxes without a volume.
    """
    low_aN, high_aN = np.split(a_NX[:, None], 2, axis=-1)
    low_bM, high_bM = np.split(b_MX[None], 2, axis=-1)
    common = np.clip(np.minimum(high_aN, high_bM) - np.maximum(low_aN, low_bM), 0, None).prod(axis=-1)
    sizes = [np.clip(high - low, 0, None).prod(axis=-1) for low, high in ((low_aN, high_aN), (low_bM, high_bM))]
    union = sizes[0] + sizes[1] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
