"""Synthetic chests in HU: a slice of a body with lungs, or a block of lung, with vessels and noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

FIELD_MM = 360.0  # side of a slice
VOXEL_MM = 2.0  # of a block
AIR, LUNG, SOFT, FAT, BONE, VESSEL = -1000.0, -850.0, 45.0, -90.0, 300.0, 30.0
NOISE_HU = 35.0
BLUR = 0.6  # voxels, of scanner and noise


def chest_slice(size: int, build: np.random.Generator, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw an axial slice of a chest.

    Args:
        size: Pixels per side, which is 360 mm.
        build: Draws the person.
        rng: Draws the slice.

    Returns:
        HU (size, size), and the mask of the lungs (size, size) bool.
    """
    unit = size / FIELD_MM
    middle = np.array([180.0, 180.0]) + build.uniform(-6, 6, 2)
    body = np.array([build.uniform(108, 125), build.uniform(150, 165)])
    half = np.array([build.uniform(74, 88), build.uniform(46, 54)]) * rng.uniform(0.85, 1.0)
    hu = np.full((size, size), AIR, dtype=np.float32)
    add_ball(hu, middle * unit, body * unit, FAT)
    add_ball(hu, middle * unit, (body - 10) * unit, SOFT)
    air = np.zeros((size, size), dtype=np.float32)
    for side in (-1, 1):
        add_ball(air, np.add(middle, (0, side * build.uniform(70, 76))) * unit, half * unit, 1.0)
    heart = np.add(middle, (20, 18)) * unit, np.array([rng.uniform(28, 40), rng.uniform(34, 46)]) * unit
    add_ball(air, *heart, 0.0)
    lung = air > 0.5
    hu = hu * (1 - air) + air * (LUNG + build.uniform(-20, 40))
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False) + build.uniform(0, 0.3):
        direction = np.array([np.cos(angle), np.sin(angle)])
        add_ball(hu, (middle + direction * (body - 14)) * unit, np.array([4.0, 6.0]) * unit, BONE)
    add_ball(hu, np.add(middle, (body[0] - 30, 0)) * unit, np.array([16.0, 18.0]) * unit, BONE)
    _add_vessels(hu, lung, unit, 45, rng)
    return _scanned(hu, rng), lung


def lung_block(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a block of lung with vessels.

    Args:
        size: Voxels of 2 mm per side.
        rng: Draws the block.

    Returns:
        HU (size, size, size), and the mask of the lung, True everywhere.
    """
    hu = np.full((size,) * 3, LUNG + rng.uniform(-20, 40), dtype=np.float32)
    lung = np.ones(hu.shape, dtype=bool)
    _add_vessels(hu, lung, 1 / VOXEL_MM, max(2, size // 8), rng)
    return _scanned(hu, rng), lung


def add_ball(image: np.ndarray, centre: np.ndarray, radii: np.ndarray, value: float) -> None:
    """Draw an ellipsoid into an image, with an edge one voxel wide whose middle is at `radii`.

    Args:
        image: n-dimensional, changed in place.
        centre: (n,) in voxels; voxel i reaches from i to i + 1.
        radii: (n,) in voxels.
        value: Value inside.
    """
    low = np.maximum(np.floor(centre - radii - 1), 0).astype(int)
    high = np.minimum(np.ceil(centre + radii + 1), image.shape).astype(int)
    if (low >= high).any():
        return
    axes = [np.arange(first, last) + 0.5 for first, last in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = np.sqrt((((points - centre) / radii) ** 2).sum(axis=-1))
    share = np.clip(0.5 + (1 - distance) * np.min(radii), 0, 1)
    box = tuple(map(slice, low, high))
    image[box] += share.astype(image.dtype) * (value - image[box])


def _add_vessels(hu: np.ndarray, lung: np.ndarray, unit: float, count: int, rng: np.random.Generator) -> None:
    """Draw straight branches that grow thinner, 3 to 1 mm thick, and cross sections of others, inside the lung only."""
    voxels = np.argwhere(lung)
    drawn = hu.copy()
    for _ in range(count):
        at = voxels[rng.integers(len(voxels))] + rng.uniform(0, 1, hu.ndim)
        step = rng.normal(size=hu.ndim)
        step /= np.linalg.norm(step)
        length = rng.choice([0, 0, rng.uniform(10, 40)]) * unit
        first = rng.uniform(1.0, 3.0)
        for along in np.arange(0, length + 1, 1.0):
            radius = max(0.5, first * (1 - 0.5 * along / (length + 1)) * unit)
            add_ball(drawn, at + along * step, np.full(hu.ndim, radius), VESSEL)
    hu[lung] = drawn[lung]


def _scanned(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(hu, BLUR) + noise_hu(hu.shape, rng)


def noise_hu(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw noise about as coarse as that of a scanner.

    Args:
        shape: Any shape.
        rng: Draws the noise.

    Returns:
        float32 in HU, with a standard deviation of NOISE_HU.
    """
    noise = ndimage.gaussian_filter(rng.normal(size=shape), BLUR)
    return (NOISE_HU * noise / noise.std()).astype(np.float32)
