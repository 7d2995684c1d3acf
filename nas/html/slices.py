"""Example slices of a segmentation: the image, the truth and the prediction side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from nas.html.page import figure, section

COLOURS = ((36, 104, 168), (201, 80, 42), (62, 138, 92), (133, 96, 184), (165, 122, 28))  # of classes 1, 2, ...
OPACITY = 0.55
SHOWN = 3  # cases: the worst, the middle and the best
WIDTH = 190  # px of a picture on the page


@dataclass(frozen=True, slots=True)
class Example:
    """One case.

    Attributes:
        name: Name of the sample.
        image: Values (D, H, W), of a slice (H, W), in any scale; rows run upwards on the page, as the axes of most
            data do.
        truth: True classes of the same shape.
        guess: Predicted classes of the same shape.
        dice: Dice of the case, NaN without any class but the background.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    guess: np.ndarray
    dice: float


def chosen_cases(dice_N: np.ndarray) -> list[int]:
    """Choose the worst, the middle and the best case, each once.

    Args:
        dice_N: Dice of each case (N,); cases with NaN are left out.

    Returns:
        Positions of the cases.
    """
    order = [int(position) for position in np.argsort(dice_N, kind="stable") if np.isfinite(dice_N[position])]
    if len(order) <= SHOWN:
        return order
    return [order[0], order[len(order) // 2], order[-1]]


def slices_section(examples: Sequence[Example], classes: Sequence[str]) -> str:
    """Show image, truth and prediction side by side; of a volume the slice with most voxels of the other classes.

    Args:
        examples: The cases.
        classes: Names of the classes, the background first.

    Returns:
        An HTML section.
    """
    rows = ""
    for example in examples:
        number = fullest(example.truth) if example.image.ndim == 3 else None
        image, truth, guess = (
            values if number is None else values[number] for values in (example.image, example.truth, example.guess)
        )
        plain = grey(image)
        pictures = {"image": plain, "truth": painted(plain, truth), "prediction": painted(plain, guess)}
        cells = "".join(  # rows run upwards, as the axes of the data do
            f"<td>{img(picture[::-1], f'{what} of {example.name}', WIDTH)}</td>" for what, picture in pictures.items()
        )
        where = "" if number is None else f", slice {number + 1} of {len(example.image)}"
        rows += f'<tr><th colspan="3">{escape(example.name + where)}: Dice {example.dice:.3f}</th></tr><tr>{cells}</tr>'
    head = "<tr><th>image</th><th>truth</th><th>prediction</th></tr>"
    note = "Cases with the worst, the middle and the best Dice. Of a volume: the slice with most of the classes."
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    drawn = "; ".join(f"{example.name} has a Dice of {example.dice:.3f}" for example in examples)
    return section("Example slices", note, _key(classes), figure(table, f"{drawn}."))


def fullest(mask_DHW: np.ndarray) -> int:
    """Find the slice with most voxels of the classes other than the background.

    Args:
        mask_DHW: Classes (D, H, W).

    Returns:
        Number of the slice.
    """
    return int((mask_DHW > 0).sum(axis=(1, 2)).argmax())


def grey(image_HW: np.ndarray) -> np.ndarray:
    """Scale a slice to grey values, black to white over its own values.

    Args:
        image_HW: Values (H, W).

    Returns:
        (H, W, 3) uint8.
    """
    low, high = float(image_HW.min()), float(image_HW.max())
    values = (image_HW.astype(np.float64) - low) / (high - low or 1.0)
    return np.repeat(np.rint(255 * values).astype(np.uint8)[..., None], 3, axis=2)


def painted(grey_HW3: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """Paint the classes of a mask over a slice.

    Args:
        grey_HW3: (H, W, 3) uint8.
        mask_HW: Classes (H, W), 0 for what stays grey.

    Returns:
        (H, W, 3) uint8.
    """
    painted = grey_HW3.copy()
    for number in range(1, int(mask_HW.max()) + 1):
        here = mask_HW == number
        painted[here] = np.rint((1 - OPACITY) * grey_HW3[here] + OPACITY * np.array(_colour(number)))
    return painted


def _colour(number: int) -> tuple[int, int, int]:
    return COLOURS[(number - 1) % len(COLOURS)]


def img(picture_HW3: np.ndarray, alt: str, width: int) -> str:
    """Embed a picture in a page.

    Args:
        picture_HW3: (H, W, 3) uint8, the first row at the top.
        alt: Text that describes it.
        width: Width on the page in px.

    Returns:
        An HTML element.
    """
    style = f"width: {width}px; image-rendering: pixelated; display: block"
    return f'<img style="{style}" alt="{escape(alt)}" src="{png(picture_HW3)}">'


def png(picture_HW3: np.ndarray) -> str:
    """Encode a picture as PNG.

    Args:
        picture_HW3: (H, W, 3) uint8, the first row at the top.

    Returns:
        A data URI.
    """
    content = io.BytesIO()
    Image.fromarray(picture_HW3).save(content, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _key(classes: Sequence[str]) -> str:
    parts = []
    for number, name in enumerate(classes[1:], start=1):
        square = f"display: inline-block; width: 11px; height: 11px; background: rgb{_colour(number)}"
        parts.append(f'<span style="{square}"></span> {escape(name)}')
    return f'<p class="note">{" &nbsp; ".join(parts)}</p>'
