"""From a scan to the input of the network and back: voxel size, crop and intensities as in the training.

The arrays are (C, D, H, W) with D towards the head, H towards the back and W towards the left, as MONAI's
`Orientationd(axcodes="SPL")` gives them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation

PLACE = "place"  # entry of the meta data: where the input lies in the scan
MOST_ERROR, MOST_WIDTH = 0.01, 32  # of ITK's discrete Gaussian
STEPS = 2048  # of the integral for Bessel functions
PERCENTILES = (0.5, 99.5)
AXES = (("L", "R"), ("P", "A"), ("I", "S"))  # names of the two directions of each axis of the world


class ToNetworkd(MapTransform):
    """Resample to the voxel size of the training, cut the box in the middle, and normalise intensities.

    Args:
        keys: Keys of oriented images.
        spacing_mm: Voxel size (D, H, W). If None, that of the scan.
        crop: Voxels of the box in the middle. If None, all.
        normalise: "volume": by the volume itself; "training": by `intensities`.
        hounsfield: Whether values are rounded to whole HU first.
        intensities: low_C, high_C, mean_C and std_C of each network, whose inputs are stacked along the channels; one
            entry if all networks have the same.
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        spacing_mm: Sequence[float] | None = None,
        crop: Sequence[int] | None = None,
        normalise: str = "volume",
        hounsfield: bool = False,
        intensities: Sequence[Mapping[str, Sequence[float]]] = (),
    ) -> None:
        super().__init__(keys)
        self.spacing_mm, self.crop, self.normalise = spacing_mm, crop, normalise
        self.hounsfield, self.intensities = hounsfield, intensities

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Prepare the images of a dictionary."""
        found = dict(data)
        for key in self.key_iterator(found):
            found[key] = self._prepared(found[key])
        return found

    def _prepared(self, image: MetaTensor) -> MetaTensor:
        raw_CDHW = np.asarray(image.cpu().numpy(), dtype=np.float32)
        own_mm = np.linalg.norm(np.asarray(image.affine.cpu())[:3, :3], axis=0)
        new_mm = own_mm if self.spacing_mm is None else np.array(self.spacing_mm, dtype=float)
        sides = raw_CDHW.shape[1:]
        grid_CDHW = on_grid(raw_CDHW, own_mm, new_mm)
        box = _middle_box(grid_CDHW.shape[1:], self.crop or grid_CDHW.shape[1:])
        x_CDHW = self._normalised(grid_CDHW, box)
        meta = {**_meta_of(image), PLACE: {"sides": sides, "own_mm": own_mm, "new_mm": new_mm, "box": box}}
        meta[PLACE]["grid"] = grid_CDHW.shape[1:]
        return MetaTensor(torch.from_numpy(np.ascontiguousarray(x_CDHW)), affine=image.affine, meta=meta)

    def _normalised(self, grid_CDHW: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        part = (slice(None), *box)
        if self.normalise == "volume":
            return _standardised(grid_CDHW)[part]
        stored_CDHW = grid_CDHW[part]
        if self.hounsfield:
            stored_CDHW = np.rint(stored_CDHW).clip(-32768, 32767).astype(np.float32)
        return np.concatenate([_by_training(stored_CDHW, intensity) for intensity in self.intensities])


class OntoScand(MapTransform):
    """Bring class probabilities back onto the voxels of the scan, as the most probable class.

    Args:
        keys: Keys of probabilities (K, D, H, W).
        ref: Key of the image of `ToNetworkd`.
    """

    def __init__(self, keys: Hashable | Sequence[Hashable], ref: Hashable) -> None:
        super().__init__(keys)
        self.ref = ref

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turn the probabilities of a dictionary into label maps."""
        found = dict(data)
        image = found[self.ref]
        for key in self.key_iterator(found):
            label_DHW = _labels_on_scan(np.asarray(found[key].cpu().numpy(), dtype=np.float32), image.meta[PLACE])
            label = MetaTensor(torch.from_numpy(label_DHW[None]), affine=image.affine, meta=_meta_of(image))
            codes = _orientation_of(np.asarray(image.meta["original_affine"]))
            found[key] = Orientation(axcodes=codes, labels=AXES)(label)
        return found


def _meta_of(image: MetaTensor) -> dict[str, Any]:
    """Meta data without the affine, which a tensor is given separately."""
    return {name: value for name, value in image.meta.items() if name != "affine"}


def _orientation_of(affine: np.ndarray) -> str:
    """Return the directions of the axes of an affine, such as "RAS"."""
    return "".join(nibabel.orientations.aff2axcodes(affine))


def on_grid(volume_CDHW: np.ndarray, own_mm: np.ndarray, new_mm: np.ndarray) -> np.ndarray:
    """Resample to a voxel size on a grid in the middle of the volume, smoothed first along axes that get coarser.

    Args:
        volume_CDHW: Intensities (C, D, H, W).
        own_mm: Voxel size (3,) of the volume in mm.
        new_mm: Voxel size (3,) of the result in mm.

    Returns:
        (C, D', H', W') float32; the volume itself if the sizes are the same.
    """
    if np.allclose(new_mm, own_mm, rtol=1e-4):
        return volume_CDHW
    sides = volume_CDHW.shape[1:]
    counts = [max(1, round(n * old / new)) for n, old, new in zip(sides, own_mm, new_mm, strict=True)]
    for axis, (old, new) in enumerate(zip(own_mm, new_mm, strict=True), start=1):
        if new > old:
            volume_CDHW = _smoothed(volume_CDHW, ((new - old) / 2 / old) ** 2, axis)
    for axis, (n, count, old, new) in enumerate(zip(sides, counts, own_mm, new_mm, strict=True), start=1):
        place = (np.arange(count) - (count - 1) / 2) * new / old + (n - 1) / 2
        volume_CDHW = _interpolated(volume_CDHW, place, axis)
    return volume_CDHW.astype(np.float32)


def _labels_on_scan(prob_KDHW: np.ndarray, place: Mapping[str, Any]) -> np.ndarray:
    """Interpolate probabilities of a box of the grid onto the voxels of the oriented scan, and take the largest."""
    whole = np.zeros((len(prob_KDHW), *place["grid"]), dtype=np.float32)
    whole[0] = 1
    whole[(slice(None), *place["box"])] = prob_KDHW
    for axis, (n, count, old, new) in enumerate(
        zip(place["sides"], place["grid"], place["own_mm"], place["new_mm"], strict=True), start=1
    ):
        where = (np.arange(n) - (n - 1) / 2) * old / new + (count - 1) / 2
        whole = _interpolated(whole, where, axis)
    return whole.argmax(axis=0).astype(np.uint8)


def _middle_box(sides: Sequence[int], crop: Sequence[int]) -> tuple[slice, ...]:
    """Return the box in the middle of a volume, as large as the volume allows."""
    kept = [min(side, own) for side, own in zip(sides, crop, strict=True)]
    return tuple(slice((side - own) // 2, (side - own) // 2 + own) for side, own in zip(sides, kept, strict=True))


def _interpolated(volume: np.ndarray, place: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate linearly along an axis at places in voxels; the end voxels are repeated beyond the ends."""
    count = volume.shape[axis]
    place = place.clip(0, count - 1)
    low = np.floor(place).astype(int).clip(0, max(0, count - 2))
    share = (place - low).reshape([-1 if one == axis else 1 for one in range(volume.ndim)])
    high = np.minimum(low + 1, count - 1)
    return volume.take(low, axis) * (1 - share) + volume.take(high, axis) * share


def _smoothed(volume: np.ndarray, variance: float, axis: int) -> np.ndarray:
    """Smooth along an axis with ITK's discrete Gaussian; the first and last voxels are repeated beyond the ends."""
    weights = _discrete_gaussian(variance)
    reach = len(weights) - 1
    pads = [(reach, reach) if one == axis else (0, 0) for one in range(volume.ndim)]
    wide = np.pad(volume.astype(np.float64), pads, mode="edge")
    n = volume.shape[axis]
    total = np.zeros(volume.shape)
    for shift in range(-reach, reach + 1):
        total += weights[abs(shift)] * wide.take(np.arange(n) + reach + shift, axis)
    return total.astype(np.float32)


def _discrete_gaussian(variance: float) -> np.ndarray:
    """Return one half of ITK's discrete Gaussian, exp(-t) I_n(t), cut at an error of 0.01 and normalised.

    Source: Lindeberg, IEEE TPAMI 12:234, 1990; `itk::GaussianOperator`.
    """
    angle = (np.arange(STEPS) + 0.5) * np.pi / STEPS
    decay = np.exp(variance * (np.cos(angle) - 1))
    weights = [float((decay * np.cos(n * angle)).mean()) for n in (0, 1)]
    total = weights[0] + 2 * weights[1]
    while total < 1 - MOST_ERROR and len(weights) <= MOST_WIDTH:
        weights.append(float((decay * np.cos(len(weights) * angle)).mean()))
        total += 2 * weights[-1]
    return np.array(weights) / total


def _standardised(volume_CDHW: np.ndarray) -> np.ndarray:
    """Clip each channel to its percentiles 0.5 and 99.5 and standardise it, by its voxels that are not 0."""
    out_CDHW = np.empty(volume_CDHW.shape, dtype=np.float32)
    for number, channel in enumerate(volume_CDHW.astype(np.float64)):
        values = channel[channel != 0]
        low, high = np.percentile(values, PERCENTILES)
        out_CDHW[number] = (channel.clip(low, high) - values.clip(low, high).mean()) / values.clip(low, high).std()
    return out_CDHW


def _by_training(x_CDHW: np.ndarray, intensity: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Clip and standardise by statistics of the training set, with one number per channel."""
    low, high, mean, std = (
        np.array(intensity[name], dtype=np.float32).reshape(-1, 1, 1, 1)
        for name in ("low_C", "high_C", "mean_C", "std_C")
    )
    return (x_CDHW.astype(np.float32).clip(low, high) - mean) / std
