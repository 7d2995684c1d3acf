"""Installed files of conf/: groups, their options, and the text of a file."""

from __future__ import annotations

from importlib import resources
from typing import Any

TABLES = "table"  # files of `voxnas tables`, which are no options of Hydra


def groups() -> dict[str, list[str]]:
    """Return the names of the options of each group of conf/, without `.yaml`.

    Returns:
        Group -> names of its options.
    """
    folders = sorted((entry for entry in resources.files("conf").iterdir() if entry.is_dir()), key=lambda one: one.name)
    found = {folder.name: _options(folder) for folder in folders}
    return {group: options for group, options in found.items() if options and group != TABLES}


def tables() -> list[str]:
    """Return the names of the tables in conf/table, without `.yaml`.

    Returns:
        The names, sorted.
    """
    return _options(resources.files("conf") / TABLES)


def text_of(name: str) -> str:
    """Read a file of conf/.

    Args:
        name: Path of the file within conf/.

    Returns:
        Its text.
    """
    return (resources.files("conf") / name).read_text(encoding="utf-8")


def _options(folder: Any) -> list[str]:
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
