"""Labelled cases: a folder of images and labels, folders named after classes, or a csv. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nas.data.io.files import VOLUME_ENDINGS, split_name
from nas.data.io.segmentation_folder import DESCRIPTION, kits_pairs, read_folder
from nas.errors import NASError
from nas.inference.cases import Case, find_cases
from nas.utils.files import read_json

PAIRS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"), ("images", "labels"))
EXPECTED = {
    "segmentation": "a folder with imagesTr and labelsTr (Decathlon, nnU-Net), or a csv with path and label",
    "classification": "a csv with the columns path and label, or a folder with one folder of scans for each class",
}


def find_labelled(
    path: Path,
    channels: int,
    kind: str,
    classes: Sequence[str],
    names: Sequence[str] = (),
    subgroups: Sequence[str] | None = None,
) -> list[Case]:
    """List labelled cases.

    Args:
        path: A csv with the columns `path`, `label` and optionally `patient`, with paths relative to it, where the
            label of a segmentation is the path of a label map. Or a folder: of a segmentation with `imagesTr` and
            `labelsTr` (or `imagesTs` and `labelsTs`, `images` and `labels`), where a label map has the name of its
            case, with a dataset.json that lists images and labels elsewhere, or with a folder for each case that holds
            `imaging` and `segmentation` (KiTS); of a classification with one folder of scans for each class.
        channels: Channels of the network.
        kind: Kind of the task.
        classes: Names of the classes.
        names: Names of the channels, if the network knows them.
        subgroups: Columns of a csv by which results are split; None for those of usual names.

    Returns:
        The cases with their labels. The patient is that of the csv or of dataset.json, else the name of the case.

    Raises:
        NASError: If nothing is labelled.
    """
    expected = EXPECTED.get(kind, "a csv with the columns path and label")
    if path.is_file():
        cases = find_cases([path], channels, names, subgroups)
        if unlabelled := next((case for case in cases if not case.label), None):
            raise NASError(f"no label of {unlabelled.text} in {path}", "a label on every line", "fill the column label")
        if kind == "segmentation":
            return [replace(case, label=str(path.parent / case.label)) for case in cases]
        return cases
    require_csv_for(subgroups, path)
    if not path.is_dir():
        raise NASError(f"no folder {path}", expected, "correct the path")
    if kind == "segmentation":
        for images, labels in PAIRS:
            if (path / images).is_dir() and (path / labels).is_dir():
                patients = patients_of(path)
                return [
                    replace(
                        case,
                        label=str(_label_of(case, path / labels)),
                        patient=patients.get(case.name, case.patient),
                    )
                    for case in find_cases([path / images], channels)
                ]
        if (path / DESCRIPTION).is_file() or kits_pairs(path):
            listed = read_folder(path).cases
            return [Case(one.name, one.images, label=str(one.label), patient=one.patient) for one in listed]
    elif kind == "classification":
        folders = [path / name for name in classes if (path / name).is_dir()]
        found = [(folder.name, case) for folder in folders for case in find_cases([folder], channels)]
        if found:
            return [replace(case, name=f"{label}/{case.name}", label=label) for label, case in found]
    raise NASError(f"{path} without labels", expected, "correct the path")


def require_csv_for(subgroups: Sequence[str] | None, folder: Path) -> None:
    """Refuse subgroups of a folder, which has no columns.

    Args:
        subgroups: Columns by which results are split.
        folder: The folder.

    Raises:
        NASError: If columns are named.
    """
    if subgroups:
        raise NASError(
            f"--subgroups {','.join(subgroups)} with the folder {folder}", "a csv with these columns", "give a csv"
        )


def _label_of(case: Case, folder: Path) -> Path:
    paths = [folder / f"{case.name}{ending}" for ending in VOLUME_ENDINGS]
    return next((path for path in paths if path.is_file()), paths[0])


def patients_of(folder: Path) -> Mapping[str, str]:
    """Read the patients that a dataset.json of the Decathlon's form may name.

    Args:
        folder: Folder of dataset.json, which may be missing.

    Returns:
        Case -> patient.
    """
    found = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        for entry in read_json(folder / "dataset.json")["training"]:
            if isinstance(entry, dict) and "patient" in entry:
                found[split_name(str(entry["image"]))[0]] = str(entry["patient"])
    return found
