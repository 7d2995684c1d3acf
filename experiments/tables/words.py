"""Words in braces in the steps of a table, `{name}` and `{row:name}`, and what they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

WORD = re.compile(r"\{(row:)?([A-Za-z_][\w-]*)\}")


def substituted(value: Any, text_of: Callable[[str, str], str | None]) -> Any:
    """Replace `{name}` in texts, also in lists and mappings.

    Args:
        value: A text, a list, a mapping, or anything else, which stays.
        text_of: Called with "row:" or "" and the name; None leaves the word.

    Returns:
        The value with its words replaced.
    """
    if isinstance(value, str):

        def replacement(match: re.Match[str]) -> str:
            text = text_of(match[1] or "", match[2])
            return match[0] if text is None else text

        return WORD.sub(replacement, value)
    if isinstance(value, Mapping):
        return {key: substituted(part, text_of) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [substituted(part, text_of) for part in value]
    return value


def with_words(value: Any, words: Mapping[str, str]) -> Any:
    """Fill in the words of a size and a section, which may hold words themselves.

    Args:
        value: As for `substituted`.
        words: Name -> text.

    Returns:
        The value; other words are left in.
    """

    def text_of(kind: str, name: str) -> str | None:
        return None if kind or name in ("seed", "folder") else words.get(name)

    return substituted(substituted(value, text_of), text_of)
