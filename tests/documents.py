"""Commands and links in README and docs/, and how a command is checked without running it."""

from __future__ import annotations

import re
import shlex
from configparser import ConfigParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.commands.voxnas import COMMANDS, PARSER
from experiments.plan_settings import with_whole_objectives
from experiments.sweep import register_resolvers
from tests.conftest import REPO

PROGRAMS = ("make", "pip", "voxnas", "python", "torchrun")
MAINS = {"run_search.py": "search", "run_train.py": "train"}
PAGES = (
    REPO / "README.md",
    REPO / "CONTRIBUTING.md",
    *sorted(path for path in (REPO / "docs").rglob("*.md") if path.parent.name != "reference"),
)


def commands(text: str) -> list[list[str]]:
    """The commands of bash blocks and of indented lines, as words, without comments."""
    lines = re.findall(r"^    (\S.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    for block in re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S):
        lines += block.splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.split()[:1] and line.split()[0] in PROGRAMS]


def check_command(words: list[str]) -> None:
    """Check a command without running it.

    Settings are composed by Hydra, options are parsed by the command's own parser. Targets of make, extras of pip and
    modules of `python -m` exist.
    """
    program, *rest = words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (REPO / "Makefile").read_text(), re.M), rest
    elif program == "pip":
        known = ConfigParser()
        known.read(REPO / "setup.cfg")
        extras = ",".join(re.findall(r"(?:voxnas|\.)\[([\w,]+)\]", " ".join(rest)))
        assert set(filter(None, extras.split(","))) <= set(known["options.extras_require"])
    elif program == "voxnas":
        _check_voxnas(*rest)
    elif program == "torchrun":
        script = next(number for number, word in enumerate(rest) if word.endswith(".py"))
        _check_settings(MAINS[rest[script]], rest[script + 1 :])
    elif rest[0] == "-m":
        _check_module(rest[1], rest[2:])
    elif rest[0] in MAINS:
        _check_settings(MAINS[rest[0]], rest[1:])
    else:
        assert rest[0] == "-c", words
        compile(rest[1], "<documentation>", "exec")


def _check_voxnas(name: str, *rest: str) -> None:
    if name == "--version":
        assert not rest
        return
    module, kind, _ = COMMANDS[name]
    if kind == PARSER:
        import_module(module).parser().parse_args(list(rest))
    else:
        _check_settings(name, list(rest))


def _check_module(name: str, rest: list[str]) -> None:
    assert find_spec(name) is not None, name
    if not name.startswith("experiments."):
        return
    module = import_module(f"{name}.__main__" if (REPO / name.replace(".", "/")).is_dir() else name)
    if name == "experiments.brain_tumor":
        assert rest[0] in module.COMMANDS
        _check_settings("brain_tumor", rest[1:])
    elif hasattr(module, "parser"):
        module.parser().parse_args(rest)


def _check_settings(config: str, words: list[str]) -> None:
    """Compose a configuration with the settings; of a sweep, its first job. The file of a plan is not there."""
    register_resolvers()
    settings = []
    with initialize_config_module("conf", version_base="1.3"):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        for word in with_whole_objectives([word for word in words if not word.startswith(("-", "plan="))]):
            (override,) = parser.parse_overrides([word])
            if override.is_sweep_override():
                word = f"{override.input_line.partition('=')[0]}={next(override.sweep_string_iterator())}"
            settings.append(word)
        compose(config, overrides=settings)


def links(text: str) -> list[str]:
    """Targets of Markdown links and images that are no web addresses."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", plain) if not link.startswith("http")]


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
