"""Volumes of one's own for the pages that need some: synthetic balls, small and large, and their csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_volumes(folder: Path) -> None:
    """Writes my.csv with twenty balls of ten patients, in HU."""
    lines = ["path,label,patient"]
    for number in range(20):
        np.save(folder / f"{number}.npy", ball(40, 8 + 6 * (number % 2)) * 1000.0 - 900 - number)
        lines.append(f"{number}.npy,{('benign', 'malignant')[number % 2]},P-{number // 2}")
    (folder / "my.csv").write_text("\n".join(lines) + "\n")


def ball(side: int, radius: int) -> np.ndarray:
    """A (side, side, side) volume that is 1 in a ball in its middle."""
    grid = np.stack(np.meshgrid(*(np.arange(side) - side / 2,) * 3, indexing="ij"))
    return (np.square(grid).sum(axis=0) <= radius**2).astype(np.float32)
