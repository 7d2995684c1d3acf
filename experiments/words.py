"""Words `key=value` of a command that is not Hydra's, as values of the types that their defaults have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import NASError


def read_words(words: Sequence[str], defaults: Mapping[str, Any], usage: str) -> dict[str, Any]:
    """The defaults, overridden. A default of None or text takes any text; true and false are written so.

    Raises NASError for a word without =, an unknown key, and a value of another type.
    """
    options = dict(defaults)
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or key not in defaults:
            raise NASError(f"the word {word!r}", f"some of {', '.join(f'{name}=' for name in defaults)}", usage)
        options[key] = _typed(word, value, defaults[key])
    return options


def _typed(word: str, value: str, default: Any) -> Any:
    kind = type(default)
    if default is None or kind is str:
        return value
    if kind is bool:
        if value not in ("true", "false"):
            raise NASError(word, "true or false", "mend the value")
        return value == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise NASError(word, f"a number like {default}", "mend the value") from error
