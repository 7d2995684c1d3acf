"""Channels of one case: the components or the fourth axis of a file, or several files, on one grid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.files import is_npy
from nas.data.io.grid import have_same_voxels
from nas.data.io.images import read_channels, read_image
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

LEAST_COVER = 0.5  # share of the first channel's voxels that every other channel must cover


def read_volumes(
    paths: Sequence[Path],
    npy_spacing_mm: float | Sequence[float] = 1.0,
    npy_axes: str | None = None,
    values_in_hu: bool = False,
) -> list[tuple[Image, Path]]:
    """Read the channels of a case, each on the grid of its file.

    Args:
        paths: Its files in the order of the channels. A file may hold several, on its fourth axis or as components.
        npy_spacing_mm: As for `read_image`.
        npy_axes: As for `read_image`.
        values_in_hu: As for `read_image`.

    Returns:
        One volume of one channel, and its file, for each channel.

    Raises:
        NASError: As `read_image` does.
    """
    sitk, found = medical("SimpleITK"), []
    for path in paths:
        if path.is_dir() or is_npy(path):
            image = read_image(path, npy_spacing_mm, npy_axes, values_in_hu)
            count = image.GetNumberOfComponentsPerPixel()
            own = [image] if count == 1 else [sitk.VectorIndexSelectionCast(image, c) for c in range(count)]
        else:
            own = read_channels(path)
        found += [(image, path) for image in own]
    return found


def joined(volumes: Sequence[tuple[Image, Path]]) -> Image:
    """Join channels to one image on the grid of the first.

    Args:
        volumes: Volumes of one channel with their files, as `read_volumes` gives them. A volume on another grid is
            interpolated linearly at the world coordinates of the first channel's voxels; beyond it, voxels have its
            smallest value.

    Returns:
        The single volume, or float32 with one component per channel.

    Raises:
        NASError: If a channel covers less than half of the first.
    """
    first, path = volumes[0]
    if len(volumes) == 1:
        return first
    sitk = medical("SimpleITK")
    channels = [sitk.Cast(first, sitk.sitkFloat32)]
    for image, other in volumes[1:]:
        channel = sitk.Cast(image, sitk.sitkFloat32)
        if first.GetSize() == image.GetSize() and have_same_voxels(first, image):
            channel.CopyInformation(first)  # Compose compares geometries bit by bit
        else:
            _require_overlap(first, path, image, other)
            fill = float(sitk.GetArrayViewFromImage(channel).min())
            channel = sitk.Resample(channel, first, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, fill)
        channels.append(channel)
    return sitk.Compose(channels)


def voxel_digest(volumes: Sequence[tuple[Image, Path]]) -> str:
    """Hash the voxels of a case, whatever the name, format, compression, type and order of axes of its files.

    Args:
        volumes: The channels, as `read_volumes` gives them.

    Returns:
        64 hexadecimal digits; "" if every channel has one value only, which says nothing about its origin.
    """
    return voxel_digests(volumes)[0]


def voxel_digests(volumes: Sequence[tuple[Image, Path]]) -> tuple[str, tuple[str, ...]]:
    """Hash the voxels of a case and those of each of its channels.

    Args:
        volumes: The channels, as `read_volumes` gives them.

    Returns:
        The digest of `voxel_digest`, and one for each channel with three values or more if there are several channels.
        A channel with two values is a mask, which several patients may share, as that of a field of view.
    """
    hashed, differ, channels, sitk = hashlib.blake2b(digest_size=32), False, [], medical("SimpleITK")
    for image, _ in volumes:
        turned = sitk.DICOMOrient(image, "LPS")  # as the samples are: a copy may be stored with other axes
        values_DHW = sitk.GetArrayFromImage(turned).astype(np.float32) + np.float32(0)  # -0 becomes 0
        low, high = values_DHW.min(), values_DHW.max()
        differ |= bool(low < high)
        content = repr(values_DHW.shape).encode() + np.ascontiguousarray(values_DHW).tobytes()
        hashed.update(content)
        if len(volumes) > 1 and bool(((values_DHW > low) & (values_DHW < high)).any()):
            channels.append(hashlib.blake2b(content, digest_size=32).hexdigest())
    return hashed.hexdigest() if differ else "", tuple(channels)


def _require_overlap(first: Image, path: Path, image: Image, other: Path) -> None:
    sitk = medical("SimpleITK")
    inside = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    inside.CopyInformation(image)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    cover = float(sitk.GetArrayFromImage(sitk.Resample(inside, first, identity, sitk.sitkNearestNeighbor, 0)).mean())
    if cover < LEAST_COVER:
        raise NASError(
            f"{other}, which covers {100 * cover:.0f} % of {path}",
            f"channels of one scan, at least {100 * LEAST_COVER:.0f} % of the first",
            "give files with one coordinate system (world mm)",
        )
