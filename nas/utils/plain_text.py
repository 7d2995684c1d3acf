"""Markdown with tables as text that fits a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from nas.utils.markdown_text import without_escapes
from nas.utils.text_table import aligned, terminal_width

BORDER = re.compile(r"(?<!\\)\|")  # between two cells


def plain_text(markdown: str, width: int | None = None) -> str:
    """Format Markdown for a terminal: aligned tables in blocks that fit, wrapped paragraphs, underlined headings.

    Args:
        markdown: Headings, paragraphs, lists and tables.
        width: Width of the text in columns; None for that of the terminal.

    Returns:
        Lines; none is longer than `width` unless one word is.
    """
    width = width or terminal_width()
    lines: list[str] = []
    for kind, group in groupby(markdown.strip().splitlines(), key=_kind):
        members = list(group)
        lines += _table(members, width).splitlines() if kind == "table" else _texts(members, width)
    return "\n".join(lines) + "\n"


def _kind(line: str) -> str:
    return "table" if line.startswith("|") else "text"


def _texts(lines: Sequence[str], width: int) -> Iterator[str]:
    for line in lines:
        heading = re.match(r"#+ ", line)
        text = without_escapes(line[heading.end() :] if heading else line)
        indent = "  " if line.startswith("- ") else ""
        wrapped = textwrap.wrap(
            text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
        yield from wrapped
        if heading:
            yield "=" * max(map(len, wrapped))


def _table(lines: Sequence[str], width: int) -> str:
    cells = [[without_escapes(cell.strip()) for cell in BORDER.split(line.strip())[1:-1]] for line in lines]
    columns: list[str] = []
    for heading in cells[0]:
        columns.append(heading + " " * columns.count(heading))
    return aligned([dict(zip(columns, row, strict=True)) for row in cells[2:]], columns, width)
