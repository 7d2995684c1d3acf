"""Escaped texts in Markdown: pipes, tags, links and terminal sequences in a name are shown and have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nas.errors import visible

TAG = re.compile(r"<(?=[A-Za-z/!?])")


def markdown_text(text: str) -> str:
    """Escape a text for one line of Markdown.

    Args:
        text: Plain text, such as a name that a file holds.

    Returns:
        One line without HTML, links and control characters.
    """
    text = TAG.sub("&lt;", visible(" ".join(text.splitlines())))
    return text.replace("](", "]\\(")


def markdown_cell(text: str) -> str:
    """Escape a text for a cell of a table.

    Args:
        text: Plain text.

    Returns:
        One line, without a pipe that would end the cell.
    """
    return markdown_text(text).replace("|", "\\|")


def markdown_row(cells: Iterable[str]) -> str:
    """Format a row of a table.

    Args:
        cells: Plain texts.

    Returns:
        The row, without line break.
    """
    return "| " + " | ".join(markdown_cell(cell) for cell in cells) + " |"


def without_html(text: str) -> str:
    """Escape HTML and control characters in a whole document, whose own Markdown stays.

    Args:
        text: Markdown.

    Returns:
        The document; lines of code, which are indented, keep their HTML, which Markdown shows.
    """
    lines = text.split("\n")
    return "\n".join(visible(line) if line.startswith("    ") else TAG.sub("&lt;", visible(line)) for line in lines)


def without_escapes(text: str) -> str:
    """Undo `markdown_text` and `markdown_cell`, for the terminal.

    Args:
        text: Markdown of this module.

    Returns:
        Plain text.
    """
    return text.replace("\\|", "|").replace("]\\(", "](").replace("&lt;", "<")
