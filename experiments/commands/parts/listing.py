"""Shared parts of the lists: the files of a group of conf/ with their classes, and a table that fits 80 columns."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.cli import Parser, write_line
from experiments.conf_files import OWN, ConfFile, files_of, problems
from nas.errors import NASError, first_line

WIDTH = 80
BUILT_IN = "built in"
FIXED = "\N{NO-BREAK SPACE}"  # a blank at which no line is broken
Part = Mapping[str, Any]  # one file of the group: name, source, class, about and the facts of its kind, as JSON values


@dataclass(frozen=True)
class Listing:
    """One list of parts.

    Args:
        command: Name of the command, such as "spaces".
        group: Group of conf/.
        summary: One sentence for the help page.
        facts: Called with settings and text of a file; returns what the list knows of the part, as JSON values.
        columns: Facts with a column of the table, between name and source.
        below: Called with a part; returns the text under its line.
    """

    command: str
    group: str
    summary: str
    facts: Callable[[dict[str, Any], str], Mapping[str, Any]]
    columns: Sequence[str]
    below: Callable[[Part], str]

    def parser(self) -> Parser:
        """Make the parser of the command.

        Returns:
            The parser.
        """
        program = f"voxnas {self.command}"
        parser = Parser(program, self.summary, (program, f"{program} --json"))
        parser.add_argument("--json", action="store_true", help="all facts as JSON")
        parser.set_defaults(run=self.run)
        return parser

    def run(self, options: argparse.Namespace) -> None:
        """Write the list; parts that cannot be used are named on stderr.

        Args:
            options: Parsed arguments.
        """
        parts = [self._part(file) for file in files_of(self.group)]
        if options.json:
            write_line(json.dumps(parts, indent=1))
            return
        for line in self._table([part for part in parts if "problem" not in part]):
            write_line(line)
        for part in parts:
            if "problem" in part:
                print(f"warning: {self.group}={part['name']} of {part['source']}: {part['problem']}", file=sys.stderr)
        for problem in problems():
            print(f"warning: {problem}", file=sys.stderr)

    def _part(self, file: ConfFile) -> Part:
        source = BUILT_IN if file.source == OWN else file.source
        part: dict[str, Any] = {"name": file.name, "source": source}
        if not file.used:
            return {**part, "problem": f"not used, as another package has {self.group}={file.name}"}
        try:
            settings = _settings(file.text)
            return {**part, "class": settings["_target_"], **self.facts(settings, file.text)}
        except Exception as error:  # of a plug-in, whose code may raise anything
            return {**part, "problem": str(error) if isinstance(error, NASError) else first_line(error)}

    def _table(self, parts: Sequence[Part]) -> Iterator[str]:
        keys = ("name", *self.columns, "source")
        rows = [[self.group, *keys[1:]], *([_cell(part, key) for key in keys] for part in parts)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        signs = [">" if any(isinstance(part[key], int) for part in parts) else "<" for key in keys]
        for cells, part in zip(rows, [None, *parts], strict=True):
            yield "  ".join(f"{cell:{way}{n}}" for cell, way, n in zip(cells, signs, widths, strict=True)).rstrip()
            if part is not None:
                below = textwrap.wrap(self.below(part), WIDTH, initial_indent="  ", subsequent_indent="  ")
                yield from (line.replace(FIXED, " ") for line in below)


def about(cls: type) -> str:
    """Return the first sentence of a class's description.

    Args:
        cls: The class.

    Returns:
        One line; empty without a docstring.
    """
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")


def _settings(text: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    if not isinstance(content, dict) or not isinstance(content.get("_target_"), str):
        raise NASError("a file without _target_", "the class of the part", "write _target_: package.Class")
    return {str(key): value for key, value in content.items()}


def _cell(part: Part, key: str) -> str:
    value = part[key]
    if key == "networks" and not part["exact"]:
        return f"< {value:.1e}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def commented_task(text: str) -> str:
    """Return the kind of task of the command in the first comment of a file.

    Args:
        text: The file.

    Returns:
        The value of `task=` there; "classification", the default, without one.
    """
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    found = re.search(r"\btask=(\w+)", comment)
    return found[1] if found else "classification"
