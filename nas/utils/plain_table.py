"""Tables for programs and notebooks: of pandas if it is installed, else of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class PlainTable:
    """A table for programs without pandas.

    `table["auc"]` is a column, `len(table)` the number of rows, and iteration gives each row as a dict.

    Attributes:
        columns: Names of the columns.
        rows: Values of each row.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        position = self.columns.index(column)
        return [row[position] for row in self.rows]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __repr__(self) -> str:
        cells = [self.columns, *(tuple(map(_text, row)) for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return html_table(self.columns, self.rows)


def as_frame(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Make a table of the best kind that is installed.

    Args:
        columns: Names of the columns.
        rows: Values of each row.

    Returns:
        A pandas DataFrame, or a `PlainTable` without pandas.
    """
    try:
        import pandas  # here, as it is optional and takes long to import
    except ImportError:
        return PlainTable(tuple(columns), tuple(map(tuple, rows)))
    return pandas.DataFrame([list(row) for row in rows], columns=list(columns))


def html_lines(lines: Sequence[str]) -> str:
    """Format lines as HTML, for a notebook.

    Args:
        lines: The lines.

    Returns:
        The element `ul`; empty without lines.
    """
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """Format a table as HTML, for a notebook.

    Args:
        columns: Names of the columns.
        rows: Values of each row.
        caption: Text above the table.

    Returns:
        The element `table`.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
