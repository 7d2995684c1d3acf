"""Configuration files: those of VoxNAS and of installed plug-ins, their groups, options and texts."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from nas.errors import NASError
from nas.utils.plugins import installed

TABLES = "table"  # files of `voxnas tables`, which are no options of Hydra

OWN = "VoxNAS"


@dataclass(frozen=True)
class ConfFile:
    """One file of a group of conf/.

    Args:
        name: Its name without `.yaml`.
        source: Title of the package that brings it, such as "VoxNAS" or "annanas 0.1.0".
        text: Its content.
        used: Whether `group=name` chooses it; False if an earlier package has a file of this name.
    """

    name: str
    source: str
    text: str
    used: bool


def groups(plugins: bool = True) -> dict[str, list[str]]:
    """Return the names of the options of each group of conf/, without `.yaml`.

    Args:
        plugins: Whether options of installed plug-ins are included.

    Returns:
        Group -> names of its options.
    """
    return {group: sorted(names) for group, names in sorted(options(plugins).items()) if group != TABLES}


def tables() -> list[str]:
    """Return the names of the tables in conf/table and in that of installed plug-ins, without `.yaml`.

    Returns:
        The names, sorted.
    """
    return sorted(options().get(TABLES, {}))


def options(plugins: bool = True) -> dict[str, dict[str, list[str]]]:
    """Return the options of each group with the packages that bring them.

    Args:
        plugins: Whether options of installed plug-ins are included.

    Returns:
        Group -> name without `.yaml` -> titles of packages such as "VoxNAS" or "annanas 0.1.0". The first is used.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for title, conf in _folders() if plugins else [(OWN, resources.files("conf"))]:
        for folder in conf.iterdir():
            for name in _options(folder) if folder.is_dir() else ():
                found.setdefault(folder.name, {}).setdefault(name, []).append(title)
    return found


def files_of(group: str) -> list[ConfFile]:
    """Return the files of a group, of VoxNAS and of all installed plug-ins.

    Args:
        group: Name of the group.

    Returns:
        The files, those of VoxNAS first, sorted by name.
    """
    found: list[ConfFile] = []
    for title, conf in _folders():
        folder = conf / group
        for name in _options(folder) if folder.is_dir() else ():
            used = all(file.name != name for file in found)
            found.append(ConfFile(name, title, (folder / f"{name}.yaml").read_text(encoding="utf-8"), used))
    return found


def text_of(name: str) -> str:
    """Read a file of conf/; of files with one name, that of VoxNAS.

    Args:
        name: Path of the file within conf/.

    Returns:
        Its text.

    Raises:
        NASError: If there is no such file.
    """
    for _, conf in _folders():
        if (path := conf / name).is_file():
            return path.read_text(encoding="utf-8")
    raise NASError(f"no file conf/{name}", "a file of VoxNAS or of an installed plug-in", "see the files in conf/")


def refuse_ambiguous(arguments: list[str]) -> None:
    """Refuse `group=name` on the command line if two plug-ins have the file, so that neither is taken by chance.

    Args:
        arguments: The command line, without the program.

    Raises:
        NASError: For the first such setting.
    """
    chosen = [argument.lstrip("+").partition("=") for argument in arguments if argument[:1] != "-"]
    for group, _, names in chosen:
        for name in names.strip("[]").split(",") if group.isidentifier() else ():
            titles = options().get(group, {}).get(name, [])
            if len(titles) > 1 and titles[0] != OWN:
                raise NASError(
                    f"{group}={name}, which {' and '.join(titles)} both have",
                    "one installed plug-in with this name",
                    f"uninstall one of them: pip uninstall {titles[-1].partition(' ')[0]}",
                )


def problems() -> list[str]:
    """Return one line for each installed plug-in that cannot be used.

    Returns:
        Lines that name the plug-in, the problem and the fix.
    """
    return [
        f"the plug-in {plugin.title} is left out: {plugin.problem}; fix: reinstall or uninstall {plugin.distribution}"
        for plugin in installed()
        if plugin.problem
    ]


def _folders() -> list[tuple[str, Any]]:
    """Title and folder of every source of configuration files, in the order of precedence."""
    own: list[tuple[str, Any]] = [(OWN, resources.files("conf"))]
    return own + [(plugin.title, plugin.conf) for plugin in installed() if plugin.conf is not None]


def _options(folder: Any) -> list[str]:
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))
