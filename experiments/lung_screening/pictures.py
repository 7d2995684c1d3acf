"""Pictures of slices in a lung window, with the outline of the lungs and the candidates."""

from __future__ import annotations

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from experiments.lung_screening.screening import Screening

WINDOW_HU = (-1350.0, 150.0)
LUNG_RGB, CANDIDATE_RGB = (90, 210, 140), (255, 120, 60)
CIRCLE_MM = 9.0  # radius of the circle around a candidate
SHOWN_MM = 5.0  # a candidate is drawn on slices up to this distance
SIDE = 512  # minimum width in pixels


def grey(hu_HW: np.ndarray) -> np.ndarray:
    """Return a slice as grey values.

    Args:
        hu_HW: (H, W) HU.

    Returns:
        (H, W, 3) uint8, in a lung window.
    """
    low, high = WINDOW_HU
    values = np.rint(255 * np.clip((hu_HW.astype(np.float32) - low) / (high - low), 0, 1)).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def levels_with_lung(found: Screening) -> np.ndarray:
    """Return the indices of the slices that show lung.

    Args:
        found: The screening.

    Returns:
        Rising indices along D.
    """
    return np.flatnonzero(found.lungs_DHW.any(axis=(1, 2)))


def overlay(found: Screening, level: int) -> np.ndarray:
    """Draw one slice; the patient's right is on the left, the back below.

    Args:
        found: The screening.
        level: Index of the slice.

    Returns:
        (H, W, 3) uint8, at least 512 pixels wide.
    """
    picture_HW3 = grey(found.scan.hu_DHW[level])
    mask_HW = found.lungs_DHW[level]
    picture_HW3[mask_HW & ~ndimage.binary_erosion(mask_HW)] = LUNG_RGB
    zoom = max(1, -(-SIDE // picture_HW3.shape[1]))
    drawn = Picture.fromarray(picture_HW3.repeat(zoom, axis=0).repeat(zoom, axis=1))
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=16)
    depth_mm, height_mm, width_mm = found.scan.spacing_mm
    for number, (d, h, w) in enumerate(found.voxels_N3, start=1):
        if d != level and abs(d - level) * depth_mm > SHOWN_MM:
            continue
        x, y = (w + 0.5) * zoom, (h + 0.5) * zoom
        a, b = CIRCLE_MM / width_mm * zoom, CIRCLE_MM / height_mm * zoom
        pen.ellipse((x - a, y - b, x + a, y + b), outline=CANDIDATE_RGB, width=2)
        pen.text((x + a + 2, y - b - 8), str(number), fill=CANDIDATE_RGB, font=font)
    return np.asarray(drawn)


def close_up(found: Screening, position: int, reach_mm: float = 25.0) -> np.ndarray:
    """Cut the surroundings of a candidate out of its slice.

    Args:
        found: The screening.
        position: Index of the candidate.
        reach_mm: Distance from the candidate to the edges.

    Returns:
        (H, W, 3) uint8.
    """
    d, h, w = found.voxels_N3[position]
    rows, columns = (int(reach_mm / mm) for mm in found.scan.spacing_mm[1:])
    hu_HW = np.pad(found.scan.hu_DHW[d], ((rows, rows), (columns, columns)), constant_values=-1000)
    return grey(hu_HW[h : h + 2 * rows + 1, w : w + 2 * columns + 1])
