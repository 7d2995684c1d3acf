"""Read a CT volume in HU; raise NASError for other images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nas.data.io.dicom import open_series
from nas.data.io.images import read_image
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

AIR_AT_MOST = -800  # the lowest value of a scan that shows air


def read_ct(path: str | Path, values_in_hu: bool = False) -> Image:
    """Read a whole CT.

    Args:
        path: A folder with one DICOM series, or a NIfTI, NRRD or MetaImage file.
        values_in_hu: Whether stored values of slices without rescale tags are in HU already.

    Returns:
        The volume in HU.

    Raises:
        NASError: As `read_image` and `open_series` do, and if the series has another modality than CT, the volume has
            several channels, or its values are no HU (no voxel is air).
    """
    path = Path(path)
    if path.is_dir() and (modality := open_series(path).modality) != "CT":
        raise NASError(f"a series of the modality {modality} in {path}", "a CT", "give the folder of a CT")
    image = read_image(path, values_in_hu=values_in_hu)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise NASError(
            f"{image.GetNumberOfComponentsPerPixel()} channels in {path}", "one channel of HU", "give the CT alone"
        )
    lowest = float(medical("SimpleITK").GetArrayViewFromImage(image).min())
    if lowest > AIR_AT_MOST:
        raise NASError(
            f"values of at least {lowest:g} in {path}",
            "a CT in HU, with air at about -1000",
            "give a CT, with its rescale intercept applied (1024 less if air is 0)",
        )
    return image
