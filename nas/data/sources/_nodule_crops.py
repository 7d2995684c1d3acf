"""Crops of CT around the nodules of LIDC-IDRI: what its sources have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.crops import crop_hu, hu_window, reach
from nas.data.source import Source
from nas.data.sources._lidc_database import COHORT
from nas.utils.annotations import PathName

if TYPE_CHECKING:
    from SimpleITK import Image


class NoduleCrops(Source):
    """Crops of `size`³ voxels of `spacing_mm` with a nodule in the middle, benign or malignant, as int16 HU.

    HU are clipped to `window` and stored exactly; scale and offset map the window to [0, 1].

    Args:
        root: Folder of the scans.
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size in mm.
        size: Voxels per side.
        window: [low, high] in whole HU.
    """

    cohort = COHORT
    classes = ("benign", "malignant")

    def __init__(
        self, root: PathName | None, cache_dir: PathName, spacing_mm: float, size: int, window: Sequence[float]
    ) -> None:
        self.root, self.cache_dir = root, cache_dir
        self.spacing_mm, self.size, self.window = float(spacing_mm), int(size), hu_window(window)
        low, high = self.window
        self.scale, self.offset = 1 / (high - low), -low / (high - low)

    @property
    def reach_mm(self) -> float:
        """Distance from the nodule's centre within which a crop reads the scan, see `reach`."""
        return reach((self.size,) * 3, (self.spacing_mm,) * 3)

    def cut(self, image: Image, centre_mm: Sequence[float], name: str) -> np.ndarray:
        """Cut a crop around a point, see `Source.cut`."""
        return crop_hu(image, centre_mm, self.size, self.spacing_mm, self.window, name)

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "crop_hu" with size, spacing and window."""
        here = {"how": "crop_hu", "size": self.size, "spacing_mm": self.spacing_mm, "window": self.window}
        return {**super().preparation(), **here}
