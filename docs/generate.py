"""Write the reference pages that are made of conf/, the parsers of the commands and the docstrings of classes.

python -m docs.generate
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from omegaconf import OmegaConf

from experiments.cli import Parser
from experiments.commands.voxnas import COMMANDS, PARSER
from experiments.conf_files import groups, text_of
from experiments.hydra_command import help_page
from nas import data
from nas.data.io.limits import Limit
from nas.metrics.metric import Metric
from nas.metrics.names import COSTS

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by `python -m docs.generate`; edit conf/, the docstrings or docs/generate.py instead. -->"
TASKS = ("classification", "segmentation", "detection")
PROGRAMS = ("experiments.lung_detector.prepare", "experiments.lung_screening.phantoms")
SHARED = ("study", "split", "training", "evaluator", "tracking")
SERVICE = "experiments.lung_detector.service.images"
TOPICS = (
    "Image files",
    "Geometry",
    "NIfTI",
    "DICOM series",
    "NumPy arrays",
    "Labels and channels",
    "Slices",
)  # others follow
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields", "Note", "Example")


def pages() -> dict[str, str]:
    """Return the generated pages.

    Returns:
        File name in docs/reference -> content.
    """
    content = {
        "configuration.md": configuration(),
        "spaces.md": spaces(),
        "strategies.md": components("strategy", "Strategies", STRATEGIES) + "\n\n" + fidelities(),
        "data-sets.md": components("data", "Data sets", DATA),
        "tasks-and-metrics.md": tasks(),
        "commands.md": commands(),
        "limits.md": limits(),
    }
    generated = {name: f"{NOTE}\n\n{text.rstrip()}\n" for name, text in content.items()}
    written = [REFERENCE / "files.md", *sorted((REFERENCE / "formats").glob("*.md"))]
    described = {path.relative_to(REFERENCE).as_posix(): files(path.read_text(encoding="utf-8")) for path in written}
    return {**generated, **described}


CONFIGURATION = """\
Every setting is in `conf/`. A command takes `group=name`, which chooses a file, and `key=value`, which changes a
setting; `--cfg job` prints the composed configuration. Shells may expand brackets: quote values such as
`'data.window=[-1000,400]'`. Spaces, strategies, data sets and tasks have pages of their own: [spaces](spaces.md),
[strategies](strategies.md), [data sets](data-sets.md), [tasks and metrics](tasks-and-metrics.md)."""
RECIPES = """\
`recipe=<name>` searches settings of the training together with the network of any space: see
[Joint search](../how-to/joint-search.md)."""
SPACES = """\
A space is chosen by `space=<name>`. A published network is named `arch=<space>/<network>` in `run_train.py`. A further
space: [Add a search space](../tutorials/add-a-space.md)."""
STRATEGIES = """\
A strategy is chosen by `strategy=<name>`. A measured comparison: [Compare strategies](../how-to/compare-strategies.md).
Every strategy keeps `constraints` and accepts any number of `objectives`."""
FIDELITIES = """\
`fidelity=<name>` trains the networks of any strategy in steps, and only the good ones to the end: see
[Multi-fidelity](../how-to/multi-fidelity.md)."""
DATA = """\
A data set is chosen by `data=<name>`. It is prepared once as an HDF5 store in `data_cache`; the name of the store
carries a hash of the settings, of the content of the source files and of the code that reads them. The environment
variable `VOXNAS_DATA` is the default of `data.root`, `VOXNAS_CACHE` that of `data_cache`."""
TASKS_TEXT = """\
A task is chosen by `task=<name>`; without it, the default task of the data set is used. The first metric is the score:
it decides which epoch is kept, and `objectives.score` stands for it."""
LIMITS_TEXT = """\
One reader decides geometry and values for all data sets and commands (`nas/data/io/images.py`); the service has its
own, stricter one. Ambiguous input is refused in one line that names the file, the tag and the fix. The rows come from
the constants `LIMITS` of the readers' modules."""
COMMANDS_TEXT = """\
`search` and `train` take settings `key=value`; all other commands take paths and options. A mistake ends with one line
(got, expected, fix) and exit code 2, an interrupt with 130. `voxnas --version` prints the version."""


def configuration() -> str:
    """Return the page on the files of conf/ that have no page of their own."""
    parts = ["# Configuration", CONFIGURATION]
    for name in ("common", "search", "train", "brain_tumor"):
        parts += [f"## conf/{name}.yaml", f"```yaml\n{text_of(f'{name}.yaml').strip()}\n```"]
    for group in SHARED:
        parts += [f"## {group}", *(component(group, name) for name in groups(plugins=False)[group])]
    parts += ["## recipe", RECIPES]
    for name in groups(plugins=False)["recipe"]:
        parts += [f"### `recipe={name}`", f"```yaml\n{text_of(f'recipe/{name}.yaml').strip()}\n```"]
    parts += ["## experiment", "An experiment sets several groups at once: `experiment=<name>`."]
    for name in groups(plugins=False)["experiment"]:
        parts += [f"### `experiment={name}`", f"```yaml\n{text_of(f'experiment/{name}.yaml').strip()}\n```"]
    return "\n\n".join(parts)


def fidelities() -> str:
    """Return the section on multi-fidelity rules, which follows the strategies."""
    parts = [component("fidelity", name, "###") for name in groups(plugins=False)["fidelity"]]
    return "\n\n".join(["## Multi-fidelity", FIDELITIES, *parts])


def spaces() -> str:
    """Return the page on search spaces, with the published networks of each."""
    parts = ["# Spaces", SPACES]
    for name in groups(plugins=False)["space"]:
        published = _class(str(_yaml("space", name)["_target_"])).published
        rows = [(f"`{name}/{network}`", point.source) for network, point in published.items()]
        parts += [component("space", name, "##"), *([_table(("published network", "source"), rows)] if rows else [])]
    return "\n\n".join(parts)


def tasks() -> str:
    """Return the page on tasks, their metrics and costs."""
    parts = ["# Tasks and metrics", TASKS_TEXT]
    for name in TASKS:
        module = import_module(f"nas.tasks.{name}")
        parts += [
            component("task", name, "##"),
            _table(("metric", "name", "unit", "better", "search"), _rows(module.METRICS)),
        ]
    parts += [
        "`search`: whether the metric is measured after each epoch, so that a search can use it as an objective.",
        "## Costs",
        "Costs are functions of the architecture and the shape of the input, except latency and peak memory, which are "
        "measured. FLOPs are 2 × MACs.",
        _table(("cost", "in tables"), [(f"`{name}`", unit.heading) for name, unit in COSTS.items()]),
    ]
    return "\n\n".join(parts)


def limits() -> str:
    """Return the page on what is read, corrected and refused."""
    rows = [(limit.topic, limit.case, limit.answer, limit.detail) for limit in stated_limits()]
    return "\n\n".join(["# Limits", LIMITS_TEXT, _table(("input", "property", "answer", "detail"), rows)])


def stated_limits() -> list[Limit]:
    """Collect the rows of every module below `nas.data` and of the service.

    Returns:
        The rows in the order of their topics, within a topic as the modules state them.
    """
    names = [module.name for module in walk_packages(data.__path__, f"{data.__name__}.")]
    found = [limit for name in (*names, SERVICE) for limit in getattr(import_module(name), "LIMITS", ())]
    others = sorted({limit.topic for limit in found} - set(TOPICS))
    return sorted(found, key=lambda limit: (*TOPICS, *others).index(limit.topic))


def files(text: str) -> str:
    """Replace the tables of fields in a page on files.

    Args:
        text: The page.

    Returns:
        The page with a table of fields behind each mark `<!-- fields: CLASS -->`, up to `<!-- end -->`.
    """

    def table(found: re.Match[str]) -> str:
        fields = [(f"`{name}`", meaning) for name, meaning in _docstring(_class(found[1]))[1].items()]
        return f"<!-- fields: {found[1]} -->\n\n{_table(('field', 'meaning'), fields)}\n\n<!-- end -->"

    return re.sub(r"<!-- fields: ([\w.]+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


def components(group: str, title: str, text: str) -> str:
    """Return the page on a group of conf/."""
    return "\n\n".join([f"# {title}", text, *(component(group, name, "##") for name in groups(plugins=False)[group])])


def component(group: str, name: str, level: str = "###") -> str:
    """Describe one file of a group: its comment, its class, and its settings.

    Args:
        group: A group of conf/.
        name: Name of the file without `.yaml`.
        level: Marks of the heading.

    Returns:
        A section.
    """
    values = _yaml(group, name)
    target = str(values.pop("_target_", ""))
    text, arguments = _docstring(_class(target)) if target else ("", {})
    if base := values.get("defaults"):  # a file that changes another one: the class is that of the other
        arguments = _docstring(_class(str(_yaml(group, base[0])["_target_"])))[1]
    parts = [f"{level} `{group}={name}`", *([f"`{target}`"] if target else []), _comment(group, name), text]
    rows = _settings(values, {**_comments(group, name), **arguments})
    if rows:
        parts.append(_table(("setting", "default", "meaning"), rows))
    return "\n\n".join(part for part in parts if part)


def _settings(values: dict[str, Any], meanings: dict[str, str], prefix: str = "") -> list[tuple[str, ...]]:
    """Rows of the table of settings; the settings of a part with a class of its own follow as `part.setting`."""
    rows: list[tuple[str, ...]] = []
    for key, value in values.items():
        if key.startswith("_") or key == "defaults":
            continue
        target = str(value.get("_target_", "")) if isinstance(value, dict) else ""
        if target and "$" not in target:
            rows += [(f"`{prefix}{key}`", f"`{target}`", meanings.get(key, ""))]
            rows += _settings(value, _docstring(_class(target))[1], f"{prefix}{key}.")
        else:
            rows.append((f"`{prefix}{key}`", f"`{_shown(value)}`", meanings.get(key, "")))
    return rows


def commands() -> str:
    """Return the page on the commands."""
    parts = ["# Commands", COMMANDS_TEXT]
    for name, (module_name, kind, summary) in COMMANDS.items():
        parts += [f"## voxnas {name}", f"{summary[0].upper()}{summary[1:]}."]
        module = import_module(module_name)
        if kind == PARSER:
            parts += _parser(module.parser())
        else:
            page = help_page(f"voxnas {name}", parts.pop(), name, module.EXAMPLES)
            parts += [f"Also `python {module_name}.py`.", f"```\n{page}\n```"]
    for module_name in PROGRAMS:
        parts += [f"## python -m {module_name}", *_parser(import_module(module_name).parser())]
    return "\n\n".join(parts)


def _parser(parser: Parser) -> list[str]:
    if parser.commands:
        return [part for name, one in parser.commands.items() for part in (f"### {one.prog}", *_parser(one))]
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        shown = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        name = " ".join([*action.option_strings[-1:], str(shown)]).strip()
        if action.choices is not None and action.option_strings:
            name = f"{action.option_strings[-1]} {'|'.join(map(str, action.choices))}"
        many = " ..." if action.nargs == "+" else ""
        rows.append((f"`{name}{many}`", str(action.help or "") % {"default": action.default}))
    epilog = str(parser.epilog or "").partition("\n")[2]
    examples = "\n".join(line.strip() for line in epilog.splitlines())
    return [str(parser.description), _table(("argument", "meaning"), rows), f"```\n{examples}\n```"]


def _class(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def _docstring(cls: type) -> tuple[str, dict[str, str]]:
    """The text of a class docstring before its sections, and the meanings of its arguments and attributes."""
    text = inspect.getdoc(cls) or ""
    heading = re.search(rf"^(?:{'|'.join(SECTIONS)}):$", text, re.MULTILINE)
    before = text[: heading.start()] if heading else text
    found = re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    entries = re.split(r"^    (?=[\w*]+: )", "\n" + "\n".join(found), flags=re.MULTILINE)[1:]
    pairs = (entry.partition(": ") for entry in entries)
    arguments = {name.lstrip("*"): " ".join(meaning.split()) for name, _, meaning in pairs}
    return before.strip(), arguments


def _yaml(group: str, name: str) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.create(text_of(f"{group}/{name}.yaml")), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _comment(group: str, name: str) -> str:
    """The comment at the head of a file; its lines of commands become a block of code."""
    lines = [line for line in text_of(f"{group}/{name}.yaml").splitlines() if line.strip()]
    head: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        if line.startswith("# @package"):
            continue
        head.append(line.lstrip("# "))
    code = [line for line in head if line.startswith(("python ", "voxnas "))]
    text = " ".join(line for line in head if line not in code)
    return "\n\n".join([*([text] if text else []), *(["```\n" + "\n".join(code) + "\n```"] if code else [])])


def _comments(group: str, name: str) -> dict[str, str]:
    """Setting -> the comment in its line."""
    found = re.findall(r"^(\w+):[^#\n]*#\s*(.+)$", text_of(f"{group}/{name}.yaml"), re.MULTILINE)
    return dict(found)


def _rows(metrics: tuple[Metric, ...]) -> list[tuple[str, ...]]:
    return [
        (
            f"`{metric.name}`",
            metric.label,
            metric.unit,
            "larger" if metric.direction == "maximize" else "smaller",
            "yes" if metric.quick else "no",
        )
        for metric in metrics
    ]


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").strip() for cell in row) + " |" for row in lines)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items() if key != "_target_") + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if not _number(value) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {REFERENCE / name}\n")


if __name__ == "__main__":
    main()
