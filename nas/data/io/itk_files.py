"""NRRD and MetaImage files, read by SimpleITK as the format of their content, whatever the ending of the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.formats import META_IMAGE, Format, unreadable
from nas.data.io.geometry import ALIKE, Geometry, geometry_of
from nas.data.io.itk_headers import require_plain
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image, ImageFileReader


def itk_reader(path: Path, found: Format) -> ImageFileReader:
    """Return a reader that has read the header of a file.

    Args:
        path: A NRRD or MetaImage file.
        found: Its format.

    Returns:
        The reader, which gives size, spacing, direction and origin.

    Raises:
        NASError: If the header cannot be read.
    """
    reader = medical("SimpleITK").ImageFileReader()
    reader.SetImageIO("MetaImageIO" if found is META_IMAGE else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, error) from error
    return reader


def itk_geometry(read: Any, name: str) -> Geometry:
    """Return the geometry of the first three axes.

    Args:
        read: A reader or an image of at least three axes.
        name: Name of the file for messages.

    Returns:
        The geometry.

    Raises:
        NASError: As `geometry_of` does.
    """
    dims = read.GetDimension()
    axes_33 = np.reshape(read.GetDirection(), (dims, dims))[:3, :3] * np.array(read.GetSpacing()[:3])
    return geometry_of(axes_33, read.GetOrigin()[:3], read.GetSize()[:3], name)


def read_itk(path: Path, found: Format) -> Image:
    """Read a NRRD or MetaImage file.

    Args:
        path: The file.
        found: Its format.

    Returns:
        An image of any number of axes.

    Raises:
        NASError: If the file is damaged or incomplete, its axes are skewed, or its voxels are colours, scaled or not in
            mm.
    """
    reader = itk_reader(path, found)
    require_plain(path, found, reader)
    try:
        return settled(reader.Execute(), path)
    except RuntimeError as error:
        raise unreadable(path, error) from error


def perpendicular(read: Any) -> bool:
    """Check whether the first three axes are perpendicular.

    Args:
        read: A reader or an image of at least three axes.

    Returns:
        Whether they are, up to rounding.
    """
    dims = read.GetDimension()
    direction = np.reshape(read.GetDirection(), (dims, dims))[:3, :3]
    return bool(np.abs(direction.T @ direction - np.eye(3)).max() <= ALIKE)


def settled(image: Image, path: Path) -> Image:
    """Make the axes of an image perpendicular if they nearly are.

    Args:
        image: An image of any number of axes.
        path: Its file, for messages.

    Returns:
        The image.

    Raises:
        NASError: As `geometry_of` does.
    """
    dims = image.GetDimension()
    if dims < 3 or perpendicular(image):
        return image
    geometry = itk_geometry(image, str(path))
    if dims == 3:
        return geometry.put_on(image)
    whole, origin = np.eye(dims), list(image.GetOrigin())
    whole[:3, :3], origin[:3] = geometry.direction_33, geometry.origin_mm
    image.SetDirection(whole.ravel().tolist())
    image.SetOrigin(origin)
    return image
