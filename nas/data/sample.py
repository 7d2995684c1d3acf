"""One volume with its label, patient and geometry, and the content hash of a store of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.errors import NASError


@dataclass(frozen=True, slots=True)
class Sample:
    """One volume to be stored. A slice is a volume with D = 1.

    Attributes:
        name: Unique name in the data set.
        volume_CDHW: uint8, int16 or float32; every sample of a store has the same shape and type.
        label: The class; 0 for samples with masks or boxes.
        group: The patient; a split never puts one group on both sides.
        spacing_mm: (D, H, W) voxel size in mm, NaN if unknown.
        size_mm3: Volume of the object in mm^3, NaN if unknown.
        fold: The split given by the data set's authors ("train", "val", "test", or "0" to "9"), "" if there is none.
        mask_DHW: For segmentation, the class of every voxel.
        boxes_M7: For detection, low corner (D, H, W), high corner and class of each object. Corners are edges: voxel i
            reaches from i to i + 1.
        extent_DHW: Sides of the volume before it was padded, equally on both sides, to a common shape; with masks only.
        content: Digest of the source volume's files, "" if the source does not know them.
        value: The real number that a regression predicts; `label` is then 0.
        image: Digest of the source volume's voxels (`nas.data.io.channels.voxel_digest`), "" if the source does not
            know them.
        channels: Digests of single channels of the source volume, if it has several (`voxel_digests`).
        subgroups: Name of a column, such as "sex" -> value of the sample, by which results are split; "" if unknown.
            All samples of a store have the same columns.
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
    content: str = ""
    value: float | None = None
    image: str = ""
    channels: tuple[str, ...] = ()
    subgroups: Mapping[str, str] = field(default_factory=dict)


def checked_mask(sample: Sample, classes: int) -> np.ndarray:
    """Check the mask of a sample.

    Args:
        sample: A sample with a mask.
        classes: Number of classes.

    Returns:
        (D, H, W) uint8.

    Raises:
        NASError: If the mask has another shape than the volume, no whole numbers, or values without a class.
    """
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
    """Check the boxes of a sample.

    Args:
        sample: A sample with boxes.
        classes: Number of classes.

    Returns:
        (M, 7) float32.

    Raises:
        NASError: If a box is empty, not inside its volume, or has no class.
    """
    boxes = np.asarray(sample.boxes_M7, dtype=np.float32).reshape(-1, 7)
    low, high, number = boxes[:, :3], boxes[:, 3:6], boxes[:, 6]
    inside = (low >= 0) & (low < high) & (high <= sample.volume_CDHW.shape[1:])
    for box, valid in zip(boxes, inside.all(axis=1) & np.isin(number, range(classes)), strict=True):
        if not valid:
            raise NASError(
                f"the box {box.tolist()} of {sample.name}",
                f"low corner, high corner and class 0 to {classes - 1}, inside {list(sample.volume_CDHW.shape[1:])}",
                "correct the source",
            )
    return boxes


def content_digest(sample: Sample) -> str:
    """Hash the volume of a sample, without its name, patient or label.

    Args:
        sample: The sample.

    Returns:
        The SHA-256 of shape, type and voxels as 64 hexadecimal digits.
    """
    volume = np.ascontiguousarray(sample.volume_CDHW)
    return hashlib.sha256(repr((volume.shape, volume.dtype.str)).encode() + volume.tobytes()).hexdigest()


def new_digest(
    name: str, classes: Sequence[str], scale: float, offset: float, by_training: bool = False
) -> hashlib._Hash:
    """Begin the content hash of a store.

    Args:
        name: Name of the data set.
        classes: Class names in the order of their numbers.
        scale: As in `VolumeStore`.
        offset: As in `VolumeStore`.
        by_training: As in `VolumeStore`.

    Returns:
        The hash, to which `add_to` adds the samples.
    """
    # nothing is added for fields that older stores did not have, so that their hashes stay the same
    more = ["by_training"] if by_training else []
    return hashlib.sha256(json.dumps([str(name), list(classes), float(scale), float(offset), *more]).encode())


def add_to(sha256: hashlib._Hash, sample: Sample, volume: np.ndarray) -> None:
    """Add one sample to the content hash of a store.

    Args:
        sha256: The hash, changed in place.
        sample: The sample.
        volume: (C, D, H, W) as stored.
    """
    # plain types first: the text of NumPy's own types differs between its versions
    numbers = (*map(float, sample.spacing_mm), float(sample.size_mm3))
    sha256.update(repr((volume.shape, volume.dtype.str)).encode() + np.ascontiguousarray(volume).tobytes())
    if sample.mask_DHW is not None:
        sha256.update(np.ascontiguousarray(sample.mask_DHW, dtype=np.uint8).tobytes())
    if sample.boxes_M7 is not None:
        sha256.update(np.ascontiguousarray(sample.boxes_M7, dtype=np.float32).tobytes())
    if sample.extent_DHW is not None:
        sha256.update(repr(("extent", *map(int, sample.extent_DHW))).encode())
    if sample.value is not None:
        sha256.update(repr(("value", float(np.float32(sample.value)))).encode())
    if sample.subgroups:
        listed = sorted((str(name), str(value)) for name, value in sample.subgroups.items())
        sha256.update(repr(("subgroups", listed)).encode())
    sha256.update(repr((str(sample.name), int(sample.label), str(sample.group), numbers, str(sample.fold))).encode())
