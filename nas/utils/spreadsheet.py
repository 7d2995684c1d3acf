"""Texts from outside in csv files, such as names of files and classes, so that spreadsheet programs run no formula."""

from __future__ import annotations

import re

# what spreadsheet programs take for the beginning of a formula, with the quotes that `cell` put before it
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
# of numbers, also of several such as genes or an interval
NUMBERS = re.compile(r"[+-]?(inf|nan|[\d.][\d.,eE+\- \[\]%±]*)")


def cell(text: str) -> str:
    """Return a text as a cell of a csv file, with a single quote before a formula.

    Source: OWASP, CSV Injection (https://owasp.org/www-community/attacks/CSV_Injection).

    Args:
        text: The text.

    Returns:
        The same text, or the text after a quote if it begins with `=`, `+`, `-`, `@`, a tab or a line break and is no
        number. A text that begins with quotes and such a character gets one more, so that `text_of` is the inverse.
    """
    return f"'{text}" if FORMULA.match(text) and not NUMBERS.fullmatch(text) else text


def text_of(cell: str) -> str:
    """Return the text that `cell` wrote.

    Args:
        cell: The cell.

    Returns:
        The text.
    """
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
