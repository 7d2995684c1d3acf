"""Folders of labelled volumes in the form of the Medical Segmentation Decathlon, of nnU-Net or of KiTS.

Source of the form and of the ten data sets: Antonelli et al., Nature Communications 13 (2022) 4128, doi
10.1038/s41467-022-30695-9 (CC BY-SA 4.0).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Len

from nas.data.io.channels import read_volumes, voxel_digests
from nas.data.io.grid import on_grid, onto_image, planned_size
from nas.data.io.images import triple
from nas.data.io.label_values import read_label_map, require_classes
from nas.data.io.segmentation_folder import DESCRIPTION, LabelledCase, SegmentationFolder, read_folder
from nas.data.sample import Sample
from nas.data.source import CACHE, PATCH, Source
from nas.data.transforms.intensity import standardised, whole_hu
from nas.data.transforms.patches import Patches, require_patch
from nas.data.transforms.preparation import middle_box
from nas.errors import NASError
from nas.utils.annotations import OneOf, PathName, Several, Share, Sides, Spacings
from nas.utils.checked import checked

if TYPE_CHECKING:
    from SimpleITK import Image

NORMALISATIONS = ("auto", "volume", "training")
log = logging.getLogger(__name__)
STEP = 16  # voxels: the common shape is a multiple, so that a network of four halvings takes volumes whole


@checked("data")
class Msd(Source):
    """The labelled volumes of a folder; unlabelled test images are not used.

    The group is an entry's "patient" if it has this key, which the Decathlon's own files lack, else the part of the
    path that differs, such as the name of the file: the Decathlon does not state which of its volumes belong to one
    person.
    Volumes are turned to LPS (D to the head, H to the back, W to the left), images are resampled linearly and labels
    by the nearest voxel. The store has one shape, that of the largest volume rounded up to multiples of 16. Smaller
    volumes are padded equally on both sides, standardised values with 0 (the mean), raw values with the volume's
    minimum; predictions for the padding are not counted.

    Args:
        root: Folder with dataset.json, of the Decathlon or of nnU-Net (version 1 or 2), or with a folder for each case
            that holds imaging.nii.gz and segmentation.nii.gz (KiTS).
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size in mm, one number or (D, H, W). If None, each volume keeps its own.
        normalise: "volume" stores each channel of each volume standardised by itself. "training" stores raw values,
            which a training scales by the foreground of its own training set and no other patient
            (nas/data/transforms/intensity.py). "auto" is "training" if a modality is CT, whose units have an absolute
            meaning, else "volume".
        patch: Voxels (D, H, W) of a training sample. If None, whole volumes. Another patch needs no other store.
        patches_per_volume: Patches drawn from each volume per epoch.
        class_names: Names of the classes of a KiTS folder, which has no dataset.json, the background first. If None,
            background, kidney and tumour, as in KiTS19; KiTS21 and KiTS23 have a fourth class, the cyst.
        crop: Voxels (D, H, W), after `spacing_mm`, of the box in the middle of each volume that is stored; smaller
            volumes are padded to it. If None, whole volumes.
        foreground: With a patch, share of the patches around a voxel of a random class other than the background, such
            as 0.33 of nnU-Net; the others lie anywhere. If None, classes are equally often in the middle of a patch.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "msd"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its files count by content",
        "patch": PATCH,
        "patches_per_volume": PATCH,
        "foreground": PATCH,
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        spacing_mm: Spacings | None = None,
        normalise: Annotated[str, OneOf(*NORMALISATIONS)] = "auto",
        patch: Sides | None = None,
        patches_per_volume: Several = 1,
        class_names: Annotated[Sequence[str], Len(2)] | None = None,
        crop: Sides | None = None,
        foreground: Share | None = None,
    ) -> None:
        self.root, self.cache_dir, self.normalise = root, cache_dir, normalise
        self.class_names = None if class_names is None else tuple(map(str, class_names))
        self.spacing_mm = None if spacing_mm is None else triple(spacing_mm)
        self.patch, self.patches_per_volume = patch, patches_per_volume
        self.foreground = foreground
        require_patch(patch, foreground)
        self.patches = None if patch is None else Patches.of(patch, patches_per_volume, foreground)
        self.crop: tuple[int, ...] | None = None
        if crop is not None:
            self.crop = (crop,) * 3 if isinstance(crop, int) else tuple(crop)

    @cached_property
    def folder(self) -> SegmentationFolder:
        """The labelled cases of the folder and the names of classes and channels, see `read_folder`."""
        return read_folder(self.root, self.class_names)

    @cached_property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Names in the order of their numbers, the background first."""
        return self.folder.classes

    @cached_property
    def modalities(self) -> Sequence[str]:
        """Names of the channels."""
        return self.folder.modalities

    @cached_property
    def by_training(self) -> bool:  # type: ignore[override]
        """Whether values are scaled by the training set, see `normalise`."""
        return self.normalise == "training" or (self.normalise == "auto" and self._is_ct)

    @property
    def _is_ct(self) -> bool:
        return any(modality.upper() == "CT" for modality in self.modalities)

    @property
    def _in_hounsfield(self) -> bool:
        return self.by_training and self._is_ct and len(self.modalities) == 1

    @property
    def cases(self) -> Sequence[LabelledCase]:
        """The labelled cases."""
        return self.folder.cases

    def files(self) -> Mapping[str, Path]:
        """List dataset.json and the labelled volumes, by number."""
        volumes: dict[str, Path] = {}
        for number, case in enumerate(self.cases):
            single = len(case.images) == 1
            volumes |= {f"image {number}" + f".{c}" * (not single): path for c, path in enumerate(case.images)}
            volumes[f"label {number}"] = case.label
        return {**({DESCRIPTION: self.folder.description} if self.folder.description else {}), **volumes}

    def content(self) -> Mapping[str, Any]:
        """Return the digests of the files, and the names of cases and patients."""
        return {**super().content(), "cases": [[case.name, case.patient] for case in self.cases]}

    def provenance(self) -> Mapping[str, Any]:
        """Return the folder, and name, reference, licence and release of dataset.json."""
        return {"source": str(self.root), **self.folder.facts}

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "grid"; the statistics of the training set, if it uses them, are added by a training."""
        return {
            **super().preparation(),
            "how": "grid",
            "channels": self.modalities,
            "spacing_mm": self.spacing_mm,
            "normalise": "training" if self.by_training else "volume",
            "hounsfield": self._in_hounsfield,
            **({} if self.crop is None else {"crop": self.crop}),
        }

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        if self.crop is None:
            sizes = [planned_size(case.images[0], self.spacing_mm) for case in self.cases]
            shape_DHW = (-(-np.max(sizes, axis=0) // STEP) * STEP).tolist()
        else:
            shape_DHW = list(self.crop)
        labelled, lost = 0, dict[str, int]()
        for case in self.cases:
            volumes, label = self._channels(case), read_label_map(case.label)
            images = [image for image, _ in volumes]
            label = onto_image(label, images[0], case.label)
            mask_DHW, spacing_mm = on_grid(label, self.spacing_mm, labels=True)
            volume_CDHW = np.stack([on_grid(image, self.spacing_mm)[0] for image in images])
            mask_DHW = require_classes(mask_DHW, len(self.classes), case.label, *self._named)
            volume_CDHW = self._values(volume_CDHW, case.images[0])
            if self.crop is not None:
                box_DHW, whole = middle_box(mask_DHW.shape, self.crop), int(np.count_nonzero(mask_DHW))
                volume_CDHW, mask_DHW = volume_CDHW[(slice(None), *box_DHW)], mask_DHW[box_DHW]
                labelled += whole
                if beyond := whole - int(np.count_nonzero(mask_DHW)):
                    lost[case.name] = beyond
            image_digest, channels = voxel_digests(volumes)
            fill = volume_CDHW.min(axis=(1, 2, 3)) if self.by_training else np.zeros(len(volume_CDHW))
            depth, height, width = mask_DHW.shape
            yield Sample(
                name=case.name,
                volume_CDHW=np.stack([_padded(v, shape_DHW, f) for v, f in zip(volume_CDHW, fill, strict=True)]),
                label=0,
                group=case.patient,
                spacing_mm=spacing_mm,
                mask_DHW=_padded(mask_DHW, shape_DHW, 0),
                extent_DHW=(depth, height, width),
                content=self.digests.of_volumes(case.images),
                image=image_digest,
                channels=channels,
            )
        if lost:
            share, cases = sum(lost.values()) / labelled, f"{len(lost)} of {len(self.cases)} scans"
            log.info("data.crop=%s leaves out %.2f %% of the labelled voxels, in %s", self.crop, 100 * share, cases)

    def _values(self, volume_CDHW: np.ndarray, path: Path) -> np.ndarray:
        if not self.by_training:
            return standardised(volume_CDHW, str(path))
        return whole_hu(volume_CDHW) if self._in_hounsfield else volume_CDHW

    @property
    def _named(self) -> tuple[str, str]:
        """The names of the classes, and the remedy for a label without one, for messages."""
        listed = f"({', '.join(self.classes)})"
        if self.folder.description is None:
            return f"as data.class_names names them {listed}", "data.class_names=[background,...] with all classes"
        return f"as {DESCRIPTION} names the classes {listed}", "correct the file or labels"

    def _channels(self, case: LabelledCase) -> list[tuple[Image, Path]]:
        """Read the channels of a case, of one file or of one file each."""
        volumes = read_volumes(case.images)
        if len(volumes) != len(self.modalities):
            raise NASError(
                f"{len(volumes)} channels in {case.images[0]}",
                f"{len(self.modalities)}, as {DESCRIPTION} names modalities ({', '.join(self.modalities)})",
                "correct the file or modality",
            )
        names = ("the first channel", "another")
        others = [(onto_image(image, volumes[0][0], path, names, labels=False), path) for image, path in volumes[1:]]
        return [volumes[0], *others]


def _padded(volume_DHW: np.ndarray, shape_DHW: Sequence[int], fill: float) -> np.ndarray:
    before = [(whole - side) // 2 for whole, side in zip(shape_DHW, volume_DHW.shape, strict=True)]
    after = [whole - side - b for whole, side, b in zip(shape_DHW, volume_DHW.shape, before, strict=True)]
    return np.pad(volume_DHW, list(zip(before, after, strict=True)), constant_values=fill)
