"""Strict reading of csv files written by users."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from nas.errors import NASError
from nas.utils.foreign import MOST_CSV_BYTES, require_regular

PATH = "path"  # column of a volume; path_<channel> are columns of its channels
USUAL = "sex gender age_group ethnicity race site centre center hospital scanner manufacturer vendor"
SUBGROUPS = frozenset(USUAL.split())  # columns by which results are split if none are named
OTHERWISE = (PATH, "label", "patient", "split", "x", "y", "z", "size_mm3", "mask")  # columns with another meaning
MISSING = frozenset(("nan", "na", "n/a", "<na>", "nat", "null"))  # as programs write an empty cell


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a csv file.

    Attributes:
        at: Line number and file, for messages.
        cells: Column -> text.
    """

    at: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def number(self, column: str) -> float:
        """Read a cell as a number.

        Args:
            column: Name of the column.

        Returns:
            A finite number.

        Raises:
            NASError: If the cell is no finite number.
        """
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise NASError(f"{column} {self.cells[column]!r} in {self.at}", "a number", "correct the line")
        return value


def read_table(path: str | Path) -> tuple[tuple[str, ...], list[Row]]:
    """Read a csv file with a header; surrounding blanks are stripped and empty lines skipped.

    Args:
        path: The file, UTF-8 with commas.

    Returns:
        The names of the columns, and the lines.

    Raises:
        NASError: If the file is missing, empty or not UTF-8 text, two columns have one name, or a line has too few or
            too many cells.
    """
    path = Path(path)
    if not path.is_file():
        raise NASError(f"no file {path}", "a csv file", "correct the path")
    try:
        require_regular(path, MOST_CSV_BYTES)
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheet programs write a byte-order mark
            lines = [(number, [cell.strip() for cell in line]) for number, line in enumerate(csv.reader(file), 1)]
    except (ValueError, csv.Error) as error:
        raise NASError(f"{path}, which is not csv text ({error})", "UTF-8 with commas", "save it again") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if len(lines) < 2:
        raise NASError(f"no lines in {path}", "a header and at least one line", "fill the file")
    columns = tuple(lines[0][1])
    if twice := next((name for name in columns if name and columns.count(name) > 1), None):
        raise NASError(f"{columns.count(twice)} columns {twice!r} in {path}", "each column once", "remove the others")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise NASError(
                f"{len(cells)} cells in line {number} of {path}",
                f"{len(columns)}, as in its header",
                "correct the line (a comma within a cell needs quotes around the cell)",
            )
        rows.append(Row(f"line {number} of {path}", dict(zip(columns, cells, strict=True))))
    return columns, rows


def path_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels that have columns of their own.

    Args:
        columns: The columns of a csv.

    Returns:
        The part after `path_` of each column `path_<channel>`, in order; empty if there is the column `path` instead.

    Raises:
        NASError: If both kinds are there.
    """
    channels = tuple(name.removeprefix(f"{PATH}_") for name in columns if name.startswith(f"{PATH}_"))
    if channels and PATH in columns:
        raise NASError(
            f"the columns {PATH} and {PATH}_{channels[0]}",
            f"{PATH}, or {PATH}_<channel> for each channel",
            "remove or rename one of them",
        )
    return channels


def subgroup_columns(columns: Sequence[str], wanted: Sequence[str] | None, path: object) -> tuple[str, ...]:
    """Choose the columns by whose values results are split.

    Args:
        columns: The columns of a csv.
        wanted: The columns that the user names. If None, those with a usual name, such as sex or scanner.
        path: The csv, for messages.

    Returns:
        Names of columns.

    Raises:
        NASError: If a wanted column is missing, or is one that has another meaning.
    """
    if wanted is None:
        return tuple(name for name in columns if name.casefold() in SUBGROUPS)
    for name in wanted:
        if name not in columns:
            raise NASError(
                f"no column {name} in {path} (it has {', '.join(columns)})",
                "columns of the csv as subgroups",
                "correct the names of the subgroups or the csv",
            )
        if name in OTHERWISE or name.startswith(f"{PATH}_"):
            raise NASError(f"the subgroup {name}", "a column such as sex or scanner", f"leave out {name}")
    return tuple(dict.fromkeys(wanted))


def subgroups_of(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the cells of subgroups; texts that differ in case only, or numbers in their digits, are one value.

    Args:
        rows: The lines of a csv.
        columns: Result of `subgroup_columns`.

    Returns:
        Column -> value of each line, "" for an empty cell.
    """
    spelling: dict[tuple[str, object], str] = {}
    found = []
    for row in rows:
        cells = {name: "" if row[name].casefold() in MISSING else row[name] for name in columns}
        found.append({name: spelling.setdefault((name, _meaning(cell)), cell) for name, cell in cells.items()})
    return found


def _meaning(cell: str) -> object:
    return float(cell) if is_number(cell) else normalize("NFC", cell).casefold()


def is_number(text: str) -> bool:
    """Check whether a cell is a finite number.

    Args:
        text: The cell.

    Returns:
        True for a number.
    """
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def require_one_spelling(column: str, cells: Iterable[str], path: object, numbers_only: bool = False) -> None:
    """Check that no two cells mean the same and are written differently, such as 1 and 1.0.

    Args:
        column: Name of the column, for messages.
        cells: Its cells.
        path: The csv, for messages.
        numbers_only: Compare numbers only; else also texts, apart from case.

    Raises:
        NASError: If there are two spellings.
    """
    spelling: dict[object, str] = {}
    for cell in dict.fromkeys(cells):
        text = normalize("NFC", cell)  # an umlaut is one sign or two
        meaning = float(cell) if is_number(cell) else text if numbers_only else text.casefold()
        if (first := spelling.setdefault(meaning, cell)) != cell:
            raise NASError(
                f"{column} {first!r} and {cell!r} in {path}",
                f"one spelling of each {column}",
                "write the same text on every line",
            )
