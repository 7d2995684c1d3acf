"""Small DICOM series whose tags a test changes, and files that are spoilt in the ways of faulty archives."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from written_scans import ball, write_dicom

Change = Callable[[pydicom.Dataset], None]


def scan() -> sitk.Image:
    """8 slices of 20 x 22 pixels, HU from -850 to 120."""
    return ball(size=(20, 22, 8), spacing=(1.0, 1.0, 2.5), index=(10, 10, 4), radius_mm=4.0)[0]


def series(
    folder: Path, change: Change | None = None, image: sitk.Image | None = None, only: int | None = None
) -> Path:
    """Write a CT series; `change` is applied to every slice, or to the one with the InstanceNumber `only`."""
    write_dicom(folder, scan() if image is None else image)
    for path in sorted(folder.iterdir()) if change else ():
        slice_ = pydicom.dcmread(path)
        if only is None or slice_.InstanceNumber == only:
            change(slice_)
            slice_.save_as(path)
    return folder


def text(tag: str, content: bytes) -> Change:
    """Store any bytes in a tag, also those that are no number."""

    def change(slice_: pydicom.Dataset) -> None:
        element = slice_[tag]
        raw = RawDataElement(element.tag, element.VR, len(content), content, 0, False, True)
        slice_._dict[element.tag] = raw

    return change


def without(*tags: str) -> Change:
    def change(slice_: pydicom.Dataset) -> None:
        for tag in tags:
            del slice_[tag]

    return change


def with_values(**tags: object) -> Change:
    def change(slice_: pydicom.Dataset) -> None:
        for tag, value in tags.items():
            setattr(slice_, tag, value)

    return change


def rounded(digits: int, *tags: str) -> Change:
    def change(slice_: pydicom.Dataset) -> None:
        for tag in tags:
            setattr(slice_, tag, [round(float(value), digits) for value in slice_[tag].value])

    return change


def strip_preamble(folder: Path, implicit: bool) -> None:
    """Leave the data sets only, without preamble and group 2."""
    for path in folder.iterdir():
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
        whole, bare = pydicom.dcmread(path), pydicom.Dataset()
        bare.update(dict(whole.items()))
        write_dataset(buffer, bare)
        path.write_bytes(buffer.getvalue())


def tilted_ball(folder: Path, degrees: float, axis: int, sign: int = 1, side: int = 48) -> np.ndarray:
    """Write slices that are displaced along a row (axis 0) or column (axis 1); return the world point of a ball."""
    step = np.array([0.0, 0.0, 2.0])
    step[axis] = sign * math.tan(math.radians(degrees)) * 2.0
    return _ball_of_slices(folder, step, np.eye(3)[0], np.eye(3)[1], side)


def gantry_ball(folder: Path, degrees: float) -> np.ndarray:
    """Write slices that are turned around the x axis, along a table that moves along z; return the point of a ball."""
    angle = math.radians(degrees)
    column = np.array([0.0, math.cos(angle), -math.sin(angle)])
    return _ball_of_slices(folder, np.array([0.0, 0.0, 2.0]), np.eye(3)[0], column, 48)


def _ball_of_slices(folder: Path, step: np.ndarray, row: np.ndarray, column: np.ndarray, side: int) -> np.ndarray:
    count, centre = side // 2, np.array([3.0, -4.0, 40.0])
    write_dicom(folder, sitk.Image(side, side, count, sitk.sitkInt16))
    rows, columns = np.indices((side, side))
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        first = np.array([0, 0, 16.0 + count]) - (row + column) * side / 2
        first = first + step * (slice_.InstanceNumber - 1 - count / 2)
        slice_.ImagePositionPatient = [f"{value:.6g}" for value in first]
        slice_.ImageOrientationPatient = [f"{value:.6f}" for value in (*row, *column)]
        world = first + columns[..., None] * row + rows[..., None] * column
        hu = np.where(np.linalg.norm(world - centre, axis=-1) <= 8, 120, -850)
        slice_.PixelData = np.rint((hu + 1024) / 2).astype(np.uint16).tobytes()
        slice_.save_as(path)
    return centre


def centre_of(image: sitk.Image, above: float = -365) -> np.ndarray:
    """World point of the centre of mass of all voxels above a value."""
    z, y, x = (float(axis.mean()) for axis in np.nonzero(sitk.GetArrayFromImage(image) > above))
    return np.array(image.TransformContinuousIndexToPhysicalPoint((x, y, z)))
