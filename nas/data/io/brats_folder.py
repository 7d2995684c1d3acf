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
NIFTI_ENDINGS = (".nii", ".nii.gz")
LABEL = "segmentation"
LABELS = (0, 1, 2, 4)  # as files hold them: background, necrosis, oedema, enhancing tumour


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
    words = re.split(r"[_.\-]+", split_name(path)[0].removeprefix(subject).lower())
    if any(word.startswith("seg") for word in words):
        return LABEL
    return next((modality for modality, endings in ENDINGS.items() if words[-1] in endings), "")


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


def read_label(path: Path, image: Image) -> Image:
    """Read the labels of a subject.

    Args:
        path: The file.
        image: The subject's first modality.

    Returns:
        An image of the labels 0, 1, 2 and 4 on the grid of `image`.

    Raises:
        NASError: If the file cannot be read, holds other labels, or is on another grid.
    """
    label = onto_image(_volume(path), image, path)
    wrong = np.setdiff1d(np.unique(medical("SimpleITK").GetArrayViewFromImage(label)), LABELS)
    if len(wrong):
        raise NASError(
            f"the label {wrong[0]:g} in {path}",
            "0 background, 1 necrosis, 2 oedema, 4 enhancing tumour",
            "renumber the labels (from 2023 on BraTS writes 3 for 4)",
        )
    return label


def _volume(path: Path) -> Image:
    channels = read_channels(path)
    if len(channels) != 1:
        raise NASError(f"{len(channels)} channels in {path}", "one volume per file", "split it into files")
    return channels[0]
