"""The cases of one fold for `benchmarks.nnunet`: the split of VoxNAS, and folders in the form of nnU-Net."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.data import Msd, Split
from nas.data.io.files import split_name
from nas.data.io.images import read_channels
from nas.data.io.segmentation_folder import LabelledCase, SegmentationFolder, read_folder
from nas.utils.files import write_text
from nas.utils.optional import medical

ENDING = ".nii.gz"


@dataclass(frozen=True)
class Cases:
    """The cases of one fold.

    Attributes:
        folder: The labelled cases of the data, with the names of classes and channels.
        train: Names of the cases to train on.
        valid: Names of the cases to choose by.
        test: Names of the cases to test on.
    """

    folder: SegmentationFolder
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


def split_cases(data: Path, fold: int) -> Cases:
    """Split the cases as `run_train.py split.test_fold=FOLD rounds=1` does.

    Args:
        data: Folder of the Decathlon, of nnU-Net or of KiTS.
        fold: The test fold.

    Returns:
        The cases.
    """
    store = Msd(str(data), os.environ.get("VOXNAS_CACHE", "outputs/data")).prepare()
    first = Split(store, test_fold=fold).holdout_rounds()[0]
    parts = (tuple(str(name) for name in store.names[rows]) for rows in (first.train, first.valid, first.test))
    return Cases(read_folder(data), *parts)


def write_nnunet_folder(root: Path, cases: Cases, names: Sequence[str]) -> None:
    """Write some cases as a folder of nnU-Net's version 2; files of one channel in NIfTI are linked, others converted.

    Args:
        root: Gets dataset.json, imagesTr and labelsTr.
        cases: All cases.
        names: Names of the cases that it gets.
    """
    facts = {
        "channel_names": {str(number): name for number, name in enumerate(cases.folder.modalities)},
        "labels": {name: number for number, name in enumerate(cases.folder.classes)},
        "numTraining": len(names),
        "file_ending": ENDING,
    }
    by_name = {case.name: case for case in cases.folder.cases}
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        _write_images(root / "imagesTr", by_name[name], len(cases.folder.modalities))
        _link(by_name[name].label, root / "labelsTr" / f"{name}{ENDING}")
    write_text(root / "dataset.json", json.dumps(facts, indent=1))


def _write_images(folder: Path, case: LabelledCase, channels: int) -> None:
    targets = [folder / f"{case.name}_{number:04d}{ENDING}" for number in range(channels)]
    if len(case.images) == channels:
        for image, target in zip(case.images, targets, strict=True):
            _link(image, target)
    elif not all(target.is_file() for target in targets):
        for image, target in zip(read_channels(case.images[0]), targets, strict=True):
            medical("SimpleITK").WriteImage(image, str(target), True)


def _link(source: Path, target: Path) -> None:
    if target.is_file():
        return
    if split_name(source)[1] == ENDING:
        target.symlink_to(source.resolve())
    else:
        sitk = medical("SimpleITK")
        sitk.WriteImage(sitk.ReadImage(str(source)), str(target), True)
