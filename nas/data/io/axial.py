"""Volumes as stacks of axial slices, for networks and data sets of slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.io.dicom import DicomSeries, open_series
from nas.data.io.images import read_image, to_array
from nas.data.io.limits import Limit
from nas.errors import NASError

LEAST_COSINE = 0.7  # between the slices' axes and those of the patient; gantries tilt by up to 30 degrees

LIMITS = (
    Limit(
        "Slices",
        "sagittal, coronal and rotated stacks, where a network takes axial slices",
        "refused",
        "give the axial series",
    ),
    Limit(
        "Slices",
        "NIfTI, NRRD and MetaImage files whose rows or columns run to the front or the right",
        "corrected",
        "mirrored for the network as CT series are stored, and boxes mirrored back",
    ),
)


@dataclass(frozen=True)
class AxialSlices:
    """The slices of a volume with rows that run to the back and columns that run to the left, as CT series store them.

    Attributes:
        values_DHW: Values; slices in the order of the file.
        spacing_mm: Voxel size (D, H, W).
        mirrored: Whether rows and columns of the file run the other way.
    """

    values_DHW: np.ndarray
    spacing_mm: tuple[float, float, float]
    mirrored: tuple[bool, bool] = (False, False)


def axial_slices(path: Path, values_in_hu: bool = False) -> AxialSlices:
    """Read the slices of a volume.

    Args:
        path: An image file, or the folder of a DICOM series, whose slices keep the pixels of their files.
        values_in_hu: As for `nas.data.io.images.read_volume`.

    Returns:
        The slices.

    Raises:
        NASError: If the volume cannot be read, has several channels, or its slices are not axial.
    """
    if path.is_dir():
        return series_slices(open_series(path), values_in_hu)
    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise NASError(f"{image.GetNumberOfComponentsPerPixel()} channels in {path}", "one", "give the CT alone")
    axes_33 = np.reshape(image.GetDirection(), (3, 3))
    require_axial(axes_33, path)
    values_DHW, (x, y, z) = to_array(image)[0], image.GetSpacing()
    rows, columns = bool(axes_33[1, 1] < 0), bool(axes_33[0, 0] < 0)
    values_DHW = values_DHW[:, :: -1 if rows else 1, :: -1 if columns else 1]
    return AxialSlices(values_DHW, (z, y, x), (rows, columns))


def series_slices(series: DicomSeries, values_in_hu: bool = False) -> AxialSlices:
    """Read the slices of a series on the pixels of its files.

    Args:
        series: The series.
        values_in_hu: As for `nas.data.io.images.read_volume`.

    Returns:
        The slices in order along their normal; none is mirrored.

    Raises:
        NASError: As `DicomSeries.read` does, and if the slices are not axial.
    """
    image = series.read(values_in_hu=values_in_hu, keep_pixels=True)
    require_axial(np.reshape(image.GetDirection(), (3, 3)), series.folder)
    x, y, z = image.GetSpacing()
    return AxialSlices(to_array(image)[0], (z, y, x))


def require_axial(axes_33: np.ndarray, path: Path) -> None:
    """Check that the slices of a volume are axial.

    Args:
        axes_33: Directions of its axes (x, y, z) as columns.
        path: The file, for the message.

    Raises:
        NASError: If they are not.
    """
    if (np.abs(np.diag(axes_33)) < LEAST_COSINE).any():
        raise NASError(
            f"slices in {path} that are not axial",
            "axial slices, whose rows and columns run along the patient's",
            "give the axial series, or resample the volume to axial slices",
        )
