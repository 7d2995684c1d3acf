"""Brain tumours in the form of the BraTS challenges, on one grid of the brain.

Sources: Menze et al., IEEE Trans. Med. Imaging 34 (2015), doi 10.1109/TMI.2014.2377694; preparation of the volumes as
for the network of Lachinov et al., BrainLes 2018 (arXiv 1810.04008).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from nas.data.io.brats_folder import (
    CONVENTIONS,
    ENDINGS,
    LABEL,
    Convention,
    Subject,
    convention_of,
    find_subjects,
    read_images,
    read_label,
)
from nas.data.io.channels import voxel_digests
from nas.data.io.grid import of_size, oriented
from nas.data.io.images import triple
from nas.data.sample import Sample
from nas.data.source import CACHE, PATCH, Source
from nas.data.store import VolumeStore
from nas.data.transforms.patches import Patches, require_patch
from nas.errors import NASError
from nas.utils.annotations import OneOf, PathName, Several, Share, Sides, SomeOf
from nas.utils.checked import checked
from nas.utils.hashing import digest
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

MODALITIES = ("t1", "t2", "flair", "t1ce")  # the order in which the network of 2018 was trained
ORDERS = ("normalise_first", "resample_first")
CLIP = 5.0  # standard deviations
# Regions as the challenge scores them: unions of the store's classes.
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@dataclass(frozen=True)
class Seen:
    """A subject after preparation.

    Attributes:
        volume_CDHW: float32, the modalities as channels.
        grid: An image on the voxels of `volume_CDHW`.
        image: The first modality on the grid of its file.
        box: First voxel and size (x, y, z) of the brain in an image that is `oriented`.
        digest: Digest of the voxels of the modalities.
        channels: Digests of the voxels of single modalities.
    """

    volume_CDHW: np.ndarray
    grid: Image
    image: Image
    box: tuple[list[int], list[int]]
    digest: str
    channels: tuple[str, ...]


@checked("data")
class Brats(Source):
    """Subjects of a BraTS challenge: folders with one NIfTI file per modality and one of labels.

    The labels become the classes 0, 1, 2, 3: background, necrosis, oedema, enhancing tumour; of brats2024 also 4, the
    resection cavity. Volumes are turned to LPS (D to the head, H to the back, W to the left),
    cropped to the box of all voxels that are not 0 in one of the modalities, and resampled to `size` voxels, images
    linearly and labels by the nearest voxel. Voxels are then not cubes; a store's spacing_mm gives their sides.

    Args:
        root: Folder that holds the subjects' folders, at any depth.
        cache_dir: Folder of the prepared stores.
        modalities: The channels in their order, out of t1, t1ce, t2 and flair.
        size: Voxels of the brain's box, one number or (D, H, W).
        order: "normalise_first" normalises each modality to mean 0 and deviation 1 over its voxels that are not 0,
            clips it at 5 deviations and maps it to [0, 1], the background to 0; then it crops and resamples (the
            published code). "resample_first" crops, resamples, and then normalises to mean 0 and deviation 1 (the
            published description).
        patch: Voxels (D, H, W) of a training sample. If None, whole volumes. Another patch needs no other store.
        patches_per_volume: Patches drawn from each volume per epoch; without a patch, how often an epoch sees a
            subject.
        labels: Numbers of the classes in the files. "brats2018": 1 necrosis, 2 oedema, 4 enhancing tumour (2012 to
            2021). "brats2023": 3 enhancing tumour. "brats2024": 3 enhancing tumour, 4 resection cavity. If None, by the
            labels and the names of the files; a subject that fits no convention or several is refused.
        foreground: With a patch, share of the patches around a voxel of a random class other than the background, such
            as 0.33 of nnU-Net; the others lie anywhere. If None, classes are equally often in the middle of a patch.

    Raises:
        NASError: If a modality is unknown or given twice, or an argument is out of range.
    """

    name = "brats"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its files count by content and subject",
        "patch": PATCH,
        "patches_per_volume": PATCH,
        "foreground": PATCH,
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        modalities: Annotated[Sequence[str], SomeOf(*ENDINGS)] = MODALITIES,
        size: Sides = 128,
        order: Annotated[str, OneOf(*ORDERS)] = "normalise_first",
        patch: Sides | None = None,
        patches_per_volume: Several = 1,
        labels: Annotated[str, OneOf(*CONVENTIONS)] | None = None,
        foreground: Share | None = None,
    ) -> None:
        self.labels = labels
        self.root, self.cache_dir, self.modalities, self.order = root, cache_dir, tuple(modalities), order
        depth, height, width = (int(side) for side in triple(size))
        self.size = depth, height, width
        self.patch, self.patches_per_volume = patch, patches_per_volume
        self.foreground = foreground
        require_patch(patch, foreground)
        whole, size = patch is None and patches_per_volume == 1, self.size if patch is None else patch
        self.patches = None if whole else Patches.of(size, patches_per_volume, foreground)

    @cached_property
    def subjects(self) -> list[Subject]:
        """The subjects with labels, in the order of their paths."""
        return find_subjects(self.root, self.modalities)

    @cached_property
    def convention(self) -> Convention:
        """Numbers and names of the classes in the files; reads the labels if none is named."""
        return CONVENTIONS[self.labels] if self.labels else convention_of(self.subjects)

    @property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Class names in the order of their numbers."""
        return self.convention.classes

    def files(self) -> Mapping[str, Path]:
        """List the modalities and labels of every subject, by subject."""
        return {
            f"{subject.name}/{kind}": path
            for subject in self.subjects
            for kind, path in zip((*self.modalities, LABEL), (*subject.images, subject.label), strict=True)
            if path is not None
        }

    def provenance(self) -> Mapping[str, Any]:
        """Return the folder, the modalities and the labels of the files."""
        convention = self.convention
        facts = {"labels": list(convention.labels), "convention": convention.name}
        return {"source": str(self.root), "modalities": list(self.modalities), **facts}

    def preparation(self) -> Mapping[str, Any]:
        """Arguments by which a new subject becomes an input, see `seen`."""
        here = {"modalities": list(self.modalities), "size": list(self.size), "order": self.order}
        return {**super().preparation(), **here, "channels": list(self.modalities)}

    def prepare(self) -> VolumeStore:
        """Open or make the prepared store, see `Source.prepare`."""
        store = super().prepare()
        store.preparation = {**store.preparation, "labels": store.provenance["convention"]}  # read once, with the files
        return store

    def samples(self) -> Iterator[Sample]:
        """Read every subject, see `Source.samples`."""
        for subject in self.subjects:
            assert subject.label is not None  # `subjects` has labels
            seen = self.seen(subject)
            yield Sample(
                name=subject.name,
                volume_CDHW=seen.volume_CDHW,
                label=0,
                group=subject.name,
                spacing_mm=seen.grid.GetSpacing()[::-1],
                mask_DHW=self._mask(read_label(subject.label, seen.image, self.convention), seen),
                extent_DHW=self.size,
                content=digest([self.digests.of_volume(path) for path in subject.images]),
                image=seen.digest,
                channels=seen.channels,
            )

    def seen(self, subject: Subject) -> Seen:
        """Read and prepare the modalities of a subject.

        Args:
            subject: A subject with the modalities of this source.

        Returns:
            The volume with its geometry.

        Raises:
            NASError: If the modalities differ in their grids, or one has a single value only.
        """
        sitk = medical("SimpleITK")
        images = read_images(subject, self.modalities)
        voxels = voxel_digests(list(zip(images, subject.images, strict=True)))
        whole = [oriented(image) for image in images]
        box = _box_of([sitk.GetArrayViewFromImage(image) for image in whole], subject)
        cropped = [_cut(image, box) for image in whole]
        # cropped first: voxels outside of the box are 0 and do not enter mean or deviation
        volume_CDHW = np.stack([sitk.GetArrayFromImage(image) for image in cropped])
        if self.order == "normalise_first":
            volume_CDHW = _unit_range(_standardised(volume_CDHW, subject), volume_CDHW != 0)
        grids = []
        for volume_DHW in volume_CDHW:
            channel = sitk.GetImageFromArray(volume_DHW)
            channel.CopyInformation(cropped[0])
            grids.append(of_size(channel, self.size))
        volume_CDHW = np.stack([sitk.GetArrayFromImage(grid) for grid in grids])
        if self.order == "resample_first":
            volume_CDHW = _standardised(volume_CDHW, subject)
        return Seen(volume_CDHW.astype(np.float32), grids[0], images[0], box, *voxels)

    def _mask(self, label: Image, seen: Seen) -> np.ndarray:
        mask = of_size(_cut(oriented(label, labels=True), seen.box), self.size, labels=True)
        return medical("SimpleITK").GetArrayFromImage(mask).astype(np.uint8)


def _cut(image: Image, box: tuple[list[int], list[int]]) -> Image:
    low, size = box
    return medical("SimpleITK").RegionOfInterest(image, size, low)


def _box_of(volumes_DHW: Sequence[np.ndarray], subject: Subject) -> tuple[list[int], list[int]]:
    """Return first voxel and size (x, y, z) of the box of all voxels that are not 0 in one of the volumes."""
    brain_DHW = np.any([volume_DHW != 0 for volume_DHW in volumes_DHW], axis=0)
    low, size = [], []
    for others in ((0, 1), (0, 2), (1, 2)):
        planes = np.flatnonzero(brain_DHW.any(axis=others))
        if not len(planes):
            raise NASError(f"nothing but 0 in the images of {subject.name}", "a brain", "leave the subject out")
        low.append(int(planes[0]))
        size.append(int(planes[-1] - planes[0] + 1))
    return low, size


def _standardised(volume_CDHW: np.ndarray, subject: Subject) -> np.ndarray:
    """Subtract each channel's mean and divide by its deviation, both over voxels that are not 0; 0 stays 0."""
    out_CDHW = np.zeros(volume_CDHW.shape, dtype=np.float64)
    for out_DHW, channel_DHW, path in zip(out_CDHW, volume_CDHW.astype(np.float64), subject.images, strict=True):
        brain = channel_DHW != 0
        values = channel_DHW[brain]
        if not len(values) or not values.std() > 0:
            raise NASError(f"one value only in {path}", "intensities that differ", "leave the subject out")
        out_DHW[brain] = (values - values.mean()) / values.std()
    return out_CDHW


def _unit_range(volume_CDHW: np.ndarray, brain_CDHW: np.ndarray) -> np.ndarray:
    """Map [-CLIP, CLIP] to [0, 1], clipping values beyond it, and the background to 0."""
    values_CDHW = (volume_CDHW.clip(-CLIP, CLIP) + CLIP) / (2 * CLIP)
    return np.where(brain_CDHW, values_CDHW, 0.0).astype(np.float32)
