"""A user's csv file read strictly, and a cheap stamp of the files that it names."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NASError


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a csv file; `at` names it in messages (file and line number)."""

    at: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def number(self, column: str) -> float:
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise NASError(f"{column} {self.cells[column]!r} in {self.at}", "a number", "mend the line")
        return value


def read_table(path: str | Path) -> tuple[tuple[str, ...], list[Row]]:
    """The columns and the lines of a csv file with a header, blanks stripped, empty lines skipped.

    Raises NASError for a file that is missing, empty or not UTF-8 text, and for a line with too few or many cells.
    """
    path = Path(path)
    if not path.is_file():
        raise NASError(f"no file {path}", "a csv file", "mend the path")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheet programs write a byte-order mark
            lines = [(number, [cell.strip() for cell in line]) for number, line in enumerate(csv.reader(file), 1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise NASError(f"{path}, which is not csv text ({error})", "UTF-8 with commas", "save it again") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if len(lines) < 2:
        raise NASError(f"no lines in {path}", "a header and at least one line", "fill the file")
    columns = tuple(lines[0][1])
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise NASError(
                f"{len(cells)} cells in line {number} of {path}",
                f"{len(columns)}, as in its header",
                "mend the line (a comma within a cell needs quotes around the cell)",
            )
        rows.append(Row(f"line {number} of {path}", dict(zip(columns, cells, strict=True))))
    return columns, rows


def stamp(lines: object, volumes: Iterable[Path]) -> str:
    """A hash of what was read from a csv, and of names, sizes and times of change of the volumes that it names.

    Of a folder count its files; of a `.mhd` also the `.raw` beside it.
    """
    digest = hashlib.sha256(repr(lines).encode())
    for volume in volumes:
        files = sorted(volume.iterdir()) if volume.is_dir() else [volume]
        if volume.suffix == ".mhd":
            files.append(volume.with_suffix(".raw"))
        for file in files:
            stat = file.stat() if file.exists() else None
            digest.update(repr((str(file), stat and stat.st_size, stat and stat.st_mtime_ns)).encode())
    return digest.hexdigest()
