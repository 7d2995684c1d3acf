"""Tables whose rows become blocks of named values on a narrow screen, so that no column is cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from nas.html.page import Cell


@dataclass(frozen=True, slots=True)
class IntervalCell(Cell):
    """Cell with a number and, on a second line, its interval.

    Args:
        interval: Text of the second line; empty for none.
    """

    interval: str = ""


def stacked_table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> str:
    """Render a table.

    Args:
        head: Cells of the header row.
        rows: Cells of each row; the first names the row.

    Returns:
        HTML.
    """
    top = "".join(cell.html("th") for cell in head)
    body = ""
    for row in rows:
        cells = "".join(_cell(cell, name.text) for cell, name in zip(row, head, strict=True))
        body += f"<tr>{cells}</tr>\n"
    table = f'<table class="wide stacked"><thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _cell(cell: Cell, name: str) -> str:
    text = f"<code>{escape(cell.text)}</code>" if cell.code else escape(cell.text)
    small = f"<small>{escape(cell.interval)}</small>" if isinstance(cell, IntervalCell) and cell.interval else ""
    style = ' class="number"' if cell.number else ""
    return f'<td{style} data-name="{escape(name)}"><span>{text}{small}</span></td>'
