"""Label maps of any file: one class for each voxel, as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.files import is_npy
from nas.data.io.images import read_channels, read_image
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

LIMITS = (
    Limit(
        "Label conventions",
        "labels stored as floating-point or scaled numbers",
        "corrected",
        "whole numbers within 0.001, in all label maps; other values are refused with file and value",
    ),
    Limit("Label conventions", "a label without a class", "refused", "the message names label, file and classes"),
)
TOLERANCE = 1e-3  # programs that write labels as scaled floating-point numbers miss whole numbers by about 1e-7
LARGEST = 2**31 - 1


def whole_labels(values: np.ndarray, path: Path) -> np.ndarray:
    """Return labels as whole numbers.

    Args:
        values: Labels of any shape and numeric type. Values within 0.001 of a whole number are taken as this number.
        path: Their file, for messages.

    Returns:
        The labels, of an integer type.

    Raises:
        NASError: If a value is no whole number, or there are no numbers.
    """
    if values.dtype.kind in "bu" and values.dtype.itemsize == 1:
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind not in "biuf":
        raise NASError(f"labels of type {values.dtype} in {path}", "whole numbers", "save the labels as uint8")
    nearest = np.rint(values) if values.dtype.kind == "f" else values
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(values - nearest) <= TOLERANCE) if values.dtype.kind == "f" else np.zeros(0, dtype=bool)
    wrong = wrong if wrong.any() else (nearest > LARGEST) | (nearest < -LARGEST)
    if wrong.any():
        raise NASError(
            f"the label {float(values[wrong].flat[0]):.7g} in {path}",
            f"whole numbers, at most {TOLERANCE:g} away",
            "write the class of each voxel as a whole number (labels are resampled by the nearest voxel)",
        )
    return nearest.astype(np.int32)


def read_label_map(path: Path) -> Image:
    """Read the classes of the voxels of a volume.

    Args:
        path: A NIfTI, NRRD or MetaImage file.

    Returns:
        An image of whole numbers.

    Raises:
        NASError: If the file cannot be read, has several channels, or values that are no whole numbers.
    """
    channels = read_channels(path)
    if len(channels) != 1:
        raise NASError(f"{len(channels)} channels in {path}", "one class per voxel", "give one volume of labels")
    sitk, image = medical("SimpleITK"), channels[0]
    label = sitk.GetImageFromArray(whole_labels(sitk.GetArrayFromImage(image), path))
    label.CopyInformation(image)
    return label


def require_classes(values: np.ndarray, classes: int, path: Path, expected: str, fix: str) -> np.ndarray:
    """Check that all labels are numbers of classes.

    Args:
        values: Labels of any shape, whole numbers.
        classes: Number of classes; labels are 0 to `classes` - 1.
        path: Their file, for messages.
        expected: Meaning of the numbers, for messages.
        fix: Remedy, for messages.

    Returns:
        The labels, uint8.

    Raises:
        NASError: If a label has no class.
    """
    wrong = np.setdiff1d(np.unique(values), np.arange(classes))
    if len(wrong):
        raise NASError(f"the label {wrong[0]:g} in {path}", f"0 to {classes - 1}, {expected}", fix)
    return values.astype(np.uint8)


def object_mm3(
    path: Path, point_mm: Sequence[float] | None = None, npy_spacing_mm: float | Sequence[float] = 1.0
) -> float:
    """Measure the object that a mask marks.

    Args:
        path: File of the mask; voxels that are not 0 belong to the object.
        point_mm: World point (x, y, z) in mm (LPS); the connected component nearest to it is measured. If None, all
            voxels of the object.
        npy_spacing_mm: Voxel size (D, H, W) in mm of .npy files.

    Returns:
        The volume in mm^3.

    Raises:
        NASError: If the file cannot be read, holds no whole numbers, or marks nothing.
    """
    from scipy import ndimage

    sitk = medical("SimpleITK")
    if is_npy(path):
        image = read_image(path, npy_spacing_mm)
        mask_DHW = whole_labels(sitk.GetArrayFromImage(image), path) != 0
    else:
        image = read_label_map(path)
        mask_DHW = sitk.GetArrayFromImage(image) != 0
    if not mask_DHW.any():
        raise NASError(f"nothing but 0 in {path}", "a mask of the object", "leave the cell empty, or correct the mask")
    if point_mm is not None:
        numbers_DHW, count = ndimage.label(mask_DHW, np.ones((3, 3, 3)))
        index = image.TransformPhysicalPointToContinuousIndex([float(mm) for mm in point_mm])[::-1]
        voxels = np.argwhere(mask_DHW)
        distance = np.linalg.norm((voxels - np.array(index)) * np.array(image.GetSpacing()[::-1]), axis=1)
        nearest = tuple(voxels[distance.argmin()])
        mask_DHW = numbers_DHW == numbers_DHW[nearest] if count > 1 else mask_DHW
    return float(mask_DHW.sum() * np.prod(image.GetSpacing()))
