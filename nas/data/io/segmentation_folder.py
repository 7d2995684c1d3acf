"""Folders of labelled volumes: Medical Segmentation Decathlon, nnU-Net (versions 1 and 2), and KiTS.

Sources of the forms: Antonelli et al., Nature Communications 13 (2022) 4128, doi 10.1038/s41467-022-30695-9;
nnU-Net's documentation/dataset_format.md; Heller et al., arXiv 1904.00445 (KiTS19).
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.data.io.files import VOLUME_ENDINGS, differing_parts, existing_folder, split_name
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.files import read_json

LIMITS = (
    Limit(
        "Folders and tables",
        "Medical Segmentation Decathlon: dataset.json with modality, labels, training",
        "read",
        "data=msd",
    ),
    Limit(
        "Folders and tables",
        "nnU-Net version 1: the same with files CASE_0000.nii.gz",
        "read",
        "data=msd",
    ),
    Limit(
        "Folders and tables",
        "nnU-Net version 2: channel_names, labels by name, file_ending; also the key dataset",
        "read",
        "data=msd",
    ),
    Limit(
        "Folders and tables",
        "nnU-Net with regions as labels, the label ignore, or another number of cases than numTraining",
        "refused",
        "give labels that exclude each other",
    ),
    Limit(
        "Folders and tables",
        "KiTS: case_00000/imaging.nii.gz and segmentation.nii.gz",
        "read",
        "data=msd, data.class_names; cases without a segmentation are left out",
    ),
    Limit(
        "Folders and tables",
        "JSON files with a byte-order mark, in UTF-8, UTF-16 or UTF-32",
        "read",
        "",
    ),
)
DESCRIPTION = "dataset.json"
KITS = ("imaging", "segmentation")  # names of the files in a case's folder
KITS_CLASSES = ("background", "kidney", "tumour")
CHANNEL = re.compile(r"(.+)_(\d{4})$")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledCase:
    """One labelled volume.

    Attributes:
        name: Name of the case.
        images: Its file with all channels, or one file per channel.
        label: File of the mask.
        patient: Patient of the case.
    """

    name: str
    images: tuple[Path, ...]
    label: Path
    patient: str


@dataclass(frozen=True, slots=True)
class SegmentationFolder:
    """The labelled cases of a folder.

    Attributes:
        cases: The cases.
        classes: Names in the order of their numbers, the background first.
        modalities: Names of the channels.
        facts: Name, reference, licence and release, if dataset.json states them.
        description: The file dataset.json; None if there is none.
    """

    cases: Sequence[LabelledCase]
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    description: Path | None = None


def read_folder(root: str | Path | None, class_names: Sequence[str] | None = None) -> SegmentationFolder:
    """Read the description of a folder of labelled volumes.

    Args:
        root: Folder with dataset.json of the Decathlon or of nnU-Net, or a folder of KiTS with a folder for each case
            that holds `imaging` and `segmentation`.
        class_names: Names of the classes of a folder without dataset.json; None for those of KiTS19.

    Returns:
        The cases and the names of classes and channels.

    Raises:
        NASError: If the folder has none of these forms, or a file is missing or named twice.
    """
    expected = "a folder with dataset.json, imagesTr and labelsTr"
    folder = existing_folder(root, expected, "/path/to/Task04")
    path = folder / DESCRIPTION
    if not path.is_file():
        return _kits(folder, class_names)
    if class_names is not None:
        raise NASError(f"data.class_names for {path}, which names the classes", "null", "leave out data.class_names")
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise NASError(f"{path}, which cannot be read ({error})", "JSON", "copy the file again") from error
    version2 = isinstance(content, dict) and "channel_names" in content
    needed = ("labels", "channel_names", "file_ending") if version2 else ("labels", "modality", "training")
    missing = [key for key in needed if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise NASError(f"{path} without {', '.join(missing)}", f"the keys {', '.join(needed)}", "add them to the file")
    facts = {key: content.get(key) for key in ("name", "reference", "licence", "release")}
    if version2:
        modalities = _in_order(content["channel_names"], "channel_names", least=1)
        classes = _classes_by_name(content["labels"])
        cases = _cases_of_version2(folder, content, len(modalities))
    else:
        modalities = _in_order(content["modality"], "modality", least=1)
        classes = _in_order(content["labels"], "labels", least=2)
        cases = _listed_cases(folder, content["training"], len(modalities))
    return SegmentationFolder(cases, classes, modalities, facts, path)


def classes_of_folder(folder: Path) -> tuple[str, ...] | None:
    """Read the names of the classes without the cases.

    Args:
        folder: Folder of a dataset.json of the Decathlon or of nnU-Net.

    Returns:
        The names, the background first; None if no dataset.json states them.

    Raises:
        NASError: If the labels are regions, or not numbered from 0.
    """
    try:
        labels = read_json(folder / DESCRIPTION)["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    numbers = isinstance(labels, dict) and all(isinstance(value, int | list) for value in labels.values())
    return _classes_by_name(labels) if numbers else _in_order(labels, "labels", least=2)


def _listed_cases(folder: Path, entries: Any, channels: int) -> list[LabelledCase]:
    """Read the training list of the Decathlon; files of nnU-Net's version 1 carry the number of their channel."""
    if not isinstance(entries, list) or not all(isinstance(e, dict) and {"image", "label"} <= set(e) for e in entries):
        raise NASError(
            f"a training list without image and label in {folder}/{DESCRIPTION}",
            'entries {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}',
            "correct the list",
        )
    names = differing_parts([str(entry["image"]) for entry in entries])
    cases = []
    for entry, name in zip(entries, names, strict=True):
        image, label = (folder / str(entry[key]) for key in ("image", "label"))
        stem, ending = split_name(image)
        numbered = tuple(image.with_name(f"{stem}_{number:04d}{ending}") for number in range(channels))
        images = numbered if not image.is_file() and numbered[0].is_file() else (image,)
        cases.append(LabelledCase(name, images, label, str(entry.get("patient", name))))
    return _complete(cases)


def _cases_of_version2(folder: Path, content: Mapping[str, Any], channels: int) -> list[LabelledCase]:
    """List the cases of nnU-Net's version 2: imagesTr/<case>_0000<ending>, ..., labelsTr/<case><ending>."""
    ending = str(content["file_ending"])
    if ending.lower() not in VOLUME_ENDINGS or ending.lower() == ".npy":
        raise NASError(
            f"file_ending {ending} in {folder / DESCRIPTION}", "NIfTI, NRRD or MetaImage", "convert them to .nii.gz"
        )
    listed = content.get("dataset")
    if isinstance(listed, dict) and listed:
        try:
            cases = [
                LabelledCase(str(n), tuple(folder / str(p) for p in one["images"]), folder / str(one["label"]), str(n))
                for n, one in listed.items()
            ]
        except (KeyError, TypeError) as error:
            raise NASError(
                f"a dataset without images and label in {folder / DESCRIPTION}",
                'entries "case": {"images": ["imagesTr/case_0000.nii.gz"], "label": "labelsTr/case.nii.gz"}',
                "correct the entries",
            ) from error
        if wrong := next((case for case in cases if len(case.images) != channels), None):
            raise NASError(f"{len(wrong.images)} images of {wrong.name}", f"{channels}, one per channel", "correct it")
        return _complete(cases)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    for part in (images, labels):
        if not part.is_dir():
            raise NASError(f"no folder {part}", "imagesTr and labelsTr beside dataset.json", "set data.root")
    names: dict[str, None] = {}
    for path in sorted(path for path in images.iterdir() if _is_volume(path, ending)):
        match = CHANNEL.match(path.name[: -len(ending)])
        if match is None or int(match[2]) >= channels:
            raise NASError(
                f"the file {path}", f"<case>_0000{ending} to <case>_{channels - 1:04d}{ending}", "rename the file"
            )
        names[match[1]] = None
    unpaired = sorted(
        path.name for path in labels.iterdir() if _is_volume(path, ending) and path.name[: -len(ending)] not in names
    )
    if unpaired:
        raise NASError(f"the label {labels / unpaired[0]} without an image", "an image of its name", "copy the image")
    cases = [
        LabelledCase(
            name,
            tuple(images / f"{name}_{number:04d}{ending}" for number in range(channels)),
            labels / f"{name}{ending}",
            name,
        )
        for name in names
    ]
    stated = content.get("numTraining")
    if stated is not None and stated != len(cases):
        raise NASError(
            f"{len(cases)} cases in {images}", f"{stated}, as numTraining states", "copy the others, or correct it"
        )
    return _complete(cases)


def _kits(folder: Path, class_names: Sequence[str] | None) -> SegmentationFolder:
    """List the cases of KiTS: case_00000/imaging.nii.gz and case_00000/segmentation.nii.gz."""
    pairs = kits_pairs(folder)
    if not pairs:
        raise NASError(
            f"no file {folder / DESCRIPTION}",
            "a Decathlon or nnU-Net folder with dataset.json, or folders of cases with imaging and segmentation (KiTS)",
            "set data.root to such a folder",
        )
    cases = [
        LabelledCase(image.parent.name, (image,), label, image.parent.name)
        for image, label in pairs
        if label is not None
    ]
    if len(cases) < len(pairs):
        log.warning("left out %d cases of %s without a segmentation", len(pairs) - len(cases), folder)
    return SegmentationFolder(_complete(cases), tuple(class_names or KITS_CLASSES), ("CT",), {"name": "KiTS"})


def kits_pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    """Find the cases of a folder in the form of KiTS.

    Args:
        folder: Folder whose folders hold `imaging` and `segmentation`, each NIfTI, NRRD or MetaImage.

    Returns:
        Image and segmentation of each case, in the order of the names; None for a case without a segmentation.
    """
    pairs = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = {split_name(path)[0]: path for path in sorted(case.iterdir()) if path.is_file() and split_name(path)[1]}
        if KITS[0] in files:
            pairs.append((files[KITS[0]], files.get(KITS[1])))
    return pairs


def _is_volume(path: Path, ending: str) -> bool:
    return path.name.endswith(ending) and not path.name.startswith(".")


def _complete(cases: list[LabelledCase]) -> list[LabelledCase]:
    """Check that all files are there and that no image is named twice."""
    for case in cases:
        for path in (*case.images, case.label):
            if not path.is_file():
                raise NASError(f"no file {path}", f"every volume of {case.name}", "copy the file again")
    counts = Counter(path.resolve() for case in cases for path in case.images)
    if twice := [path for path, count in counts.items() if count > 1]:
        raise NASError(f"{twice[0]} twice in {DESCRIPTION}", "each volume once", "remove the second entry")
    if not cases:
        raise NASError("no labelled case", "at least one image with its label", "check data.root")
    return cases


def _classes_by_name(labels: Any) -> tuple[str, ...]:
    """Return the names of {"background": 0, "spleen": 1} in the order of their numbers."""
    if isinstance(labels, dict):
        if region := next((name for name, value in labels.items() if isinstance(value, list | tuple)), None):
            raise NASError(
                f"the region {region}={json.dumps(labels[region])} in dataset.json",
                "labels that exclude each other, one number for each class",
                "train on the single labels; regions are unions of them",
            )
        if "ignore" in labels:
            raise NASError(
                f"the label ignore={labels['ignore']} in dataset.json",
                "masks that state the class of every voxel",
                "leave out the cases that use it, then remove it from labels",
            )
        if all(isinstance(value, int) and not isinstance(value, bool) for value in labels.values()):
            return _in_order({str(value): name for name, value in labels.items()}, "labels", least=2, of=labels)
    return _in_order(labels, "labels", least=2)


def _in_order(names: Any, key: str, least: int, of: Any = None) -> tuple[str, ...]:
    """Return the values of {"0": ..., "1": ...} in the order of their numbers."""
    size = len(names if of is None else of) if isinstance(names, dict) else 0
    numbers = [str(number) for number in range(size)]
    if len(numbers) < least or set(names) != set(numbers):
        raise NASError(
            f"{key} {json.dumps(names if of is None else of)[:120]} in dataset.json",
            f'at least {least}, numbered from 0: {{"0": "name", ...}}',
            f"correct {key}",
        )
    return tuple(str(names[number]) for number in numbers)
