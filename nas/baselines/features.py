"""Simple shape and intensity features of a volume, the input of baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from nas.data.store import VolumeStore

NAMES = (
    "volume",
    "surface",
    "sphericity",
    "extent_short",
    "extent_middle",
    "extent_long",
    "elongation",
    "flatness",
    "mean_inside",
    "std_inside",
    "p10_inside",
    "p90_inside",
    "mean_outside",
    "std_outside",
    "maximum",
)


def object_mask(volume_DHW: np.ndarray) -> np.ndarray:
    """Segment the object in the middle of a volume.

    Args:
        volume_DHW: Values (D, H, W).

    Returns:
        Voxels (D, H, W) above the middle between the smallest and the largest value; the component nearest to the
        centre.
    """
    low, high = float(volume_DHW.min()), float(volume_DHW.max())
    mask = volume_DHW > (low + high) / 2
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in mask.shape)
    distance2 = (z**2)[:, None, None] + (y**2)[:, None] + x**2
    nearest = np.argmin(ndimage.minimum(distance2, labels, np.arange(1, count + 1)))
    return np.asarray(labels == nearest + 1)


def object_volume(volume_DHW: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Measure the volume of `object_mask`.

    Args:
        volume_DHW: Values (D, H, W).
        spacing_mm: Voxel size (D, H, W) in mm, NaN if unknown.

    Returns:
        The volume in mm^3, in voxels if the spacing is unknown.
    """
    return float(object_mask(volume_DHW).sum() * np.prod(_known(spacing_mm)))


def features(volume_DHW: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Compute shape and intensity features.

    Args:
        volume_DHW: Values (D, H, W).
        spacing_mm: Voxel size (D, H, W) in mm, NaN if unknown.

    Returns:
        (15,) values named in NAMES. Lengths are in mm (in voxels if the spacing is unknown), intensities as stored.
    """
    spacing = _known(spacing_mm)
    mask = object_mask(volume_DHW)
    if not mask.any():
        mask = np.ones_like(mask)
    volume = float(mask.sum() * spacing.prod())
    surface = _surface(mask, spacing)
    points = np.argwhere(mask) * spacing
    spread = np.sqrt(
        np.linalg.eigvalsh(np.cov(points.T) + np.diag(spacing**2 / 12)) if len(points) > 1 else spacing**2 / 12
    )
    extents = np.sort(np.ptp(points, axis=0) + spacing)
    inside = volume_DHW[mask].astype(np.float64)
    outside = volume_DHW[~mask].astype(np.float64) if not mask.all() else np.zeros(1)
    sphericity = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    return np.array(
        [
            volume,
            surface,
            sphericity,
            *extents,
            spread[1] / spread[2],
            spread[0] / spread[2],
            inside.mean(),
            inside.std(),
            *np.percentile(inside, [10, 90]),
            outside.mean(),
            outside.std(),
            inside.max(),
        ]
    )


def feature_table(store: VolumeStore, rows: np.ndarray) -> np.ndarray:
    """Compute the features of several samples.

    Args:
        store: The data.
        rows: Rows of the store (N,).

    Returns:
        (N, 15 * C) features, channel after channel; all in voxels if a spacing is missing.
    """
    pairs = zip(store.read(rows), _spacings(store, rows), strict=True)
    return np.array([np.concatenate([features(one, mm) for one in sample]) for sample, mm in pairs])


def sizes(store: VolumeStore, rows: np.ndarray) -> np.ndarray:
    """Return object volumes.

    Args:
        store: The data.
        rows: Rows of the store (N,).

    Returns:
        (N,) volumes as the data set states them, else as `object_volume` measures them in the first channel, in voxels
        if a spacing is missing.
    """
    stated = store.size_mm3[rows]
    if np.isfinite(stated).all():
        return np.asarray(stated)
    pairs = zip(store.read(rows), _spacings(store, rows), strict=True)
    return np.array([object_volume(one[0], mm) for one, mm in pairs])


def sizes_known(store: VolumeStore) -> bool:
    """Check whether the volume of every object is known.

    Args:
        store: The data.

    Returns:
        True if the data set states all volumes, or if its images are masks (two values each), whose objects
        `object_volume` measures exactly. A threshold in the middle of the range of other images says little about the
        size of an object.
    """
    if np.isfinite(store.size_mm3).all():
        return True
    return all(len(np.unique(store.read([row])[0, 0])) <= 2 for row in range(len(store)))


def _spacings(store: VolumeStore, rows: np.ndarray) -> np.ndarray:
    """Return spacings (N, 3) in mm, or ones for all if one is missing: a column of features has one unit."""
    spacing_mm = np.asarray(store.spacing_mm[rows])
    return spacing_mm if np.isfinite(spacing_mm).all() else np.ones_like(spacing_mm)


def _known(spacing_mm: Sequence[float]) -> np.ndarray:
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    return spacing if np.isfinite(spacing).all() else np.ones(3)


def _surface(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Estimate the surface as 2/3 of the area of the faces between object and background.

    The faces of a voxelised smooth body overstate its area by half on average over all directions.
    """
    padded = np.pad(mask, 1)
    area = 0.0
    for axis in range(3):
        faces = np.diff(padded.astype(np.int8), axis=axis) != 0
        area += float(faces.sum() * np.delete(spacing, axis).prod())
    return area * 2 / 3
