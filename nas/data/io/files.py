"""The files that hold one volume: the named file, and those that its header names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.errors import NASError

HEADER_BYTES = 1 << 16  # longer than any header; what follows may be voxels
VOLUME_ENDINGS = (".nii.gz", ".img.gz", ".nii", ".img", ".hdr", ".nrrd", ".nhdr", ".mhd", ".mha", ".npy")
PAIRS = {".hdr": (".img", ".img.gz"), ".img": (".hdr",), ".img.gz": (".hdr",)}  # NIfTI in two files


def files_of(path: str | Path) -> list[Path]:
    """List all files that are read for one volume.

    Args:
        path: An image file, or the folder of a DICOM series. Headers of MetaImage (.mhd, .mha) and NRRD (.nhdr, .nrrd)
            are read for the data files that they name: one, a list, or a numbered pattern.

    Returns:
        The file itself and its data files, which may be missing; of a folder all files that are not hidden, sorted.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return [path, *(path.parent / name for name in _data_files(path))]


def named_files(volumes: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Name every file of several volumes.

    Args:
        volumes: A name, unique among these, and a path for each volume.

    Returns:
        Name -> file, in order. Files of a folder and data files of a header are named `<volume>/<file>`.
    """
    named: dict[str, Path] = {}
    for name, path in volumes:
        for file in files_of(path):
            inside = name if file == path else f"{name}/{file.name}"
            number = 1
            while named.setdefault(inside, file) != file:  # data files of one name in several folders
                number += 1
                inside = f"{name}/{number}/{file.name}"
    return named


def split_name(path: str | Path) -> tuple[str, str]:
    """Split the name of a volume into the name proper and the ending of its format.

    Args:
        path: An image file, or the folder of a DICOM series, whose name may have dots and is kept whole.

    Returns:
        The name without folders, and one of `VOLUME_ENDINGS` as it is written there, or "".
    """
    name = Path(os.path.abspath(path)).name  # a folder may be given as `.`
    ending = "" if os.path.isdir(path) else next((end for end in VOLUME_ENDINGS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)], ending


def differing_parts(paths: Sequence[str | Path]) -> list[str]:
    """Name files by the part of their paths that differs.

    Args:
        paths: Paths of volumes; one path may occur several times and has one name.

    Returns:
        One name per path: the file's name without the ending of its format; if two files have one name, the parts of
        the path that are not the same at the beginning and at the end of all paths, joined by "/". Of
        `a/case_1/imaging.nii.gz` and `a/case_2/imaging.nii.gz` these are `case_1` and `case_2`.
    """
    stems = [split_name(path)[0] for path in paths]
    if len(set(stems)) == len(set(map(str, paths))):
        return stems
    parts = [[*Path(path).parts[:-1], stem] for path, stem in zip(paths, stems, strict=True)]
    shortest = min(map(len, parts))
    first = next((n for n in range(shortest) if len({p[n] for p in parts}) > 1), shortest - 1)
    last = next((n for n in range(shortest - first) if len({p[-1 - n] for p in parts}) > 1), 0)
    return ["/".join(p[first : len(p) - last]) for p in parts]


def is_npy(path: Path) -> bool:
    """Check whether a file name is that of an array.

    Args:
        path: A file, which need not exist.

    Returns:
        Whether it ends with .npy, in upper or lower case.
    """
    return split_name(path)[1] == ".npy"


def existing_folder(root: str | Path | None, expected: str, example: str) -> Path:
    """Check that the folder of a data set exists.

    Args:
        root: The folder, or None if none is set.
        expected: What the folder holds.
        example: A path, for the message.

    Returns:
        The folder.

    Raises:
        NASError: If there is none.
    """
    if root is None or not Path(root).is_dir():
        raise NASError(f"no folder {root}" if root else "data.root=null", expected, f"set data.root to {example}")
    return Path(root)


def companions(path: Path) -> list[Path]:
    """List the other files of a pair of header and data (.hdr with .img), whatever the case of their endings.

    Args:
        path: One file of the pair.

    Returns:
        The files that exist; none for a file that is not one of a pair.
    """
    stem, ending = split_name(path)
    wanted = [stem + other for other in PAIRS.get(ending, ())]
    same_case = [path.with_name(name) for name in wanted if path.with_name(name).exists()]
    if same_case or not wanted or not path.parent.is_dir():
        return same_case
    names = {name.lower() for name in wanted}
    return sorted(file for file in path.parent.iterdir() if file.name.lower() in names)


def _data_files(path: Path) -> list[str]:
    paired = [file.name for file in companions(path)] if split_name(path)[1].lower() in PAIRS else []
    if not path.is_file():
        return paired
    with path.open("rb") as file:  # as for the readers, the content decides
        header = file.read(HEADER_BYTES).decode("latin-1")
    if header.startswith("NRRD000"):
        header = re.split(r"\r?\n\r?\n", header, maxsplit=1)[0]
        match = re.search(r"^data ?file:\s*(.+?)\s*$", header, re.MULTILINE | re.IGNORECASE)
    else:
        match = re.search(r"^\s*ElementDataFile\s*=\s*(.+?)\s*$", header, re.MULTILINE)
    if match is None or match[1].upper() == "LOCAL":
        return paired
    if match[1].split()[0].upper() == "LIST":
        return [line.strip() for line in header[match.end() :].splitlines() if line.strip()]
    return _numbered(match[1])


def _numbered(name: str) -> list[str]:
    """Expand `slice%03d.raw 1 20 1`: a pattern, the first number, the last, and the step."""
    match = re.fullmatch(r"(.+%0?\d*d.*?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?", name)
    if match is None:
        return [name]
    first, last, step = map(int, match.group(2, 3, 4))
    return [match[1] % number for number in range(first, last + 1, max(1, step))]
