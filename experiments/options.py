"""Settings of a command that is not Hydra's as words key=value, read as Hydra reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import NASError

KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def read_options(words: Sequence[str], defaults: Mapping[str, Any], usage: str) -> dict[str, Any]:
    """The defaults, overridden by the words. A default that is a text, a number, true or false takes only its like.

    Raises NASError for a word that is no key=value, an unknown key, and a value of another type.
    """
    try:
        given = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)))
    except (OmegaConfBaseException, ValueError) as error:
        raise NASError(f"the words {' '.join(words)!r} ({error})", usage, "write key=value") from error
    assert isinstance(given, dict)
    values = {str(key): value for key, value in given.items()}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise NASError(f"the option {unknown[0]!r}", f"one of {', '.join(defaults)}", usage)
    return {**defaults, **{key: _like(defaults[key], key, value) for key, value in values.items()}}


def packaged(group: str, name: Any) -> DictConfig:
    """conf/<group>/<name>.yaml as the file has it. Raises NASError for a name that is not there."""
    folder = resources.files("conf") / group
    names = sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if name not in names:
        raise NASError(f"{group}={name}", f"one of {', '.join(names)}", f"choose {group}=<name>")
    conf = OmegaConf.create((folder / f"{name}.yaml").read_text())
    assert isinstance(conf, DictConfig)
    return conf


def _like(default: Any, key: str, value: Any) -> Any:
    kind = type(default)
    if kind is str:
        return str(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in KINDS and type(value) is not kind:
        raise NASError(f"{key}={value}", f"{KINDS[kind]}, as {default}", f"mend {key}=")
    return value
