"""One volume with what is known of it, and the hash of many: what a store holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import NASError


@dataclass(frozen=True, slots=True)
class Sample:
    """One volume on its way into a store.

    volume_CDHW: uint8, int16 or float32; every sample of a store has the same shape and type.
    group: the patient; no split ever puts one group on both sides.
    spacing_mm: (D, H, W) voxel size, NaN where unknown. size_mm3: volume of the object, NaN where unknown.
    fold: the split given by the data set's authors ("train", "val", "test", or "0".."9"), "" where there is none.
    mask_DHW: for segmentation, the class of every voxel. boxes_M7: for detection, the objects: low corner (D, H, W),
    high corner, class; corners are edges, voxel i reaches from i to i + 1. With either `label` is 0, without it is the
    class.
    value: for a task that predicts a real number, that number; `label` is then 0.
    extent_DHW: voxels of the real volume where it was padded, on both sides alike, to the shape of all; masks only.
    A slice is a volume with D = 1.
    """

    name: str
    volume_CDHW: np.ndarray
    label: int
    group: str
    spacing_mm: tuple[float, float, float] = (float("nan"),) * 3
    size_mm3: float = float("nan")
    fold: str = ""
    mask_DHW: np.ndarray | None = None
    boxes_M7: np.ndarray | None = None
    extent_DHW: tuple[int, int, int] | None = None
    value: float | None = None


def checked_mask(sample: Sample, classes: int) -> np.ndarray:
    """The mask as (D, H, W) uint8. Raises NASError for another shape than the volume's, and for values of no class."""
    mask = np.asarray(sample.mask_DHW)
    if mask.shape != sample.volume_CDHW.shape[1:] or mask.dtype.kind not in "bui":
        raise NASError(
            f"a mask of shape {mask.shape} and type {mask.dtype} for {sample.name}",
            f"whole numbers of shape {sample.volume_CDHW.shape[1:]}, as its volume",
            "resample volume and mask to one grid, the mask by nearest neighbour",
        )
    if mask.min() < 0 or mask.max() >= classes:
        raise NASError(
            f"the values {mask.min()} to {mask.max()} in the mask of {sample.name}",
            f"classes 0 to {classes - 1}",
            "name every class of the masks, the background first",
        )
    return mask.astype(np.uint8)


def checked_boxes(sample: Sample, classes: int) -> np.ndarray:
    """The boxes as (M, 7) float32. Raises NASError for one that is empty, not inside its volume, or of no class."""
    boxes = np.asarray(sample.boxes_M7, dtype=np.float32).reshape(-1, 7)
    low, high, number = boxes[:, :3], boxes[:, 3:6], boxes[:, 6]
    inside = (low >= 0) & (low < high) & (high <= sample.volume_CDHW.shape[1:])
    for box, holds in zip(boxes, inside.all(axis=1) & np.isin(number, range(classes)), strict=True):
        if not holds:
            raise NASError(
                f"the box {box.tolist()} of {sample.name}",
                f"low corner, high corner and class 0 to {classes - 1}, inside {list(sample.volume_CDHW.shape[1:])}",
                "mend the source",
            )
    return boxes


def new_digest(
    name: str, classes: Sequence[str], scale: float, offset: float, by_training: bool = False
) -> hashlib._Hash:
    """The hash of a store before its first sample."""
    # nothing is added for what older stores did not have: they keep their hashes
    more = ["by_training"] if by_training else []
    return hashlib.sha256(json.dumps([str(name), list(classes), float(scale), float(offset), *more]).encode())


def add_to(digest: hashlib._Hash, sample: Sample, volume: np.ndarray) -> None:
    """Adds one sample with its stored volume (C, D, H, W); plain types first, as NumPy's own print differently."""
    numbers = (*map(float, sample.spacing_mm), float(sample.size_mm3))
    digest.update(repr((volume.shape, volume.dtype.str)).encode() + np.ascontiguousarray(volume).tobytes())
    if sample.mask_DHW is not None:  # nothing is added without one: older stores keep their hashes
        digest.update(np.ascontiguousarray(sample.mask_DHW, dtype=np.uint8).tobytes())
    if sample.boxes_M7 is not None:
        digest.update(np.ascontiguousarray(sample.boxes_M7, dtype=np.float32).tobytes())
    if sample.extent_DHW is not None:
        digest.update(repr(("extent", *map(int, sample.extent_DHW))).encode())
    if sample.value is not None:
        digest.update(repr(("value", float(np.float32(sample.value)))).encode())
    digest.update(repr((str(sample.name), int(sample.label), str(sample.group), numbers, str(sample.fold))).encode())
