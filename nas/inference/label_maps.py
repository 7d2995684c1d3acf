"""Label maps of labelled cases, and the predictions of any program that belong to them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.io.arrays import load_npy
from nas.data.io.csv_table import read_table, subgroup_columns, subgroups_of
from nas.data.io.files import VOLUME_ENDINGS, is_npy, split_name
from nas.data.io.images import to_array
from nas.data.io.label_values import read_label_map, whole_labels
from nas.data.io.segmentation_folder import DESCRIPTION, classes_of_folder, kits_pairs, read_folder
from nas.errors import NASError
from nas.inference.cases import DATA_FILES, Case
from nas.inference.labelled import PAIRS, patients_of, require_csv_for

LABEL, CASE, PATIENT = "label", "case", "patient"
EXPECTED = "a folder with imagesTr and labelsTr, a folder of label maps, or a csv with the column label"
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class LabelMaps:
    """Labelled cases.

    Attributes:
        cases: The cases; `label` is the file of the label map.
        classes: Names of the classes, the background first; empty if no dataset.json states them.
    """

    cases: Sequence[Case]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matched:
    """Predictions beside the labelled cases.

    Attributes:
        files: Case -> file of its prediction, by name, in the order of the cases.
        missing: Names of cases without a prediction.
        extra: Predictions of no labelled case.
    """

    files: dict[str, Path]
    missing: tuple[str, ...]
    extra: tuple[Path, ...]


def find_label_maps(path: Path, subgroups: Sequence[str] | None = None) -> LabelMaps:
    """List label maps; the images beside them are not read.

    Args:
        path: A folder with `imagesTr` and `labelsTr` (or `imagesTs` and `labelsTs`, `images` and `labels`), a folder
            whose dataset.json lists images and labels, a folder of KiTS, a folder of label maps, or a csv with the
            column `label` and optionally `path`, `case` and `patient`, with paths relative to the csv.
        subgroups: Columns of a csv by which results are split; None for those of usual names.

    Returns:
        The cases. A case has the name of its image without ending, else that of its label map.

    Raises:
        NASError: If there is no label map, two cases have one name, or a folder shall have subgroups.
    """
    if path.is_file():
        return LabelMaps(_once(_of_csv(path, subgroups), path))
    require_csv_for(subgroups, path)
    if not path.is_dir():
        raise NASError(f"no folder {path}", EXPECTED, "correct the path")
    folder = next((path / labels for images, labels in PAIRS if (path / labels).is_dir()), None)
    if folder is None and ((path / DESCRIPTION).is_file() or kits_pairs(path)) and not _volumes(path):
        listed = read_folder(path)
        cases = [Case(one.name, one.images, label=str(one.label), patient=one.patient) for one in listed.cases]
        return LabelMaps(_once(cases, path), listed.classes)
    files = _volumes(folder or path)
    if not files:
        raise NASError(f"{path} without label maps", EXPECTED, "correct the path")
    described = path if folder is not None or (path / DESCRIPTION).is_file() else path.parent
    patients = patients_of(described)
    cases = [
        Case(name, (file,), label=str(file), patient=patients.get(name, name))
        for name, file in ((split_name(file)[0], file) for file in files)
    ]
    return LabelMaps(_once(cases, path), classes_of_folder(described) or ())


def match_predictions(folder: Path, cases: Sequence[Case]) -> Matched:
    """Find the prediction of each case.

    Args:
        folder: Folder of label maps, each with the name of its case, also in sub-folders.
        cases: The labelled cases.

    Returns:
        The files, and those that have no counterpart.

    Raises:
        NASError: If there is no such folder, or a case has two predictions.
    """
    if not folder.is_dir():
        raise NASError(f"no folder {folder}", "a folder of predicted label maps", "correct --predictions")
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and _is_volume(file):
            name = (file.parent.relative_to(folder) / split_name(file)[0]).as_posix()
            found.setdefault(name, []).append(file)
    files, used = {}, set()
    for case in cases:
        name = case.name if case.name in found else Path(case.name).name
        if len(found.get(name, ())) > 1:
            listed = ", ".join(file.name for file in found[name])
            raise NASError(f"{len(found[name])} predictions of {case.name} ({listed})", "one", "remove the others")
        if name in found and name not in used:
            files[case.name] = found[name][0]
            used.add(name)
    missing = tuple(case.name for case in cases if case.name not in files)
    extra = tuple(file for name, its in found.items() if name not in used for file in its)
    return Matched(files, missing, extra)


def label_array(path: Path) -> np.ndarray:
    """Read the classes of a label map.

    Args:
        path: A NIfTI, NRRD, MetaImage or .npy file.

    Returns:
        Whole numbers (D, H, W) on the axes of the file.

    Raises:
        NASError: If the file cannot be read, or its values are no whole numbers.
    """
    return whole_labels(load_npy(path), path) if is_npy(path) else to_array(read_label_map(path))[0]


def classes_in(cases: Sequence[Case]) -> tuple[str, ...]:
    """Name the classes by the largest label that occurs.

    Args:
        cases: Labelled cases.

    Returns:
        "background", "class 1", ...

    Raises:
        NASError: If a label map cannot be read, or none marks anything.
    """
    most = max(int(label_array(Path(case.label)).max()) for case in cases)
    if most < 1:
        raise NASError(f"only 0 in {len(cases)} label maps", "at least one class beside the background", "check them")
    return ("background", *(f"class {number}" for number in range(1, most + 1)))


def shortened(names: Sequence[object]) -> str:
    """List names in a message.

    Args:
        names: The names.

    Returns:
        The first ones, and the number of the others.
    """
    rest = len(names) - SHOWN
    return ", ".join(map(str, names[:SHOWN])) + (f" and {rest} more" if rest > 0 else "")


def _of_csv(path: Path, subgroups: Sequence[str] | None) -> list[Case]:
    columns, rows = read_table(path)
    split_by = subgroups_of(rows, subgroup_columns(columns, subgroups, path))
    if LABEL not in columns:
        raise NASError(f"no column {LABEL} in {path} (it has {', '.join(columns)})", EXPECTED, "add the column")
    cases = []
    for row, values in zip(rows, split_by, strict=True):
        if not row[LABEL]:
            raise NASError(f"no {LABEL} in {row.at}", "a label map on every line", "fill the cell")
        label = path.parent / row[LABEL]
        image = row.cells.get("path", "")
        name = row.cells.get(CASE, "") or (_image_name(image) if image else split_name(label)[0])
        patient = row.cells.get(PATIENT, "") or name
        cases.append(Case(name, (label,), label=str(label), patient=patient, subgroups=values))
    return cases


def _image_name(text: str) -> str:
    """Name of a case after its image, as `voxnas predict` names its output."""
    whole = Path(text)
    inside = not whole.is_absolute() and ".." not in whole.parts
    stem = split_name(whole)[0].removesuffix("_0000")
    return (whole.parent / stem).as_posix() if inside else stem


def _volumes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _is_volume(path))


def _is_volume(path: Path) -> bool:
    lower = path.name.lower()
    return lower.endswith(VOLUME_ENDINGS) and not lower.endswith(DATA_FILES) and not lower.startswith(".")


def _once(cases: list[Case], path: Path) -> list[Case]:
    names = [case.name for case in cases]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise NASError(
            f"two label maps named {twice} in {path}", "names that differ", "rename one, or add a column case"
        )
    return cases
