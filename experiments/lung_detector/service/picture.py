"""Drawing of boxes on a slice, as a PNG without metadata."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from experiments.lung_detector.predictor import Detections

COLOURS = ("#ff8a4c", "#5bb8ff", "#7fdc8a", "#d59bff", "#ffd54c")
Box = tuple[int, int, int, int]  # x0, y0, x1, y1; pixel i reaches from edge i to i + 1


def annotated_png(grey_HW: np.ndarray, found: Detections, classes: Sequence[str]) -> bytes:
    """Draw boxes, labels and scores on a slice.

    Args:
        grey_HW: (H, W) uint8.
        found: The boxes.
        classes: Names of all classes; each has its colour.

    Returns:
        A PNG file with H x W pixels.
    """
    picture = Image.fromarray(grey_HW).convert("RGB")
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(grey_HW.shape) / 256))
    font = ImageFont.load_default(max(10, 6 * line))
    colours = [COLOURS[classes.index(label) % len(COLOURS)] for label in found.labels]
    boxes: list[Box] = [tuple(box) for box in np.rint(found.boxes_N4).astype(int).tolist()]
    for (x0, y0, x1, y1), colour in zip(boxes, colours, strict=True):
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=line)
    taken = list(boxes)
    for box, colour, label, score in zip(boxes, colours, found.labels, found.scores_N, strict=True):
        text = f"{label} {score:.2f}"
        left, top, right, bottom = (round(edge) for edge in pen.textbbox((0, 0), text, font=font))
        x0, y0, x1, y1 = place = _free_place(box, right - left + 2 * line, bottom - top + 2 * line, taken, picture.size)
        taken.append(place)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
        pen.text((x0 + line - left, y0 + line - top), text, fill="black", font=font)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)  # a quarter of the default level's time, 7 % larger
    return file.getvalue()


def _free_place(box: Box, width: int, height: int, taken: Sequence[Box], size: tuple[int, int]) -> Box:
    """Choose a position for a label that overlaps nothing.

    Above, below, right or left of its box; above if there is none.
    """
    x0, y0, x1, y1 = box
    places = []
    for x, y in ((x0, y0 - height), (x0, y1), (x1, y0), (x0 - width, y0)):
        x, y = max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))
        places.append((x, y, x + width, y + height))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
