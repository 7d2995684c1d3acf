"""Example images of a detection: the objects and the boxes found, drawn over the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch

from nas.html.page import figure, section
from nas.html.slices import grey, png
from nas.metrics.boxes import overlaps

WIDTH = 300  # px of a picture on the page
LEAST = 0.25  # probability from which a box is drawn
TRUTH, FOUND = "rgb(62, 190, 110)", "rgb(255, 120, 40)"


@dataclass(frozen=True, slots=True)
class BoxExample:
    """One image.

    Attributes:
        name: Name of the sample.
        image: Values (D, H, W), of a slice (H, W), in any scale.
        truth: Boxes and class (M, 2n + 1), as nas/tasks/detection.py has them.
        found: Boxes, probability and class (P, 2n + 2).
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray


def mean_overlaps(found_NPX: np.ndarray, truth_NMX: np.ndarray) -> np.ndarray:
    """Measure how well the objects of each image are met.

    Args:
        found_NPX: Boxes, probability and class (N, P, 2n + 2).
        truth_NMX: Boxes and class (N, M, 2n + 1).

    Returns:
        (N,) mean over the objects of the IoU with the box of their class that fits best, 0 without one; NaN for an
        image without objects.
    """
    values = np.full(len(truth_NMX), np.nan)
    for number, (found, truth) in enumerate(zip(found_NPX, truth_NMX, strict=True)):
        truth, found = (torch.from_numpy(boxes[boxes[:, -1] >= 0]).double() for boxes in (truth, found))
        if len(truth):
            fit_MP = overlaps(truth[:, :-1], found[:, :-2]) * (truth[:, None, -1] == found[None, :, -1])
            values[number] = float(fit_MP.amax(dim=1).mean()) if len(found) else 0.0
    return values


def boxes_section(examples: Sequence[BoxExample], classes: Sequence[str]) -> str:
    """Draw boxes over images; of a volume the slice through the middle of its first object is shown.

    Args:
        examples: The images.
        classes: Names of the classes.

    Returns:
        An HTML section.
    """
    cells = "".join(f"<td>{_picture(example, classes)}</td>" for example in examples)
    names = "".join(f"<th>{escape(example.name)}</th>" for example in examples)
    note = (
        "The test images with the worst, the middle and the best score. Green: the objects; orange: boxes of a "
        f"probability of at least {LEAST:g}, with it."
    )
    body = f"<table><thead><tr>{names}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
    drawn = "; ".join(f"{example.name}: {_count(example)}" for example in examples)
    return section("Example images", note, figure(body, f"{drawn}."))


def _count(example: BoxExample) -> str:
    truth = int((example.truth[:, -1] >= 0).sum())
    found = int(((example.found[:, -1] >= 0) & (example.found[:, -2] >= LEAST)).sum())
    return f"{truth} object{'s' * (truth != 1)}, {found} box{'es' * (found != 1)}"


def _picture(example: BoxExample, classes: Sequence[str]) -> str:
    truth = example.truth[example.truth[:, -1] >= 0]
    found = example.found[(example.found[:, -1] >= 0) & (example.found[:, -2] >= LEAST)]
    image = example.image
    if image.ndim == 3:
        level = int((truth[0, 0] + truth[0, 3]) / 2) if len(truth) else len(image) // 2
        level = min(level, len(image) - 1)
        image = image[level]
        truth = truth[(truth[:, 0] <= level) & (level < truth[:, 3])][:, [1, 2, 4, 5, 6]]
        found = found[(found[:, 0] <= level) & (level < found[:, 3])][:, [1, 2, 4, 5, 6, 7]]
    height, width = image.shape
    stroke = 1.5 * max(height, width) / WIDTH
    shapes = [_outline(box[:4], TRUTH, stroke) for box in truth]
    for box in found:
        label = f"{classes[int(box[-1])]} {box[-2]:.2f}"
        shapes.append(_outline(box[:4], FOUND, stroke))
        shapes.append(
            f'<text x="{box[1]:.1f}" y="{max(box[0] - 2 * stroke, 6 * stroke):.1f}" fill="{FOUND}" '
            f'font-size="{7 * stroke:.1f}">{escape(label)}</text>'
        )
    return (
        f'<svg width="{WIDTH}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(example.name)}">'
        f'<image width="{width}" height="{height}" href="{png(grey(image))}"/>{"".join(shapes)}</svg>'
    )


def _outline(box: np.ndarray, colour: str, stroke: float) -> str:
    y0, x0, y1, x1 = (float(edge) for edge in box)
    return (
        f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none" '
        f'stroke="{colour}" stroke-width="{stroke:.2f}"/>'
    )
