"""Subjects in the form of the BraTS challenges: folders with one NIfTI file per modality and one of labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.data.io.files import existing_folder, split_name
from nas.data.io.grid import onto_image
from nas.data.io.images import read_channels
from nas.data.io.label_values import read_label_map
from nas.data.io.limits import Limit
from nas.errors import NASError
from nas.utils.optional import medical

if TYPE_CHECKING:
    from SimpleITK import Image

# Endings of file names of the challenges of 2012 to 2023, and of tools around them.
ENDINGS = {
    "t1": ("t1", "t1n"),
    "t1ce": ("t1ce", "t1c", "t1gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "fla", "t2f"),
}
SINCE_2023 = ("t1n", "t2w", "t2f")  # endings that only the challenges from 2023 on have
NIFTI_ENDINGS = (".nii", ".nii.gz")
LABEL = "segmentation"


@dataclass(frozen=True, slots=True)
class Convention:
    """Numbers of the classes in the files of a challenge.

    Attributes:
        name: Value of data.labels.
        labels: Number in the files of each class, in the order of the classes.
        classes: Names of the classes.
    """

    name: str
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def text(self) -> str:
        """Numbers and names, for messages."""
        named = zip(self.labels, self.classes, strict=True)
        return f"{self.name} ({', '.join(f'{number} {name}' for number, name in named if number)})"


TUMOUR = ("background", "necrosis", "oedema", "enhancing tumour")
# 2012 to 2021; 2023; 2024 (after treatment). From 2023 on 3 is the enhancing tumour, in 2024 4 is the resection cavity.
CONVENTIONS = {
    one.name: one
    for one in (
        Convention("brats2018", (0, 1, 2, 4), TUMOUR),
        Convention("brats2023", (0, 1, 2, 3), TUMOUR),
        Convention("brats2024", (0, 1, 2, 3, 4), (*TUMOUR, "resection cavity")),
    )
}
LIMITS = (
    *(
        Limit("Label conventions", f"BraTS, data.labels={one.name}", "read", one.text.partition("(")[2].rstrip(")"))
        for one in CONVENTIONS.values()
    ),
    Limit(
        "Label conventions",
        "BraTS without data.labels: files named t1, t2, flair and no label 3 (brats2018); labels 3 and 4 (brats2024)",
        "read",
        "subjects that fit no convention or several are refused: set data.labels",
    ),
)


@dataclass(frozen=True, slots=True)
class Subject:
    """The files of one subject.

    Attributes:
        name: Name of the folder.
        images: One file per modality, in the order of the request.
        label: The file of labels, None if there is none.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None


def find_subjects(root: str | Path | None, modalities: Sequence[str], labelled: bool = True) -> list[Subject]:
    """Find every folder at or below `root` that holds NIfTI files.

    Args:
        root: The folder to search.
        modalities: Names out of `ENDINGS`.
        labelled: Whether each subject must have a segmentation.

    Returns:
        The subjects in the order of their paths.

    Raises:
        NASError: If there is no subject, a modality is missing or there twice, or two folders have one name.
    """
    files = existing_folder(root, "a folder of BraTS subjects", "/path/to/BraTS").rglob("*")
    folders = sorted({path.parent for path in files if split_name(path)[1] in NIFTI_ENDINGS})
    if not folders:
        raise NASError(f"no NIfTI file in {root}", "one folder per subject, one file per modality", "set data.root")
    subjects = [_subject(folder, modalities, labelled) for folder in folders]
    names = [subject.name for subject in subjects]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise NASError(f"two folders {twice} in {root}", "a name of its own for each subject", "rename one")
    return subjects


def _subject(folder: Path, modalities: Sequence[str], labelled: bool) -> Subject:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if split_name(path)[1] in NIFTI_ENDINGS:
            files.setdefault(_kind(path, folder.name), []).append(path)
    for kind in (*modalities, *([LABEL] if labelled else [])):
        if kind not in files:
            endings = "_seg" if kind == LABEL else " or ".join(f"_{ending}" for ending in ENDINGS[kind])
            raise NASError(
                f"{folder} without {kind}",
                f"a file whose name ends in {endings}, .nii or .nii.gz",
                "copy or rename the file, or leave the subject out",
            )
        if len(files[kind]) > 1:
            names = ", ".join(path.name for path in files[kind])
            raise NASError(
                f"{len(files[kind])} files of {kind} in {folder} ({names})", "one file", "move the other away"
            )
    label = files[LABEL][0] if len(files.get(LABEL, ())) == 1 else None
    return Subject(folder.name, tuple(files[modality][0] for modality in modalities), label)


def _kind(path: Path, subject: str) -> str:
    """Return a modality, `LABEL`, or "" for another file."""
    words = _words(path, subject)
    if any(word.startswith("seg") for word in words):
        return LABEL
    return next((modality for modality, endings in ENDINGS.items() if words[-1] in endings), "")


def _words(path: Path, subject: str) -> list[str]:
    return re.split(r"[_.\-]+", split_name(path)[0].removeprefix(subject).lower())


def read_images(subject: Subject, modalities: Sequence[str]) -> list[Image]:
    """Read the modalities of a subject, on the axes of the files.

    Args:
        subject: The subject.
        modalities: Names of its images, for messages.

    Returns:
        One image per modality.

    Raises:
        NASError: If a file cannot be read, or the images are not on one grid.
    """
    images = [_volume(path) for path in subject.images]
    for number, path in enumerate(subject.images[1:], 1):
        names = (modalities[0], modalities[number])
        images[number] = onto_image(images[number], images[0], path, names, labels=False)
    return images


def read_label(path: Path, image: Image, convention: Convention) -> Image:
    """Read the labels of a subject.

    Args:
        path: The file.
        image: The subject's first modality.
        convention: Numbers of the classes in the file.

    Returns:
        An image of the classes 0, 1, 2, ... on the grid of `image`.

    Raises:
        NASError: If the file cannot be read, holds other labels, or is on another grid.
    """
    label = onto_image(read_label_map(path), image, path)
    sitk = medical("SimpleITK")
    labels_DHW = sitk.GetArrayFromImage(label)
    wrong = np.setdiff1d(np.unique(labels_DHW), convention.labels)
    if len(wrong):
        raise NASError(
            f"the label {wrong[0]:g} in {path}",
            f"those of {convention.text}",
            f"data.labels={'|'.join(CONVENTIONS)}, whichever states the numbers of this data set",
        )
    classes = sitk.GetImageFromArray(np.searchsorted(convention.labels, labels_DHW).astype(np.uint8))
    classes.CopyInformation(label)
    return classes


def convention_of(subjects: Sequence[Subject], name: str | None = None, prefer: str | None = None) -> Convention:
    """Return the numbers of the classes in the files of subjects.

    If no convention is named, each subject must fit exactly one. Labels 1 and 2 mean the same in all. Files with the
    modalities' names of the years before 2023 (t1, t1ce, t2, flair) are not of brats2023 or brats2024, unless they
    hold the label 3.

    Args:
        subjects: Subjects with labels.
        name: A key of `CONVENTIONS`, or None.
        prefer: The convention to take if a subject fits several, this one among them; None to refuse the subject.

    Returns:
        The convention.

    Raises:
        NASError: If a subject fits no convention or several, or two subjects fit different ones.
    """
    if name is not None:
        return CONVENTIONS[name]
    way = f"data.labels={'|'.join(CONVENTIONS)}, whichever states the numbers of this data set"
    chosen: tuple[Subject, Convention] | None = None
    for subject in subjects:
        assert subject.label is not None  # they were found with labels
        labels = np.unique(medical("SimpleITK").GetArrayFromImage(read_label_map(subject.label))).tolist()
        fits = [one for one in CONVENTIONS.values() if set(labels) <= set(one.labels)]
        if CONVENTIONS["brats2018"] in fits and not _is_since_2023(subject):
            fits = [CONVENTIONS["brats2018"]]
        if prefer is not None and CONVENTIONS[prefer] in fits:
            fits = [CONVENTIONS[prefer]]
        if len(fits) != 1:
            named = "; ".join(one.text for one in fits or CONVENTIONS.values())
            telling = [label for label in labels if label not in (0, 1, 2)] or labels
            shown = f"the label{'s' * (len(telling) > 1)} {', '.join(map(str, telling))} in {subject.label}"
            raise NASError(
                f"{shown}, of {'several possible conventions' if fits else 'no known convention'}",
                f"the numbers of one BraTS convention: {named}",
                way,
            )
        if chosen is not None and fits[0] != chosen[1]:
            raise NASError(
                f"labels of {chosen[1].name} in {chosen[0].label} and of {fits[0].name} in {subject.label}",
                "one convention for all subjects",
                f"{way}, or separate the data sets",
            )
        chosen = chosen or (subject, fits[0])
    assert chosen is not None  # there are subjects
    return chosen[1]


def _is_since_2023(subject: Subject) -> bool:
    files = subject.label.parent.iterdir() if subject.label else ()
    words = {_words(path, subject.name)[-1] for path in files if split_name(path)[1] in NIFTI_ENDINGS}
    return bool(words & set(SINCE_2023))


def _volume(path: Path) -> Image:
    channels = read_channels(path)
    if len(channels) != 1:
        raise NASError(f"{len(channels)} channels in {path}", "one volume per file", "split it into files")
    return channels[0]
