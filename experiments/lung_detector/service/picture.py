"""Boxes drawn on a slice, as a PNG that holds pixels and nothing else."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from experiments.lung_detector.predictor import Detections

COLOURS = ("#ff8a4c", "#5bb8ff", "#7fdc8a", "#d59bff", "#ffd54c")


def annotated_png(grey_HW: np.ndarray, found: Detections, classes: Sequence[str]) -> bytes:
    """A PNG of the size of `grey_HW` (uint8) with boxes, labels and scores, a colour for each class."""
    picture = Image.fromarray(grey_HW).convert("RGB")
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(grey_HW.shape) / 256))
    font = ImageFont.load_default(max(10, 7 * line))
    rows = list(zip(found.boxes_N4, found.scores_N, found.labels, strict=True))
    for box, score, label in reversed(rows):  # the surest on top
        colour = COLOURS[classes.index(label) % len(COLOURS)]
        x0, y0, x1, y1 = (round(float(edge)) for edge in box)  # pixel i reaches from edge i to i + 1
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=line)
        text = f"{label} {score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 2 * line, bottom - top + 2 * line
        # Above the box, or below where there is no room above; never beyond the right edge
        x = max(0, min(x0, picture.width - width))
        y = y0 - height if y0 >= height else min(y1, picture.height - height)
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x + line - left, y + line - top), text, fill="black", font=font)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)  # five times as fast as the default, a few per cent larger
    return file.getvalue()
