"""Lungs of a chest CT without a network: training masks, baseline and fallback of the first stage.

Threshold, border clearing, removal of the windpipe, the largest two components, closing, hole filling: the classical
order of Armato and Sensakovic, Acad. Radiol. 11(9), 2004. Closing keeps tumours at the pleura inside.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nas.data.io.grid import Triple
from nas.errors import NASError

AIR_HU = -400.0  # below: lung or other air
GAS_HU = -975.0  # median below: gas of the bowel, not lung
LEAST_ML = 200.0  # minimum volume of both lungs in a CT of the chest
SECOND = 0.1  # the second lung is at least that share of the first
CLOSING_MM = 16.0  # radius of the disc that bridges vessels, and nodules and tumours at the pleura
WINDPIPE_CM2 = (0.4, 7.0)  # its cross-section
WINDPIPE_REACH_MM = 35.0  # maximum lateral distance of its upper end from the middle of the body
COARSE_MM = 1.2  # pixel size of the closing


def lung_mask(hu_DHW: np.ndarray, spacing_mm: Triple, name: str = "the scan") -> np.ndarray:
    """Segment both lungs with their vessels, nodules and tumours up to the chest wall, without the windpipe.

    Args:
        hu_DHW: (D, H, W) HU of an axial CT with D towards the head, H to the back and W to the left.
        spacing_mm: Voxel size (D, H, W).
        name: Name of the scan, for messages.

    Returns:
        (D, H, W) bool.

    Raises:
        NASError: If less than 200 ml look like lung.
    """
    air_DHW = _inner_air(hu_DHW)
    air_DHW &= ~windpipe(air_DHW, spacing_mm)
    lungs_DHW = largest_two(air_DHW, hu_DHW)
    require_lungs(lungs_DHW, spacing_mm, name)
    low, high = bounds(lungs_DHW, margin=1 + int(CLOSING_MM / min(spacing_mm[1:])))
    box = tuple(map(slice, low, high))
    out_DHW = np.zeros_like(lungs_DHW)
    out_DHW[box] = _closed(lungs_DHW[box], spacing_mm)
    return out_DHW


def require_lungs(lungs_DHW: np.ndarray, spacing_mm: Triple, name: str) -> None:
    """Check the volume of a lung mask.

    Args:
        lungs_DHW: (D, H, W) bool.
        spacing_mm: Voxel size (D, H, W).
        name: Name of the scan, for messages.

    Raises:
        NASError: If it is below 200 ml.
    """
    if (ml := volume_ml(lungs_DHW, spacing_mm)) < LEAST_ML:
        raise NASError(
            f"{name}, in which {ml:.0f} ml look like lung",
            f"a CT of the chest in HU, with at least {LEAST_ML:.0f} ml of lung",
            "give the series of the chest; check its rescale slope and intercept",
        )


def volume_ml(mask_DHW: np.ndarray, spacing_mm: Triple) -> float:
    """Return the volume of a mask.

    Args:
        mask_DHW: (D, H, W) bool.
        spacing_mm: Voxel size (D, H, W) in mm.

    Returns:
        Volume in ml.
    """
    return float(mask_DHW.sum() * np.prod(spacing_mm) / 1000)


def _inner_air(hu_DHW: np.ndarray) -> np.ndarray:
    """Air inside of the body, which is connected to the border of the slice in no slice."""
    out_DHW = np.empty(hu_DHW.shape, dtype=bool)
    for out_HW, hu_HW in zip(out_DHW, hu_DHW, strict=True):
        labels_HW, count = ndimage.label(hu_HW < AIR_HU)
        keep = np.ones(count + 1, dtype=bool)
        for edge in (labels_HW[0], labels_HW[-1], labels_HW[:, 0], labels_HW[:, -1]):
            keep[edge] = False
        keep[0] = False
        out_HW[:] = keep[labels_HW]
    return out_DHW


def windpipe(air_DHW: np.ndarray, spacing_mm: Triple) -> np.ndarray:
    """Segment the trachea, from its upper end towards the feet until it joins larger air (the lungs, the carina).

    Args:
        air_DHW: (D, H, W) bool, air inside of the body.
        spacing_mm: Voxel size (D, H, W).

    Returns:
        (D, H, W) bool; empty if no slice shows a fitting cross-section.
    """
    pixel_cm2 = spacing_mm[1] * spacing_mm[2] / 100
    middle_column = _middle_column(air_DHW)
    out_DHW = np.zeros_like(air_DHW)
    above_HW = out_DHW[0]  # cross-section in the slice above; empty before the upper end
    for level in reversed(range(len(air_DHW))):
        labels_HW, count = ndimage.label(air_DHW[level])
        areas_cm2 = np.bincount(labels_HW.ravel(), minlength=count + 1) * pixel_cm2
        fits = areas_cm2 <= WINDPIPE_CM2[1]
        fits[0] = False
        below = np.bincount(labels_HW[above_HW], minlength=count + 1) > 0
        below[0] = False
        if below.any():
            fits &= below
            if not fits.any():
                break
        else:  # the upper end, or the next candidate if the throat was found and ended
            centres = ndimage.center_of_mass(np.ones_like(labels_HW), labels_HW, range(1, count + 1))
            off_mm = np.array([np.inf, *(abs(column - middle_column) * spacing_mm[2] for _, column in centres)])
            fits &= (areas_cm2 >= WINDPIPE_CM2[0]) & (off_mm <= WINDPIPE_REACH_MM)
            fits &= off_mm == off_mm[fits].min(initial=np.inf)
        above_HW = np.isin(labels_HW, np.flatnonzero(fits))
        out_DHW[level] = ndimage.binary_dilation(above_HW) & air_DHW[level]
    return out_DHW


def _middle_column(air_DHW: np.ndarray) -> float:
    columns = np.flatnonzero(air_DHW.any(axis=(0, 1)))
    return float(columns[[0, -1]].mean()) if len(columns) else (air_DHW.shape[2] - 1) / 2


def largest_two(air_DHW: np.ndarray, hu_DHW: np.ndarray) -> np.ndarray:
    """Keep the largest component that is not bowel gas, and the next one if it is large enough for a lung.

    Args:
        air_DHW: (D, H, W) bool.
        hu_DHW: (D, H, W) HU.

    Returns:
        (D, H, W) bool.
    """
    labels_DHW, _ = ndimage.label(air_DHW)
    sizes = np.bincount(labels_DHW.ravel())
    sizes[0] = 0
    kept: list[int] = []
    for label in np.argsort(sizes)[::-1][:6]:
        large = sizes[label] > 0 and (not kept or sizes[label] >= SECOND * sizes[kept[0]])
        if large and np.median(hu_DHW[labels_DHW == label]) > GAS_HU:
            kept.append(int(label))
        if len(kept) == 2:
            break
    return np.isin(labels_DHW, kept) if kept else np.zeros_like(air_DHW)


def _closed(lungs_DHW: np.ndarray, spacing_mm: Triple) -> np.ndarray:
    """Close gaps and fill holes in each slice, separately on both sides of the body.

    Structures between the lungs do not belong to them, even if the lungs touch.
    """
    step = max(1, round(COARSE_MM / spacing_mm[1]))
    radius = CLOSING_MM / (step * spacing_mm[1])
    middle = round(_middle_column(lungs_DHW))
    out_DHW = np.zeros_like(lungs_DHW)
    for out_HW, lungs_HW in zip(out_DHW, lungs_DHW, strict=True):
        for side in (slice(None, middle), slice(middle, None)):
            if not lungs_HW[:, side].any():
                continue
            half_HW = np.zeros_like(lungs_HW)
            half_HW[:, side] = lungs_HW[:, side]
            coarse_HW = half_HW[::step, ::step]
            added_HW = _closing(coarse_HW, radius) & ~coarse_HW
            added_HW = added_HW.repeat(step, axis=0).repeat(step, axis=1)[: half_HW.shape[0], : half_HW.shape[1]]
            out_HW |= ndimage.binary_fill_holes(half_HW | added_HW)
    return out_DHW


def _closing(mask_HW: np.ndarray, radius: float) -> np.ndarray:
    """Dilation, then erosion, by a disc; computed by distances, whose time does not grow with the radius."""
    near_HW = ndimage.distance_transform_edt(~mask_HW) <= radius
    return ndimage.distance_transform_edt(near_HW) > radius


def bounds(mask_DHW: np.ndarray, margin: int = 0) -> tuple[list[int], list[int]]:
    """Return the bounding box of a mask.

    Args:
        mask_DHW: (D, H, W) bool, not empty.
        margin: Voxels that are added along H and W.

    Returns:
        First voxel and end along each axis.
    """
    low, high = [], []
    for axis, more in enumerate((0, margin, margin)):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask_DHW.any(axis=others))
        low.append(max(0, int(filled[0]) - more))
        high.append(min(mask_DHW.shape[axis], int(filled[-1]) + 1 + more))
    return low, high
