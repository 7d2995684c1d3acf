"""Pictures of maps: three slices through the centre of mass of a map, which is laid over the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nas.html.slices import grey

SIDE = 176  # px of the longer side of a slice
GAP, LINE = 6, 20  # px between pictures, and of a line of text
OPACITY = 0.55  # of the largest value
MOST_ROWS = 16  # of a montage
PLANES = ("axial", "coronal", "sagittal")
COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # from matplotlib's inferno


@dataclass(frozen=True)
class Explained:
    """One explained input.

    Attributes:
        title: Name and answer.
        image: First channel of the input (D, H, W), in 2D (H, W).
        heat: Map of the same shape, at least 0.
    """

    title: str
    image: np.ndarray
    heat: np.ndarray


def montage(rows: Sequence[Explained], title: str) -> np.ndarray:
    """Draw inputs below each other: three slices through the centre of mass of the map, without and with it.

    Args:
        rows: The inputs; the first `MOST_ROWS` are drawn.
        title: Heading.

    Returns:
        (H, W, 3) uint8.
    """
    parts = [_row(row) for row in rows[:MOST_ROWS]]
    width = max(part.shape[1] for part in parts)
    lines = [_text(title, width)]
    for row, part in zip(rows, parts, strict=False):
        padded = np.full((len(part), width, 3), 255, dtype=np.uint8)
        padded[:, : part.shape[1]] = part
        lines += [_text(row.title, width), padded]
    return np.concatenate(lines)


def _row(row: Explained) -> np.ndarray:
    heat = row.heat / row.heat.max() if row.heat.max() > 0 else row.heat
    if row.image.ndim == 2:
        planes = [(row.image, heat)]
    else:
        d, h, w = _centre(heat)
        # towards the head is up, as D rises towards the head
        planes = [
            (row.image[d], heat[d]),
            (row.image[::-1, h], heat[::-1, h]),
            (row.image[::-1, :, w], heat[::-1, :, w]),
        ]
    pictures = []
    for image_HW, heat_HW in planes:
        plain = grey(image_HW)
        pictures += [_enlarged(plain), _enlarged(_painted(plain, heat_HW))]
    tallest = max(map(len, pictures))
    parts = []
    for picture in pictures:
        framed = np.full((tallest + GAP, picture.shape[1] + GAP, 3), 255, dtype=np.uint8)
        framed[: len(picture), : picture.shape[1]] = picture
        parts.append(framed)
    return np.concatenate(parts, axis=1)


def _centre(heat: np.ndarray) -> tuple[int, ...]:
    """Voxel at the centre of mass; the largest value of a coarse map often lies at its edge, beside the object."""
    total = heat.sum()
    if total <= 0:
        return tuple(side // 2 for side in heat.shape)
    places = np.indices(heat.shape).reshape(heat.ndim, -1)
    return tuple(np.rint(places @ heat.ravel() / total).astype(int).tolist())


def _painted(grey_HW3: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    stops = np.linspace(0, 1, len(COLOURS))
    colour_HW3 = np.stack([np.interp(heat_HW, stops, channel) for channel in zip(*COLOURS, strict=True)], axis=-1)
    opacity_HW1 = OPACITY * np.clip(2 * heat_HW, 0, 1)[..., None]
    return np.rint((1 - opacity_HW1) * grey_HW3 + opacity_HW1 * colour_HW3).astype(np.uint8)


def _enlarged(picture_HW3: np.ndarray) -> np.ndarray:
    times = SIDE / max(picture_HW3.shape[:2])
    size = (max(1, round(picture_HW3.shape[1] * times)), max(1, round(picture_HW3.shape[0] * times)))
    return np.asarray(Image.fromarray(picture_HW3).resize(size, Image.Resampling.NEAREST))


def _text(text: str, width: int) -> np.ndarray:
    line = Image.new("RGB", (width, LINE), "white")
    ImageDraw.Draw(line).text((2, 2), text, fill="black", font=ImageFont.load_default(size=13))
    return np.asarray(line)
