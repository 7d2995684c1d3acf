"""Pictures of single samples for trackers: the image, the truth and, after a test, the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from nas.data.store import VolumeStore
from nas.html.boxes import LEAST, mean_overlaps
from nas.html.slices import chosen_cases, fullest, grey, painted
from nas.tasks.base import TestedCases

SIDE = 192  # px of the longer side of a picture, at least
GAP = 4  # px between pictures that stand side by side
GREEN, ORANGE = (62, 190, 110), (255, 120, 40)


@dataclass(frozen=True)
class ExamplePicture:
    """A picture of one sample.

    Args:
        name: Name of the sample.
        caption: Its true class or value and what was predicted; empty if the picture shows them.
        picture_HW3: (H, W, 3) uint8, the first row at the top.
    """

    name: str
    caption: str
    picture_HW3: np.ndarray


def data_pictures(store: VolumeStore, rows: Sequence[int] | np.ndarray, number: int = 4) -> list[ExamplePicture]:
    """Draw samples with their truth: of a volume the slice with most of it, or the middle one.

    Args:
        store: The prepared data set.
        rows: Rows of the store to choose from.
        number: Number of pictures; they are spread evenly over the rows.

    Returns:
        The pictures.
    """
    rows = np.asarray(rows)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, num=min(number, len(rows))).round().astype(int))]
    pictures = []
    for row, target in zip(chosen, store.targets(chosen), strict=True):
        image = store.read([int(row)]).reshape(store.sample_shape)[0]
        name = str(store.names[row])
        if store.kind == "segmentation":
            pictures.append(ExamplePicture(name, "", _segmented(image, [target])))
        elif store.boxes_NM7 is not None:
            pictures.append(ExamplePicture(name, "", _boxed(image, target, None)))
        else:
            pictures.append(ExamplePicture(name, _truth(target, store.classes), _enlarged(grey(_middle(image)))))
    return pictures


def case_pictures(cases: TestedCases, kind: str) -> list[ExamplePicture]:
    """Draw test cases with truth and prediction: the worst, the middle and the best.

    Args:
        cases: The test cases.
        kind: Kind of the task.

    Returns:
        At most three pictures.
    """
    pictures = []
    for position in chosen_cases(_quality(cases, kind)):
        name, image = cases.image(position)
        target, prediction = cases.target[position], cases.prediction[position]
        if kind == "segmentation":
            pictures.append(
                ExamplePicture(name, "truth, prediction", _segmented(image, [target, prediction.argmax(0)]))
            )
        elif kind == "detection":
            pictures.append(ExamplePicture(name, "green: truth, orange: found", _boxed(image, target, prediction)))
        else:
            caption = f"truth: {_truth(target, cases.classes)}, {_predicted(prediction, cases.classes)}"
            pictures.append(ExamplePicture(name, caption, _enlarged(grey(_middle(image)))))
    return pictures


def _quality(cases: TestedCases, kind: str) -> np.ndarray:
    """Return how well each case is met, larger for better."""
    if kind == "segmentation":
        guess = cases.prediction.argmax(axis=1)
        both = ((guess > 0) & (guess == cases.target)).reshape(len(guess), -1).sum(axis=1)
        either = (guess > 0).reshape(len(guess), -1).sum(axis=1) + (cases.target > 0).reshape(len(guess), -1).sum(
            axis=1
        )
        return np.where(either > 0, 2 * both / np.maximum(either, 1), np.nan)
    if kind == "detection":
        return mean_overlaps(cases.prediction, cases.target)
    if kind == "classification":
        return cases.prediction[np.arange(len(cases.target)), cases.target]
    return -np.abs(cases.prediction.reshape(len(cases.target), -1)[:, 0] - cases.target)


def _truth(target: np.ndarray, classes: Sequence[str]) -> str:
    return str(classes[int(target)]) if np.issubdtype(target.dtype, np.integer) else f"{float(target):.4g}"


def _predicted(prediction: np.ndarray, classes: Sequence[str]) -> str:
    values = prediction.reshape(-1)
    if len(values) != len(classes):
        return f"predicted: {float(values[0]):.4g}"
    return f"predicted: {classes[int(values.argmax())]} ({values.max():.2f})"


def _middle(image: np.ndarray) -> np.ndarray:
    return image[len(image) // 2] if image.ndim == 3 else image


def _segmented(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Draw the image, then the image with each mask; rows run upwards, as the axes of most data do."""
    level = fullest(masks[0]) if image.ndim == 3 else None
    plain = grey(image if level is None else image[level])
    layers = [painted(plain, mask if level is None else mask[level]) for mask in masks]
    pictures = [_enlarged(picture[::-1]) for picture in (plain, *layers)]
    gap = np.full((len(pictures[0]), GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def _boxed(image: np.ndarray, truth: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """Draw the boxes of a slice: of a volume the one through the middle of its first object."""
    dims = image.ndim
    truth = truth[truth[:, -1] >= 0]
    boxes = [(box[: 2 * dims], GREEN) for box in truth]
    if found is not None:
        likely = found[(found[:, -1] >= 0) & (found[:, -2] >= LEAST)]
        boxes += [(box[: 2 * dims], ORANGE) for box in likely]
    if dims == 3:
        level = int((truth[0, 0] + truth[0, 3]) / 2) if len(truth) else len(image) // 2
        level = min(level, len(image) - 1)
        image = image[level]
        boxes = [(box[[1, 2, 4, 5]], colour) for box, colour in boxes if box[0] <= level < box[3]]
    picture = _enlarged(grey(image))
    scale = len(picture) / len(image)
    canvas = Image.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    for (y0, x0, y1, x1), colour in boxes:
        corners = [float(edge) * scale for edge in (x0, y0, max(x1, x0), max(y1, y0))]
        pen.rectangle(corners, outline=colour, width=2)
    return np.asarray(canvas)


def _enlarged(picture_HW3: np.ndarray) -> np.ndarray:
    times = max(1, -(-SIDE // max(picture_HW3.shape[:2])))
    return np.ascontiguousarray(picture_HW3.repeat(times, axis=0).repeat(times, axis=1))
