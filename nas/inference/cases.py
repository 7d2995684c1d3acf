"""Cases to predict: named files, folders of scans, a csv, and files with nnU-Net's names of channels. Needs no torch.

nnU-Net names the files of a case `<case>_0000.nii.gz`, `<case>_0001.nii.gz`, ..., one for each channel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.data.io.csv_table import PATH, path_columns, read_table, subgroup_columns, subgroups_of
from nas.data.io.files import differing_parts, split_name
from nas.data.io.formats import HEAD, is_dicom
from nas.data.io.segmentation_folder import KITS
from nas.errors import NASError

CHANNEL = re.compile(r"(.+)_(\d{4})$")
DATA_FILES = (".img", ".img.gz")  # belong to a header (.hdr) and are no scans of their own
EXPECTED = "scans (NIfTI, NRRD, MetaImage, .npy, folders of DICOM series), a folder of them, or a csv"


@dataclass(frozen=True, slots=True)
class Case:
    """One input of a prediction.

    Attributes:
        name: Name of its outputs, a relative path without ending.
        paths: Its files: one, or one for each channel.
        point_mm: World point (x, y, z) in mm (LPS) in the middle of a crop; None for the middle of the volume.
        label: Class, or file of the label map; empty if unknown.
        patient: Its patient.
        subgroups: Column of a csv, such as sex -> value, "" if unknown.
    """

    name: str
    paths: tuple[Path, ...]
    point_mm: tuple[float, float, float] | None = None
    label: str = ""
    patient: str = ""
    subgroups: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The first file and the point, for messages and tables."""
        point = "" if self.point_mm is None else "@" + ",".join(f"{mm:g}" for mm in self.point_mm)
        return f"{self.paths[0]}{point}"

    def require_files(self) -> None:
        """Check that all files are there.

        Raises:
            NASError: If one is missing.
        """
        for path in self.paths:
            if not path.exists():
                expected = (
                    "an image volume" if len(self.paths) == 1 else f"a file for each of {len(self.paths)} channels"
                )
                raise NASError(f"no file {path}", expected, "correct the path")


def find_cases(
    inputs: Iterable[Path], channels: int, names: Sequence[str] = (), subgroups: Sequence[str] | None = None
) -> list[Case]:
    """List the cases of a command line.

    Args:
        inputs: Files of scans, folders of scans, folders with one DICOM series, and csv files with the columns `path`
            (or `path_<channel>` for each channel) and optionally `label`, `patient` and `x,y,z` (paths relative to the
            csv). The `segmentation` beside an `imaging` of a folder in the form of KiTS is no scan.
        channels: Channels of the network. Files `<case>_0000`, `<case>_0001`, ... are the channels of one case.
        names: Names of the channels, if the network knows them.
        subgroups: Columns of subgroups; None for those of usual names.

    Returns:
        The cases, in the order of the inputs; files may be missing.

    Raises:
        NASError: If there is no scan, or two cases have one name.
    """
    files: list[tuple[str, Path]] = []
    cases: list[Case] = []
    for path in inputs:
        if path.suffix.lower() == ".csv":
            cases += cases_of_csv(path, channels, names, subgroups)
        elif path.is_dir():
            files += [(name, file) for name, file in _scans_in(path, "")]
        else:
            files.append((path.name, path))
    cases = [*grouped(files, channels), *cases]
    if not cases:
        raise NASError("no scans", EXPECTED, "name a file or a folder")
    if twice := [name for name, count in Counter(case.name for case in cases).items() if count > 1]:
        first = next(case for case in cases if case.name == twice[0])
        raise NASError(
            f"inputs of one name, {Path(twice[0]).name}{split_name(first.paths[0])[1]}",
            "names that differ",
            "give each its own command",
        )
    return cases


def cases_of_csv(
    path: Path, channels: int, names: Sequence[str] = (), subgroups: Sequence[str] | None = None
) -> list[Case]:
    """Read the cases of a csv, in the form of the data set `manifest`.

    Args:
        path: The csv.
        channels: Channels of the network.
        names: Names of the channels, if the network knows them.
        subgroups: Columns of subgroups; None for those of usual names.

    Returns:
        One case per line. Without a column `patient`, the patient is the part of the path that differs.

    Raises:
        NASError: If it is no csv with a column `path` or with one for each channel.
    """
    columns, rows = read_table(path)
    files = _path_columns(columns, channels, names, path)
    if not files:
        raise NASError(
            f"no column path in {path} (it has {', '.join(columns)})",
            "path[,label][,patient][,x,y,z] in the first line, or path_t1,path_t2,... for files of channels",
            "name the columns so, with commas between them",
        )
    cases = []
    patients = differing_parts([row[files[0]] for row in rows])
    values = subgroups_of(rows, subgroup_columns(columns, subgroups, path))
    for row, differing, of_row in zip(rows, patients, values, strict=True):
        if empty := next((column for column in files if not row[column]), None):
            raise NASError(f"no {empty} in {row.at}", f"{', '.join(files)} on every line", "fill the cell")
        file = path.parent / row[files[0]]
        whole = Path(row[files[0]])
        inside = not whole.is_absolute() and ".." not in whole.parts
        found = _channels_of(file, channels) if len(files) == 1 else None
        stem, paths = found or (split_name(file)[0], tuple(path.parent / row[column] for column in files))
        name = (whole.parent / stem).as_posix() if inside else stem
        point = None
        if {"x", "y", "z"} <= set(columns):
            point = (row.number("x"), row.number("y"), row.number("z"))
            name += "@" + ",".join(f"{mm:g}" for mm in point)
        patient = row.cells.get("patient", "") or (stem if found else differing)
        cases.append(Case(name, paths, point, row.cells.get("label", ""), patient, of_row))
    return cases


def _path_columns(columns: Sequence[str], channels: int, names: Sequence[str], path: Path) -> list[str]:
    """Return the columns of files in the order of the network's channels; empty if there are none."""
    found = path_columns(columns)
    if not found:
        return [PATH] if PATH in columns else []
    if set(found) != set(names) if names else len(found) != channels:
        expected = ", ".join(f"{PATH}_{name}" for name in names) if names else f"one for each of {channels} channels"
        listed = ", ".join(f"{PATH}_{name}" for name in found)
        raise NASError(f"the columns {listed} in {path}", expected, "name the columns as in the training")
    return [f"{PATH}_{name}" for name in (names or found)]


def grouped(files: Sequence[tuple[str, Path]], channels: int) -> list[Case]:
    """Join the files of one case.

    Args:
        files: Relative name and path of each file.
        channels: Channels of the network.

    Returns:
        The cases in the order of their first files.
    """
    # a network of one channel: `scan_0001` is a number of scans unless every file ends with `_0000`
    named = channels > 1 or all(_channel_number(path) == 0 for _, path in files)
    cases: dict[tuple[str, str], Case] = {}
    for number, (relative, path) in enumerate(files):
        stem, ending = split_name(path)
        found = _channels_of(path, channels) if named else None
        if found is not None:
            stem = found[0]
        name = (Path(relative).parent / stem).as_posix()
        key = (str(path.parent), stem + ending) if found is not None else (str(number), "")
        cases.setdefault(key, Case(name, (path,) if found is None else found[1], patient=stem))
    return list(cases.values())


def _channels_of(path: Path, channels: int) -> tuple[str, tuple[Path, ...]] | None:
    """Return case and files of all channels for a file with nnU-Net's name, else None."""
    stem, ending = split_name(path)
    match, number = CHANNEL.match(stem), _channel_number(path)
    if match is None or number is None or number >= channels:
        return None
    return match[1], tuple(path.with_name(f"{match[1]}_{number:04d}{ending}") for number in range(channels))


def _channel_number(path: Path) -> int | None:
    match = CHANNEL.match(split_name(path)[0])
    return None if match is None else int(match[2])


def _scans_in(folder: Path, relative: str) -> list[tuple[str, Path]]:
    """List the scans of a folder: image files, else the folder as a DICOM series, else those of its sub-folders."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files, folders = ([path for path in entries if path.is_dir() == kind] for kind in (False, True))
    images = [path for path in files if split_name(path)[1]]
    if {KITS[0], KITS[1]} <= (stems := {split_name(path)[0] for path in images}) and len(stems) == len(images):
        images = [path for path in images if split_name(path)[0] != KITS[1]]
    if images:
        return [(relative + path.name, path) for path in images if split_name(path)[1].lower() not in DATA_FILES]
    if files and (not folders or any(map(_holds_dicom, files))):
        return [(relative.rstrip("/") or split_name(folder)[0], folder)]
    found = [pair for path in folders for pair in _scans_in(path, f"{relative}{path.name}/")]
    if not found and not relative:
        raise NASError(f"no scan in {folder}", EXPECTED, "check the path")
    return found


def _holds_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return is_dicom(file.read(HEAD))
