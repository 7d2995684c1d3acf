"""Any folder in the form of the Medical Segmentation Decathlon: dataset.json beside NIfTI images and labels.

Source of the form and of the ten data sets: Antonelli et al., Nature Communications 13 (2022) 4128, doi
10.1038/s41467-022-30695-9 (CC BY-SA 4.0).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from nas.data.io.files import existing_folder, split_name
from nas.data.io.grid import on_grid, onto_image, planned_size
from nas.data.io.images import read_channels, triple
from nas.data.sample import Sample
from nas.data.source import CACHE, PATCH, Source
from nas.data.transforms.intensity import standardised, whole_hu
from nas.data.transforms.patches import Patches
from nas.errors import NASError
from nas.utils.annotations import OneOf, PathName, Several, Sides, Spacings
from nas.utils.checked import checked
from nas.utils.files import read_json

NEEDED = ("labels", "modality", "training")
NORMALISATIONS = ("auto", "volume", "training")
STEP = 16  # voxels: the common shape is a multiple, so that a network of four halvings takes volumes whole


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the training list.

    Args:
        name: Name of the case.
        image: File of the image.
        label: File of the mask.
        patient: Patient of the case.
    """

    name: str
    image: Path
    label: Path
    patient: str


@checked("data")
class Msd(Source):
    """The labelled volumes of a folder with dataset.json; its unlabelled test images are not used.

    The group is an entry's "patient" if it has this key, which the Decathlon's own files lack, else the file: the
    Decathlon does not state which of its volumes belong to one person.
    Volumes are turned to LPS (D to the head, H to the back, W to the left), images are resampled linearly and labels
    by the nearest voxel. The store has one shape, that of the largest volume rounded up to multiples of 16. Smaller
    volumes are padded equally on both sides, standardised values with 0 (the mean), raw values with the volume's
    minimum; predictions for the padding are not counted.

    Args:
        root: Folder with dataset.json.
        cache_dir: Folder of the prepared stores.
        spacing_mm: Voxel size in mm, one number or (D, H, W). If None, each volume keeps its own.
        normalise: "volume" stores each channel of each volume standardised by itself. "training" stores raw values,
            which a training scales by the foreground of its own training set and no other patient
            (nas/data/transforms/intensity.py). "auto" is "training" if a modality is CT, whose units have an absolute
            meaning, else "volume".
        patch: Voxels (D, H, W) of a training sample. If None, whole volumes. Another patch needs no other store.
        patches_per_volume: Patches drawn from each volume per epoch.

    Raises:
        NASError: If an argument is out of range.
    """

    name = "msd"
    UNIDENTIFYING: ClassVar[Mapping[str, str]] = {
        **Source.UNIDENTIFYING,
        "root": "its files count by content",
        "patch": PATCH,
        "patches_per_volume": PATCH,
    }

    def __init__(
        self,
        root: PathName | None,
        cache_dir: PathName = CACHE,
        spacing_mm: Spacings | None = None,
        normalise: Annotated[str, OneOf(*NORMALISATIONS)] = "auto",
        patch: Sides | None = None,
        patches_per_volume: Several = 1,
    ) -> None:
        self.root, self.cache_dir, self.normalise = root, cache_dir, normalise
        self.spacing_mm = None if spacing_mm is None else triple(spacing_mm)
        self.patch, self.patches_per_volume = patch, patches_per_volume
        self.patches = None if patch is None else Patches.of(patch, patches_per_volume)

    @cached_property
    def _description(self) -> Mapping[str, Any]:
        expected = "a folder with dataset.json, imagesTr and labelsTr"
        path = existing_folder(self.root, expected, "/path/to/Task04") / "dataset.json"
        try:
            description = read_json(path)
        except FileNotFoundError as error:
            raise NASError(
                f"no file {path}", "a Decathlon folder with dataset.json", "set data.root to such a folder"
            ) from error
        except (OSError, ValueError) as error:
            raise NASError(f"{path}, which cannot be read ({error})", "JSON", "copy the file again") from error
        missing = [key for key in NEEDED if not isinstance(description, dict) or not description.get(key)]
        if missing:
            raise NASError(
                f"{path} without {', '.join(missing)}", f"the keys {', '.join(NEEDED)}", "add them to the file"
            )
        return description

    @cached_property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Names in the order of their numbers, the background first."""
        return _in_order(self._description["labels"], "labels", least=2)

    @cached_property
    def modalities(self) -> Sequence[str]:
        """Names of the channels."""
        return _in_order(self._description["modality"], "modality", least=1)

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

    @cached_property
    def cases(self) -> list[Case]:
        """The training list.

        Raises:
            NASError: If dataset.json is malformed, or one of its files is missing or named twice.
        """
        entries = self._description["training"]
        if not isinstance(entries, list) or not all(
            isinstance(e, dict) and {"image", "label"} <= set(e) for e in entries
        ):
            raise NASError(
                f"a training list without image and label in {self.root}/dataset.json",
                'entries {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}',
                "correct the list",
            )
        cases = [self._case(entry) for entry in entries]
        if twice := [path for path, n in Counter(case.image for case in cases).items() if n > 1]:
            raise NASError(f"{twice[0]} twice in dataset.json", "each volume once", "remove the second entry")
        return cases

    def _case(self, entry: Mapping[str, Any]) -> Case:
        image, label = (Path(str(self.root)) / str(entry[key]) for key in ("image", "label"))
        for path in (image, label):
            if not path.is_file():
                raise NASError(
                    f"no file {path} (named in dataset.json)", "every volume of the list", "copy the file again"
                )
        name = split_name(image)[0]
        return Case(name, image, label, str(entry.get("patient", name)))

    def files(self) -> Mapping[str, Path]:
        """List dataset.json and the volumes of its training list, by number."""
        volumes = {
            f"{kind} {number}": path
            for number, case in enumerate(self.cases)
            for kind, path in (("image", case.image), ("label", case.label))
        }
        return {"dataset.json": Path(str(self.root)) / "dataset.json", **volumes}

    def provenance(self) -> Mapping[str, Any]:
        """Return the folder, and name, reference, licence and release of dataset.json."""
        keys = ("name", "reference", "licence", "release")
        return {"source": str(self.root), **{key: self._description.get(key) for key in keys}}

    def preparation(self) -> Mapping[str, Any]:
        """Return the form "grid"; the statistics of the training set, if it uses them, are added by a training."""
        return {
            **super().preparation(),
            "how": "grid",
            "channels": self.modalities,
            "spacing_mm": self.spacing_mm,
            "normalise": "training" if self.by_training else "volume",
            "hounsfield": self._in_hounsfield,
        }

    def samples(self) -> Iterator[Sample]:
        """Read every sample, see `Source.samples`."""
        sizes = [planned_size(case.image, self.spacing_mm) for case in self.cases]
        shape_DHW = (-(-np.max(sizes, axis=0) // STEP) * STEP).tolist()
        for case in self.cases:
            images, labels = read_channels(case.image), read_channels(case.label)
            if len(images) != len(self.modalities):
                raise NASError(
                    f"{len(images)} channels in {case.image}",
                    f"{len(self.modalities)}, as dataset.json names modalities ({', '.join(self.modalities)})",
                    "correct the file or modality",
                )
            if len(labels) != 1:
                raise NASError(
                    f"{len(labels)} channels in {case.label}", "one class per voxel", "give one volume of labels"
                )
            label = onto_image(labels[0], images[0], case.label)
            mask_DHW, spacing_mm = on_grid(label, self.spacing_mm, labels=True)
            volume_CDHW = np.stack([on_grid(image, self.spacing_mm)[0] for image in images])
            mask_DHW, volume_CDHW = self._whole_numbers(mask_DHW, case.label), self._values(volume_CDHW, case.image)
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
                content=self.digests.of_volume(case.image),
            )

    def _values(self, volume_CDHW: np.ndarray, path: Path) -> np.ndarray:
        if not self.by_training:
            return standardised(volume_CDHW, str(path))
        return whole_hu(volume_CDHW) if self._in_hounsfield else volume_CDHW

    def _whole_numbers(self, mask_DHW: np.ndarray, path: Path) -> np.ndarray:
        wrong = np.setdiff1d(np.unique(mask_DHW), np.arange(len(self.classes)))
        if len(wrong):
            raise NASError(
                f"the label {wrong[0]:g} in {path}",
                f"0 to {len(self.classes) - 1}, as dataset.json names the classes ({', '.join(self.classes)})",
                "correct the file or labels",
            )
        return mask_DHW.astype(np.uint8)


def _padded(volume_DHW: np.ndarray, shape_DHW: Sequence[int], fill: float) -> np.ndarray:
    before = [(whole - side) // 2 for whole, side in zip(shape_DHW, volume_DHW.shape, strict=True)]
    after = [whole - side - b for whole, side, b in zip(shape_DHW, volume_DHW.shape, before, strict=True)]
    return np.pad(volume_DHW, list(zip(before, after, strict=True)), constant_values=fill)


def _in_order(names: Any, key: str, least: int) -> tuple[str, ...]:
    """Return the values of {"0": ..., "1": ...} in the order of their numbers."""
    numbers = [str(number) for number in range(len(names))] if isinstance(names, dict) else []
    if len(numbers) < least or set(names) != set(numbers):
        raise NASError(
            f"{key} {json.dumps(names)[:120]} in dataset.json",
            f'at least {least}, numbered from 0: {{"0": "name", ...}}',
            f"correct {key}",
        )
    return tuple(str(names[number]) for number in numbers)
