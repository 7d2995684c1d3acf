"""A plain predictor to serve: boxes around bright regions, found by connected components."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from nas.errors import NASError


@dataclass(frozen=True)
class Spots:
    boxes_N4: np.ndarray
    scores_N: np.ndarray
    labels: tuple[str, ...]


class BrightSpots:
    """The score of a region is its mean brightness. The checkpoint holds how long a batch takes, in seconds."""

    classes = ("spot", "large spot")

    def __init__(self, seconds: float, threshold: float) -> None:
        self.seconds, self.threshold = seconds, threshold

    @classmethod
    def load(cls, folder_or_checkpoint: Path, threshold: float = 0.25) -> BrightSpots:
        if not folder_or_checkpoint.is_file():
            raise NASError(f"no file {folder_or_checkpoint}", "a checkpoint", "check the path")
        return cls(float(folder_or_checkpoint.read_text()), threshold)

    def predict(self, images: Sequence[np.ndarray], units: str) -> list[Spots]:
        time.sleep(self.seconds)
        return [self._spots((image - -1000) / 1400 if units == "hu" else image) for image in images]

    def _spots(self, image_HW: np.ndarray) -> Spots:
        if image_HW.min() == image_HW.max():
            raise NASError("an image of one value", "a slice", "send another")
        labelled, count = ndimage.label(image_HW > 0.9)
        regions = ndimage.find_objects(labelled)
        scores = ndimage.mean(image_HW, labelled, range(1, count + 1)) if count else np.zeros(0)
        order = [k for k in np.argsort(-np.asarray(scores), kind="stable") if scores[k] >= self.threshold][:20]
        boxes = [[regions[k][1].start, regions[k][0].start, regions[k][1].stop, regions[k][0].stop] for k in order]
        labels = tuple(self.classes[(x1 - x0) * (y1 - y0) >= 400] for x0, y0, x1, y1 in boxes)
        shape = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        return Spots(shape, np.clip([scores[k] for k in order], 0, 1).astype(np.float32), labels)


class Failing(BrightSpots):
    """A predictor with a defect."""

    def predict(self, images: Sequence[np.ndarray], units: str) -> list[Spots]:
        raise RuntimeError("a defect")
