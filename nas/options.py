"""Settings of a command of `nas` as words key=value, read as Hydra reads them but without Hydra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import NASError


def read_options(words: Sequence[str], defaults: Mapping[str, Any], usage: str) -> dict[str, Any]:
    """The defaults, overridden by the words. Raises NASError for a word that is no key=value, or an unknown key."""
    try:
        given = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)))
    except (OmegaConfBaseException, ValueError) as error:
        raise NASError(f"the words {' '.join(words)!r} ({error})", usage, "write key=value") from error
    assert isinstance(given, dict)
    unknown = sorted(set(map(str, given)) - set(defaults))
    if unknown:
        raise NASError(f"the option {unknown[0]!r}", f"one of {', '.join(defaults)}", usage)
    return {**defaults, **{str(key): value for key, value in given.items()}}
