"""`voxnas new KIND NAME`: write a package with a part of your own, which installs, passes its checks and runs."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, write_line
from experiments.conf_files import options as conf_options
from nas.errors import NASError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = ("voxnas new space plainnets", "voxnas new data ourclinic --folder packages/ourclinic")
KINDS = {  # kind -> (class in its template, groups of conf/ in which its name has to be free)
    "space": ("TemplateSpace", ("space",)),
    "strategy": ("TemplateStrategy", ("strategy",)),
    "evaluator": ("TemplateEvaluator", ("evaluator",)),
    "task": ("TemplateTask", ("task",)),
    "data": ("TemplateSource", ("data", "split")),
}
LIST = {"space": "spaces", "strategy": "strategies", "evaluator": "evaluators", "task": "tasks", "data": "data"}
NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


def parser() -> Parser:
    """Return the parser of `voxnas new`.

    Returns:
        The parser.
    """
    new = Parser("voxnas new", "Write a package with a part of your own: module, conf/, checks, README.", EXAMPLES)
    new.add_argument("kind", metavar="KIND", choices=tuple(KINDS), help=", ".join(KINDS))
    new.add_argument("name", metavar="NAME", help="of the package and in the configuration: small letters, digits, _")
    new.add_argument("--folder", metavar="DIR", help="folder that is made (default: NAME)")
    new.set_defaults(run=run)
    return new


def run(options: argparse.Namespace) -> None:
    """Write the package and print the next commands.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If the name cannot be used, or the folder exists.
    """
    from pathlib import Path

    kind, name = options.kind, options.name
    folder = Path(options.folder or name)
    if folder.exists():
        raise NASError(f"the folder {folder}, which exists", "a new folder", "another name, or --folder DIR")
    require_name(kind, name)
    written = write_package(kind, name, folder)
    write_line(f"wrote {len(written)} files in {folder}: {', '.join(written)}")
    write_line(f"next: pip install -e {folder}; pytest {folder}; voxnas {LIST[kind]}; see {folder}/README.md")


def require_name(kind: str, name: str) -> None:
    """Check that a name can be that of a package and of a file in conf/.

    Args:
        kind: A key of `KINDS`.
        name: The name.

    Raises:
        NASError: If it is no Python name in small letters, or is taken.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        expected = "2 to 40 small letters, digits and _, the first a letter, and no word of Python"
        raise NASError(f"the name {name!r}", expected, "for example plainnets")
    for group in KINDS[kind][1]:
        if owners := conf_options().get(group, {}).get(name):
            raise NASError(
                f"the name {name!r}, which {owners[0]} has as {group}={name}", "a new name", "choose another"
            )
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise NASError(f"the name {name!r}, which an installed package has", "a new name", "choose another")


def write_package(kind: str, name: str, folder: Path) -> list[str]:
    """Write the package of a template under another name.

    Args:
        kind: A key of `KINDS`.
        name: Name of the package.
        folder: Folder that is made.

    Returns:
        The files, relative to the folder.
    """
    template = KINDS[kind][0]
    base = template.removeprefix("Template")
    words = {
        template.removesuffix(base) + "Scores": f"{_camel(name)}Scores",
        template: f"{_camel(name)}{base}",
        f"template_{kind}": name,
        "template_part": name,
    }
    from nas.utils.files import atomic_folder

    with atomic_folder(folder) as place:
        written = _write_files(kind, place, words)
    return sorted(written)


def _write_files(kind: str, folder: Path, words: dict[str, str]) -> list[str]:
    written = []
    for part in ("common", kind):
        for path, text in _texts(resources.files("experiments") / "templates" / part):
            for old, new in words.items():
                path, text = path.replace(old, new), text.replace(old, new)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _texts(folder: Any, within: str = "") -> list[tuple[str, str]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found += _texts(entry, f"{within}{entry.name}/")
        elif entry.is_file():
            found.append((f"{within}{entry.name}", entry.read_text(encoding="utf-8")))
    return found


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
