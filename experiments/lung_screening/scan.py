"""A CT for all stages: HU on the scan's own voxels, and conversion between voxels and world mm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.ct import read_ct
from nas.data.io.grid import Triple, on_grid
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

HU_RANGE = (-1024, 3071)  # what twelve bits hold; values beyond are padding and metal


@dataclass(frozen=True)
class Scan:
    """A CT scan.

    Arrays are (D, H, W) with D towards the head, H to the back and W to the left; points are world mm (x, y, z) in LPS
    as in DICOM.

    Attributes:
        name: Name of the scan.
        image: The image as read, with one channel.
    """

    name: str
    image: Image

    @classmethod
    def read(cls, path: str | Path, values_in_hu: bool = False) -> Scan:
        """Read a CT.

        Args:
            path: A DICOM folder, or a NIfTI, NRRD or MetaImage file.
            values_in_hu: Whether stored values of slices without rescale tags are in HU already.

        Returns:
            The scan.

        Raises:
            NASError: As `nas.data.io.ct.read_ct` does.
        """
        return cls(Path(path).name or str(path), read_ct(path, values_in_hu))

    @cached_property
    def _upright(self) -> Image:
        return medical("SimpleITK").DICOMOrient(self.image, "LPS")

    @cached_property
    def hu_DHW(self) -> np.ndarray:
        """HU, (D, H, W) int16."""
        return np.clip(on_grid(self._upright, None)[0], *HU_RANGE).astype(np.int16)

    @property
    def spacing_mm(self) -> Triple:
        """Voxel size (D, H, W)."""
        x, y, z = self._upright.GetSpacing()
        return z, y, x

    def world(self, index_N3: np.ndarray) -> np.ndarray:
        """Convert voxel indices into world coordinates.

        Args:
            index_N3: (N, 3) indices (d, h, w), fractions too.

        Returns:
            (N, 3) world mm (x, y, z).
        """
        axes, origin = np.reshape(self._upright.GetDirection(), (3, 3)), np.array(self._upright.GetOrigin())
        return index_N3[:, ::-1] * self._upright.GetSpacing() @ axes.T + origin

    def index(self, world_N3: np.ndarray) -> np.ndarray:
        """Convert world coordinates into voxel indices.

        Args:
            world_N3: (N, 3) world mm (x, y, z).

        Returns:
            (N, 3) indices (d, h, w), as fractions.
        """
        axes, origin = np.reshape(self._upright.GetDirection(), (3, 3)), np.array(self._upright.GetOrigin())
        return ((world_N3 - origin) @ np.linalg.inv(axes).T / self._upright.GetSpacing())[:, ::-1]

    def with_hu(self, hu_DHW: np.ndarray, name: str) -> Scan:
        """Return a scan with other values on the same voxels.

        Args:
            hu_DHW: (D, H, W) HU.
            name: Name of the new scan.

        Returns:
            The new scan.
        """
        image = medical("SimpleITK").GetImageFromArray(hu_DHW)
        image.CopyInformation(self._upright)
        return Scan(name, image)

    def as_read(self, labels_DHW: np.ndarray) -> Image:
        """Return labels as an image on the grid of the file.

        Args:
            labels_DHW: (D, H, W) labels of the voxels of `hu_DHW`.

        Returns:
            The image.
        """
        sitk = medical("SimpleITK")
        image = sitk.GetImageFromArray(labels_DHW.astype(np.uint8))
        image.CopyInformation(self._upright)
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.image.GetDirection())
        image = sitk.DICOMOrient(image, code)
        image.CopyInformation(self.image)
        return image
