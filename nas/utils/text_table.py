"""Tables in a terminal: aligned columns that fit its width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest

WIDEST, DEFAULT = 100, 80  # columns
GAP = 2  # columns between two
NAMES = 24  # columns that a first column of long names keeps at least


def terminal_width() -> int:
    """Return the width that texts may have.

    Returns:
        Columns of the terminal, 80 without one; at most 100, at least 40.
    """
    return max(40, min(shutil.get_terminal_size((DEFAULT, 24)).columns, WIDEST))


def aligned(rows: Sequence[Mapping[str, str]], columns: Sequence[str], width: int | None = None) -> str:
    """Align texts, numbers on the right of their columns.

    Columns that do not fit beside each other stand in further blocks below, each with the first column. Long texts are
    wrapped.

    Args:
        rows: Heading -> text of each row.
        columns: Headings of the columns, that of the names first.
        width: Width of the table; None for that of the terminal.

    Returns:
        Lines, with a ruled heading; blocks are apart by an empty line.
    """
    width = width or terminal_width()
    first, *others = columns
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) if rows else len(name) for name in columns}
    names = min(widths[first], max(NAMES, len(first)))
    room = min(max(width - names - GAP, NAMES), width - len(first) - GAP)  # of a column of long texts
    widths |= {name: min(widths[name], max(room, 1)) for name in others}
    blocks: list[list[str]] = [[]]
    used = names
    for name in others:
        if blocks[-1] and used + GAP + widths[name] > width:
            blocks.append([])
            used = names
        blocks[-1].append(name)
        used += GAP + widths[name]
    return "\n\n".join(_block(rows, first, block, widths, width) for block in blocks)


def in_columns(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Align cells on the left, each column as wide as its widest cell.

    Args:
        rows: Cells of each row; rows may be of different lengths.
        width: Width at which a line is wrapped, indented below its second cell; None for no limit.

    Returns:
        Lines.
    """
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [*(cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False)), row[-1]]
        line = (" " * GAP).join(cells)
        indent = " " * min(widths[0] + GAP, (width or 0) // 2)
        wrapped = textwrap.wrap(line, width, subsequent_indent=indent) if width and len(line) > width else [line]
        lines += wrapped
    return lines


def _block(
    rows: Sequence[Mapping[str, str]], first: str, others: Sequence[str], widths: Mapping[str, int], width: int
) -> str:
    room = width - sum(GAP + widths[name] for name in others)
    names = min(widths[first], max(room, len(first)))
    lines = []
    for row in ({name: name for name in (first, *others)}, *rows):
        wrapped = [textwrap.wrap(row[first], names, subsequent_indent="  ", break_on_hyphens=False)]
        wrapped += [textwrap.wrap(row[name], widths[name], break_on_hyphens=False) for name in others]
        for name, *cells in zip_longest(*wrapped, fillvalue=""):
            texts = [f"{cell:>{widths[column]}}" for column, cell in zip(others, cells, strict=True)]
            lines.append((" " * GAP).join([f"{name:<{names}}", *texts]).rstrip())
    rule = "-" * (names + sum(GAP + widths[name] for name in others))
    return "\n".join([lines[0], rule, *lines[1:]])
