"""The files of conf/ as they are installed: groups, their options, and one file as it stands."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from nas.errors import NASError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def groups() -> dict[str, list[str]]:
    """Return the names of the options of each group of conf/, without `.yaml`."""
    folders = sorted((entry for entry in resources.files("conf").iterdir() if entry.is_dir()), key=lambda one: one.name)
    found = {folder.name: _options(folder) for folder in folders}
    return {group: options for group, options in found.items() if options}


def text_of(name: str) -> str:
    """Return the text of conf/<name>."""
    return (resources.files("conf") / name).read_text(encoding="utf-8")


def packaged(group: str, name: Any) -> DictConfig:
    """Read one option of a group.

    Args:
        group: A folder of conf/.
        name: An option of it.

    Returns:
        The content of conf/<group>/<name>.yaml, without its defaults composed.

    Raises:
        NASError: If the group has no such option.
    """
    from omegaconf import DictConfig, OmegaConf

    names = _options(resources.files("conf") / group)
    if name not in names:
        raise NASError(f"{group}={name}", f"one of {', '.join(names)}", f"choose a {group} of this list")
    conf = OmegaConf.create(text_of(f"{group}/{name}.yaml"))
    assert isinstance(conf, DictConfig)
    return conf


def _options(folder: Any) -> list[str]:
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
