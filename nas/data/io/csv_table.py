"""Strict reading of csv files written by users."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NASError
from nas.utils.foreign import MOST_CSV_BYTES, require_regular


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
        NASError: If the file is missing, empty or not UTF-8 text, or a line has too few or too many cells.
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
