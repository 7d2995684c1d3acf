"""Preparation of a file as input of a network, by the description in its model specification. Needs no torch.

A source of data describes how it prepares its volumes (`Source.preparation`) in one of these forms:

- {"how": "crop", "size", "spacing_mm", "window", "percentiles", "npy_spacing_mm", "npy_axes"}: a box around a point, as
  `manifest`
- {"how": "crop_hu", "size", "spacing_mm", "window"}: a box of CT in a window of HU, as `luna16` and `lidc_dicom`
- {"how": "grid", "spacing_mm", "normalise", "hounsfield", "intensity", "crop"}: whole volumes, or a box in the
  middle of each, as `msd`
- {"how": "array"}: arrays (.npy) whose axes and values are already those of the data set

Those of image files may have "values_in_hu" (`nas.data.io.images.read_volume`). Each has "scale" and "offset" of the
stored values, and "channels" with their meaning if the source knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data.io.arrays import load_npy
from nas.data.io.channels import joined, read_volumes
from nas.data.io.crops import crop, crop_grid, crop_hu, middle, to_window
from nas.data.io.files import is_npy
from nas.data.io.grid import image_on_grid, onto_image
from nas.data.io.images import read_channels, read_image, to_array
from nas.data.transforms.intensity import Intensity, standardised, whole_hu
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image


CROPS = ("crop", "crop_hu")  # values of "how" for boxes around points of an image


@dataclass(frozen=True)
class Prepared:
    """The input of a network.

    Attributes:
        x_CDHW: float32; (C, H, W) for a 2D network.
        image: Image of a whole volume before the transforms; None for other samples.
        grid: Of whole volumes, their geometry; else None, and predictions have no position in an image.
        box_DHW: The part of `grid` that `x_CDHW` is; None for all of it.
    """

    x_CDHW: np.ndarray
    image: Image | None = None
    grid: Image | None = None
    box_DHW: tuple[slice, ...] | None = None

    def on_whole_grid(self, prob_KDHW: np.ndarray) -> np.ndarray:
        """Surround probabilities of a box with background.

        Args:
            prob_KDHW: Class probabilities on `x_CDHW`, the background first.

        Returns:
            (K, D, H, W) on the whole grid; the array itself if `x_CDHW` is all of it.
        """
        if self.box_DHW is None or self.grid is None:
            return prob_KDHW
        whole = np.zeros((len(prob_KDHW), *self.grid.GetSize()[::-1]), dtype=prob_KDHW.dtype)
        whole[0] = 1
        whole[(slice(None), *self.box_DHW)] = prob_KDHW
        return whole


def middle_box(sides: Sequence[int], crop: Sequence[int]) -> tuple[slice, ...]:
    """Return a box in the middle of a volume.

    Args:
        sides: Sides of the volume in voxels.
        crop: Sides of the box; the volume's own where that is smaller.

    Returns:
        A slice per axis; of an odd remainder, the larger half follows the box.
    """
    kept = [min(side, own) for side, own in zip(sides, crop, strict=True)]
    return tuple(slice((side - own) // 2, (side - own) // 2 + own) for side, own in zip(sides, kept, strict=True))


def prepared(
    path: str | Path | Sequence[Path],
    preparation: Mapping[str, Any],
    point_mm: Sequence[float] | None = None,
    dims: int = 3,
) -> Prepared:
    """Read a file and prepare it like the training data.

    Args:
        path: The file, or the folder of a DICOM series; or several, whose channels are joined in this order.
        preparation: One of the forms above.
        point_mm: World point (x, y, z) in mm (LPS) of the middle of a crop. If None, the middle of the volume.
        dims: Spatial dimensions of an array.

    Returns:
        The input of the network.

    Raises:
        NASError: If the file is missing, broken or of another kind than the preparation is for.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else list(path)
    how = preparation.get("how")
    scale, offset = (np.float32(preparation.get(name, value)) for name, value in (("scale", 1), ("offset", 0)))
    if how == "array":
        arrays = [_array(one, dims, preparation) for one in paths]
        return Prepared(_joined(arrays, paths).astype(np.float32) * scale + offset)
    if how == "grid":
        return _on_grid(paths, preparation)
    if how not in CROPS:
        raise NASError(f"preparation={how!r}", "array, crop, crop_hu or grid", "update voxnas")
    image = _composed(paths, preparation)
    stored_CDHW = stored_crop(image, middle(image) if point_mm is None else point_mm, preparation, str(paths[0]))
    return Prepared(stored_CDHW.astype(np.float32) * scale + offset)


def placed(
    path: str | Path | Sequence[Path],
    preparation: Mapping[str, Any],
    point_mm: Sequence[float] | None = None,
    dims: int = 3,
) -> Prepared:
    """Prepare a file as `prepared` does, with the place of the input in the image also if it is a crop.

    Args:
        path: As of `prepared`.
        preparation: One of the forms above.
        point_mm: World point (x, y, z) in mm (LPS) of the middle of a crop. If None, the middle of the volume.
        dims: Spatial dimensions of an array.

    Returns:
        The input; image and grid are None for arrays only.

    Raises:
        NASError: As `prepared` does.
    """
    ready = prepared(path, preparation, point_mm, dims)
    if preparation.get("how") not in CROPS:
        return ready
    paths = [Path(path)] if isinstance(path, str | Path) else list(path)
    image, sides = _composed(paths, preparation), ready.x_CDHW.shape[1:]
    centre_mm = middle(image) if point_mm is None else point_mm
    grid = crop_grid(image, centre_mm, sides, np.broadcast_to(preparation["spacing_mm"], 3).tolist(), str(paths[0]))
    return replace(ready, image=image, grid=grid)


def stored_crop(image: Image, point_mm: Sequence[float], preparation: Mapping[str, Any], name: str) -> np.ndarray:
    """Cut a box around a point out of an image, as the training data were cut.

    Args:
        image: The image.
        point_mm: Middle of the box, world mm, LPS as in DICOM.
        preparation: Description with how="crop" or "crop_hu".
        name: Name of the image, for messages.

    Returns:
        (C, D, H, W) int16, values as the data set stores them, before scale and offset.

    Raises:
        NASError: If the point lies outside of the image.
    """
    size, spacing_mm, window = preparation["size"], preparation["spacing_mm"], preparation["window"]
    if preparation["how"] == "crop_hu":
        return crop_hu(image, point_mm, size, spacing_mm, tuple(window), name)
    return windowed_crop(image, point_mm, size, spacing_mm, window, preparation["percentiles"], name)


def windowed_crop(
    image: Image,
    point_mm: Sequence[float],
    size_DHW: Sequence[int],
    spacing_DHW_mm: Sequence[float],
    window: Sequence[float] | None,
    percentiles: Sequence[float],
    name: str,
) -> np.ndarray:
    """Crop a volume around a point and map its intensities from a window to int16.

    Args:
        image: The volume.
        point_mm: World point (x, y, z) in mm (LPS) of the middle.
        size_DHW: Voxels of the crop.
        spacing_DHW_mm: Their size in mm.
        window: [low, high] in the volume's units. If None, each channel between its own percentiles.
        percentiles: (low, high) in percent.
        name: Name of the volume for messages.

    Returns:
        (C, D, H, W) int16 as `to_window` gives it, with the low end of the window beyond the volume.

    Raises:
        NASError: If the percentiles of a channel do not differ, or the point lies outside of the volume.
    """
    low, high = window or _own_range(image, percentiles, name)
    return to_window(crop(image, point_mm, size_DHW, spacing_DHW_mm, low, name), low, high)


def back_on_image(prob_KDHW: np.ndarray, prepared: Prepared) -> Image:
    """Map class probabilities on a volume's grid back onto the image.

    Args:
        prob_KDHW: Class probabilities on the grid.
        prepared: The input of the network, with image and grid.

    Returns:
        uint8, the most probable class at each voxel of the image, with its size, spacing, origin and direction.
        Probabilities are interpolated linearly between the voxels of the grid.
    """
    sitk = medical("SimpleITK")
    assert prepared.image is not None
    label = best = np.zeros(prepared.image.GetSize()[::-1])
    for number, prob_DHW in enumerate(prob_KDHW):
        prob_DHW = sitk.GetArrayFromImage(values_on_image(prob_DHW, prepared))
        label, best = np.where(prob_DHW > best, number, label), np.maximum(prob_DHW, best)
    image = sitk.GetImageFromArray(label.astype(np.uint8))
    image.CopyInformation(prepared.image)
    return image


def values_on_image(values_DHW: np.ndarray, prepared: Prepared, *, beyond: bool = True) -> Image:
    """Map real numbers on a volume's grid back onto the image, linearly.

    Args:
        values_DHW: Values on the grid.
        prepared: The input of the network, with image and grid.
        beyond: Whether the last voxels of the grid are repeated beyond it; else values there are 0.

    Returns:
        float32, with the size, spacing, origin and direction of the image.
    """
    sitk = medical("SimpleITK")
    assert prepared.image is not None
    assert prepared.grid is not None
    values = sitk.GetImageFromArray(values_DHW)
    values.CopyInformation(prepared.grid)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(values, prepared.image, identity, sitk.sitkLinear, 0.0, sitk.sitkFloat32, beyond)


def _on_grid(paths: Sequence[Path], preparation: Mapping[str, Any]) -> Prepared:
    channels: list[Image] = []
    for path in paths:
        own = [_read(path, preparation)] if path.is_dir() or is_npy(path) else read_channels(path)
        if channels:
            names = ("the first channel", "another")
            own = [onto_image(channel, channels[0], path, names, labels=False) for channel in own]
        channels += own
    spacing_mm = preparation["spacing_mm"]
    grids = [image_on_grid(channel, spacing_mm) for channel in channels]
    raw_CDHW = np.stack([medical("SimpleITK").GetArrayFromImage(grid) for grid in grids])
    crop = preparation.get("crop")
    box_DHW = None if crop is None else middle_box(raw_CDHW.shape[1:], crop)
    part = (slice(None), *(box_DHW or ()))
    if preparation["normalise"] == "volume":  # by the whole volume, as in the training
        return Prepared(standardised(raw_CDHW, str(paths[0]))[part], channels[0], grids[0], box_DHW)
    stored_CDHW = whole_hu(raw_CDHW) if preparation["hounsfield"] else raw_CDHW
    intensity = Intensity(**preparation["intensity"])
    if len(stored_CDHW) != len(intensity.mean_C):
        raise NASError(
            f"{len(stored_CDHW)} channels in {paths[0]}", str(len(intensity.mean_C)), "give a file with these channels"
        )
    return Prepared(intensity.of_array(stored_CDHW[part]), channels[0], grids[0], box_DHW)


def _read(path: Path, preparation: Mapping[str, Any]) -> Image:
    """Read one file as the data set would."""
    return read_image(
        path,
        preparation.get("npy_spacing_mm", 1.0),
        preparation.get("npy_axes"),
        bool(preparation.get("values_in_hu", False)),
    )


def _composed(paths: Sequence[Path], preparation: Mapping[str, Any]) -> Image:
    """Read one image whose components are the channels of all files."""
    return joined(
        read_volumes(
            paths,
            preparation.get("npy_spacing_mm", 1.0),
            preparation.get("npy_axes"),
            bool(preparation.get("values_in_hu", False)),
        )
    )


def _joined(arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> np.ndarray:
    """Join the channels of arrays of one shape."""
    for array, path in zip(arrays, paths, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise NASError(f"an array of shape {array.shape} in {path}", f"{arrays[0].shape}", "correct the array")
    return np.concatenate(arrays)


def _array(path: Path, dims: int, preparation: Mapping[str, Any]) -> np.ndarray:
    if not is_npy(path):
        if "modalities" in preparation:
            raise NASError(
                f"{path} for a network of BraTS subjects", "folders of subjects", "use `voxnas brats predict`"
            )
        raise NASError(
            f"{path} for a network of data that VoxNAS makes itself",
            ".npy arrays with the values and axes of its training data",
            "see preparation in model.json; train on `manifest` or `msd` for networks that read image files",
        )
    array = load_npy(path)
    array = array[None] if array.ndim == dims else array
    if array.ndim != dims + 1 or not np.isfinite(array).all():
        raise NASError(
            f"an array of shape {array.shape} and type {array.dtype} in {path}",
            f"finite numbers with {dims} sides, or channels and {dims} sides",
            "correct the array",
        )
    return array


def _own_range(image: Image, percentiles: Sequence[float], name: str) -> tuple[np.ndarray, np.ndarray]:
    voxels = to_array(image).reshape(image.GetNumberOfComponentsPerPixel(), -1)
    low, high = np.percentile(voxels, percentiles, axis=1)
    if not (low < high).all():
        raise NASError(
            f"a channel with {low.min():g} at both percentiles {tuple(percentiles)} in {name}",
            "intensities that differ",
            "give data.window=[low,high], or leave out the volume",
        )
    return low, high
