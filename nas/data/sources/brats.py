"""Brain tumours in the form of the BraTS challenges, on one grid of the brain.

Sources: Menze et al., IEEE Trans. Med. Imaging 34 (2015), doi 10.1109/TMI.2014.2377694; preparation of the volumes as
for the network of Lachinov et al., BrainLes 2018 (arXiv 1810.04008).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from nas.data.io.brats_folder import ENDINGS, LABELS, Subject, find_subjects, read_images, read_label
from nas.data.io.grid import of_size, oriented
from nas.data.io.images import medical, triple
from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.transforms.patches import Patches
from nas.errors import NASError
from nas.utils.checked import OneOf, PathName, PositiveInt, Sides, SomeOf, checked

if TYPE_CHECKING:
    from SimpleITK import Image

MODALITIES = ("t1", "t2", "flair", "t1ce")  # the order in which the network of 2018 was trained
ORDERS = ("normalise_first", "resample_first")
CLIP = 5.0  # standard deviations
# Regions as the challenge scores them: unions of the store's classes.
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@dataclass(frozen=True)
class Seen:
    """A subject as a network sees it. volume_CDHW: float32. grid: an image on these voxels. image: the first modality
    as it was read. box: first voxel and size (x, y, z) of the brain in an image that is `oriented`."""

    volume_CDHW: np.ndarray
    grid: Image
    image: Image
    box: tuple[list[int], list[int]]


@checked("data")
class Brats(Source):
    """The subjects at or below `root`, each a folder with a NIfTI file a modality and one of labels 0, 1, 2, 4, which
    become the classes 0, 1, 2, 3.

    modalities: the channels in their order, out of t1, t1ce, t2 and flair; the store records it.
    Volumes are turned to LPS (D to the head, H to the back, W to the left), cropped to the box of all voxels that are
    not 0 in one of the modalities, and brought to size voxels (one number or D, H, W), images linearly and labels by
    the nearest voxel. Voxels are then not cubes: a store's spacing_mm says what they are.
    order: "normalise_first" brings each modality to mean 0 and deviation 1 over its voxels that are not 0, clips it at
    5 deviations and maps it to 0 .. 1, the background to 0; then it crops and resamples (the published code).
    "resample_first" crops, resamples, and then brings it to mean 0 and deviation 1 (the published description).
    patch, patches_per_volume: as in `Msd`.
    """

    name = "brats"
    classes = ("background", "necrosis", "oedema", "enhancing tumour")

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName,
        modalities: Annotated[Sequence[str], SomeOf(*ENDINGS)] = MODALITIES,
        size: Sides = 128,
        order: Annotated[str, OneOf(*ORDERS)] = "normalise_first",
        patch: Sides | None = None,
        patches_per_volume: PositiveInt = 1,
    ) -> None:
        self.root, self.cache_dir, self.modalities, self.order = root, cache_dir, tuple(modalities), order
        depth, height, width = (int(side) for side in triple(size))
        self.size = depth, height, width
        self.patch, self.patches_per_volume = patch, patches_per_volume
        self.patches = None if patch is None else Patches.of(patch, patches_per_volume)

    @cached_property
    def subjects(self) -> list[Subject]:
        """With labels."""
        return find_subjects(self.root, self.modalities)

    def content_key(self) -> str:
        files = [path for subject in self.subjects for path in (*subject.images, subject.label) if path is not None]
        return json.dumps([(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files])

    def provenance(self) -> Mapping[str, Any]:
        return {"source": str(self.root), "modalities": list(self.modalities), "labels": list(LABELS)}

    def samples(self) -> Iterator[Sample]:
        for subject in self.subjects:
            assert subject.label is not None  # they were asked for
            seen = self.seen(subject)
            yield Sample(
                name=subject.name,
                volume_CDHW=seen.volume_CDHW,
                label=0,
                group=subject.name,
                spacing_mm=seen.grid.GetSpacing()[::-1],
                mask_DHW=self._mask(read_label(subject.label, seen.image), seen),
                extent_DHW=self.size,
            )

    def seen(self, subject: Subject) -> Seen:
        """Reads the modalities. Raises NASError where they do not fit each other, or one has one value only."""
        sitk = medical("SimpleITK")
        images = read_images(subject, self.modalities)
        whole = [oriented(image) for image in images]
        box = _box_of([sitk.GetArrayViewFromImage(image) for image in whole], subject)
        parts = [_cut(image, box) for image in whole]
        # cut already: what lies outside of the box is 0, and no part of a mean or deviation
        volume_CDHW = np.stack([sitk.GetArrayFromImage(part) for part in parts])
        if self.order == "normalise_first":
            volume_CDHW = _unit_range(_standardised(volume_CDHW, subject), volume_CDHW != 0)
        grids = []
        for volume_DHW in volume_CDHW:
            part = sitk.GetImageFromArray(volume_DHW)
            part.CopyInformation(parts[0])
            grids.append(of_size(part, self.size))
        volume_CDHW = np.stack([sitk.GetArrayFromImage(grid) for grid in grids])
        if self.order == "resample_first":
            volume_CDHW = _standardised(volume_CDHW, subject)
        return Seen(volume_CDHW.astype(np.float32), grids[0], images[0], box)

    def _mask(self, label: Image, seen: Seen) -> np.ndarray:
        part = of_size(_cut(oriented(label, labels=True), seen.box), self.size, labels=True)
        return np.searchsorted(LABELS, medical("SimpleITK").GetArrayFromImage(part)).astype(np.uint8)


def _cut(image: Image, box: tuple[list[int], list[int]]) -> Image:
    low, size = box
    return medical("SimpleITK").RegionOfInterest(image, size, low)


def _box_of(volumes_DHW: Sequence[np.ndarray], subject: Subject) -> tuple[list[int], list[int]]:
    """First voxel and size (x, y, z) of what is not 0 in one of the volumes, its last voxel included."""
    there_DHW = np.any([volume_DHW != 0 for volume_DHW in volumes_DHW], axis=0)
    low, size = [], []
    for others in ((0, 1), (0, 2), (1, 2)):
        found = np.flatnonzero(there_DHW.any(axis=others))
        if not len(found):
            raise NASError(f"nothing but 0 in the images of {subject.name}", "a brain", "leave the subject out")
        low.append(int(found[0]))
        size.append(int(found[-1] - found[0] + 1))
    return low, size


def _standardised(volume_CDHW: np.ndarray, subject: Subject) -> np.ndarray:
    """Each channel less its mean, over its deviation; both over its voxels that are not 0, and 0 stays 0."""
    out_CDHW = np.zeros(volume_CDHW.shape, dtype=np.float64)
    for out_DHW, channel_DHW, path in zip(out_CDHW, volume_CDHW.astype(np.float64), subject.images, strict=True):
        brain = channel_DHW != 0
        values = channel_DHW[brain]
        if not len(values) or not values.std() > 0:
            raise NASError(f"one value only in {path}", "intensities that differ", "leave the subject out")
        out_DHW[brain] = (values - values.mean()) / values.std()
    return out_CDHW


def _unit_range(volume_CDHW: np.ndarray, brain_CDHW: np.ndarray) -> np.ndarray:
    """[-CLIP, CLIP] to [0, 1], what lies beyond to its ends, the background to 0."""
    values_CDHW = (volume_CDHW.clip(-CLIP, CLIP) + CLIP) / (2 * CLIP)
    return np.where(brain_CDHW, values_CDHW, 0.0).astype(np.float32)
