"""Installed plug-ins: packages that declare themselves under the entry-point group `voxnas.plugins`.

Only their metadata are read; a plug-in is imported when one of its classes is used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

GROUP = "voxnas.plugins"
CONF = "conf"


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group.

    Args:
        module: Dotted name of its package, such as "annanas".
        distribution: Name of the installed distribution, as pip lists it.
        version: Version of the distribution.
        conf: Folder of its configuration files; None if it has none.
        problem: Why it cannot be used; empty if nothing is known to be wrong.
    """

    module: str
    distribution: str
    version: str
    conf: Path | None = None
    problem: str = ""

    @property
    def package(self) -> str:
        """The top-level package, whose classes files may name."""
        return self.module.partition(".")[0]

    @property
    def title(self) -> str:
        """Distribution and version, as lists and messages show them."""
        return f"{self.distribution} {self.version}"


def installed() -> tuple[Plugin, ...]:
    """Return the plug-ins that this Python finds.

    Returns:
        The plug-ins, sorted by distribution and module.
    """
    return _on(tuple(sys.path))


def plugin_packages() -> tuple[str, ...]:
    """Return the packages whose classes files may name because they are installed as plug-ins.

    Returns:
        Top-level packages, each once.
    """
    return tuple(dict.fromkeys(plugin.package for plugin in installed() if not plugin.problem))


def plugin_of(package: str) -> Plugin | None:
    """Find the plug-in that a package belongs to.

    Args:
        package: A top-level package.

    Returns:
        The plug-in, or None if no plug-in has this package.
    """
    return next((plugin for plugin in installed() if plugin.package == package), None)


@cache
def _on(path: tuple[str, ...]) -> tuple[Plugin, ...]:
    from importlib.metadata import entry_points  # here, as most commands name no class of a plug-in

    found = []
    for point in entry_points(group=GROUP):
        name, version = (point.dist.name, point.dist.version) if point.dist else (point.name, "?")
        found.append(_plugin(point.value.partition(":")[0].strip(), str(name), str(version)))
    return tuple(sorted(found, key=lambda plugin: (plugin.distribution, plugin.module)))


def _plugin(module: str, distribution: str, version: str) -> Plugin:
    """Locate the package without importing it; `find_spec` of a top-level name runs none of its code."""
    package, *inner = module.split(".")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return Plugin(module, distribution, version, problem=f"no package {package}")
    folders = [Path(place, *inner) for place in spec.submodule_search_locations or ()]
    if inner and not any(folder.is_dir() or folder.with_suffix(".py").is_file() for folder in folders):
        return Plugin(module, distribution, version, problem=f"no module {module}")
    conf = next((folder / CONF for folder in folders if (folder / CONF).is_dir()), None)
    return Plugin(module, distribution, version, conf)
