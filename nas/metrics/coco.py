"""COCO's detection metrics, computed by MONAI (pure Python: needs neither pycocotools nor torchvision)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from nas.metrics.boxes import overlaps
from nas.utils.optional import monai_part

Matched = Mapping[int, Mapping[str, np.ndarray]]  # one image: class -> result of MONAI's matching_batch
IOUS, HALF = (0.5, 0.95, 0.05), 0.5
LIMIT = 100  # boxes of an image that count


def match(prediction: np.ndarray, target: np.ndarray) -> list[Matched]:
    """Match predicted boxes with objects, the most probable box first, at each IoU.

    Args:
        prediction: Boxes, probability and class (N, P, 2n + 2); class -1 for no box.
        target: Boxes and class (N, M, 2n + 1); class -1 for no box.

    Returns:
        The matches of each image.
    """
    found = [boxes[boxes[:, -1] >= 0] for boxes in prediction]
    wanted = [boxes[boxes[:, -1] >= 0] for boxes in target]
    return monai_part("apps.detection.metrics.matching").matching_batch(
        iou_fn=lambda a, b: overlaps(torch.from_numpy(a), torch.from_numpy(b)).numpy(),
        iou_thresholds=_metric(1).iou_thresholds,
        pred_boxes=[boxes[:, :-2] for boxes in found],
        pred_scores=[boxes[:, -2] for boxes in found],
        pred_classes=[boxes[:, -1].astype(int) for boxes in found],
        gt_boxes=[boxes[:, :-1] for boxes in wanted],
        gt_classes=[boxes[:, -1].astype(int) for boxes in wanted],
        max_detections=LIMIT,
    )


def coco_metrics(images: Sequence[Matched]) -> dict[str, float]:
    """Compute map50, map and recall50.

    Args:
        images: Matches of these images, as `match` gives them.

    Returns:
        Metric -> value; {} if the images hold no object.
    """
    present = sorted({number for image in images for number, its in image.items() if its["gtMatches"].shape[-1]})
    if not present:
        return {}
    # MONAI counts a class without objects as -1: only the others are shown to it, under numbers from 0
    renamed = [{new: image[old] for new, old in enumerate(present) if old in image} for image in images]
    values, _ = _metric(len(present))(renamed)
    low, high, step = IOUS
    mean = f"IoU_{low:.2f}_{high:.2f}_{step:.2f}_MaxDet_{LIMIT}"
    return {
        "map50": values[f"AP_IoU_{HALF:.2f}_MaxDet_{LIMIT}"],
        "map": values[f"mAP_{mean}"],
        "recall50": values[f"AR_IoU_{HALF:.2f}_MaxDet_{LIMIT}"],
    }


@cache
def _metric(classes: int) -> Any:
    names = [str(number) for number in range(classes)]
    return monai_part("apps.detection.metrics.coco").COCOMetric(
        names, [HALF], IOUS, (LIMIT,), per_class=False, verbose=False
    )
