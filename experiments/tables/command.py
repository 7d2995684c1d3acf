"""`voxnas tables NAME`, also `python -m experiments.tables NAME`: compute and write the table of a paper."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.argument_types import number_type
from experiments.cli import USER_ERROR, Parser, has_width, write_line, write_tables
from experiments.conf_files import tables
from experiments.tables.progress import TableProgress
from experiments.tables.spec import SIZES, Size, Table, load
from nas.errors import NASError
from nas.utils.text_table import in_columns, terminal_width

PROGRAM = "voxnas tables"
OUT = Path("outputs/tables")
OPTION = re.compile(r"^(size|rows|out|data_root|minutes)=")
QUICK_MINUTES = 60.0
EXAMPLES = (
    f"{PROGRAM} --list",
    f"{PROGRAM} naslung_params",
    f"{PROGRAM} naslung --size full --data-root /path/to/data",
    f"{PROGRAM} medmnist --rows searched --data adrenal=/path/to/adrenalmnist3d",
    f"{PROGRAM} my_table.yaml",
)


class TablesParser(Parser):
    """Parser that also takes `size=quick` for `--size quick`, and so for the other options."""

    def parse_intermixed_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parse the arguments.

        Args:
            args: The arguments.
            namespace: As in argparse.

        Returns:
            The parsed arguments.
        """
        return super().parse_intermixed_args([OPTION.sub(_as_option, word) for word in args], namespace)


def _as_option(match: re.Match[str]) -> str:
    return f"--{match[1].replace('_', '-')}="


def parser() -> Parser:
    """Return the parser of `voxnas tables`.

    Returns:
        The parser.
    """
    made = TablesParser(PROGRAM, "Compute the table of a paper: published rows beside rows of ours.", EXAMPLES)
    add = made.add_argument
    add("names", metavar="NAME", nargs="*", help="a table of --list, or a yaml file; with --list its rows are listed")
    add("--list", action="store_true", help="list the tables, or the rows of NAME, and compute nothing")
    add("--size", choices=SIZES, default="quick", help="quick: two cores, under an hour; cpu: hours; full")
    add("--rows", nargs="+", action="extend", default=[], metavar="ROW", help="only these: section/row, wildcards")
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"results go to DIR/NAME (default: {OUT})")
    add("--data-root", type=Path, default=None, metavar="DIR", help="folder of data sets (default: $VOXNAS_DATA)")
    add("--data", action="append", default=[], metavar="NAME=DIR", help="folder of one data set; may be repeated")
    limit = "rows that pass this sum are left out (default: 60 with size quick, none with others)"
    add("--minutes", type=number_type(float, 0), default=None, help=limit)
    made.add_allow_package()
    made.set_defaults(run=run)
    return made


def run(options: argparse.Namespace) -> int:
    """List tables, or compute one and print it.

    Args:
        options: Parsed arguments.

    Returns:
        0, or 2 if a row failed.

    Raises:
        NASError: If the table, a row, or the data are wrong.
    """
    names = options.names
    if options.list and not names:
        return _list()
    if len(names) != 1 or _is_training(names[0]):
        if any(_is_training(name) for name in names):
            raise NASError(
                f"trainings ({names[0]})",
                f"a table: {', '.join(tables())}",
                f"voxnas compare {' '.join(names)} makes one table of several trainings",
            )
        raise NASError(f"{len(names)} tables", f"one of {', '.join(tables())}", f"{PROGRAM} --list")
    name, table = load(names[0], options.allow_package)
    return _list_rows(name, table) if options.list else _compute(name, table, options)


def _is_training(name: str) -> bool:
    path = Path(name)
    return path.suffix not in (".yaml", ".yml") and name not in tables() and (path.suffix == ".json" or "/" in name)


def _list() -> int:
    for line in in_columns([(name, load(name)[1].title) for name in tables()], _width()):
        write_line(line)
    return 0


def _list_rows(name: str, table: Table) -> int:
    write_line(f"{name}: {table.title}")
    for section in table.sections:
        write_line(f"\n{section.title}")
        rows = []
        for row in section.rows:
            sizes = [
                f"{size} about {section.pace * row.minutes[size]:g} min" for size in row.sizes if size in row.minutes
            ]
            kind = "ours" if row.is_ours else "published"
            rows.append((f"  {section.id}/{row.key}", kind, ", ".join(sizes)))
        for line in in_columns(rows, _width()):
            write_line(line.rstrip())
    return 0


def _shown(message: str, places: Mapping[str, str]) -> str:
    """Return a message for a published table, without folders of this machine."""
    for place, word in places.items():
        message = message.replace(place, word)
    return message


def _compute(name: str, table: Table, options: argparse.Namespace) -> int:
    from experiments.tables.cells import blocks
    from experiments.tables.latex import latex
    from experiments.tables.output import markdown, tidy_csv
    from experiments.tables.plan import Folders, data_folders, plan
    from experiments.tables.results import Results
    from experiments.tables.run import Runner
    from nas.utils.files import exclusive, write_text
    from nas.utils.folders import require_writable

    size: Size = options.size
    if size not in table.sizes:
        raise NASError(f"--size {size} of the table {name}", f"one of {', '.join(table.sizes)}", "choose another size")
    root = options.data_root or (Path(os.environ["VOXNAS_DATA"]) if os.environ.get("VOXNAS_DATA") else None)
    if root is not None and not root.is_dir():
        raise NASError(f"--data-root {root}", "a folder of data sets", "check the path")
    available = data_folders(table, root, _named(options.data))
    limit = options.minutes if options.minutes is not None else QUICK_MINUTES if size == "quick" else float("inf")
    runs = (OUT / name / "runs" / size).resolve()
    folder = options.out / name
    results = Results(folder, size)
    rows = plan(table, size, available, options.rows, limit, results.has)
    progress = TableProgress(name, rows)
    require_writable(folder)
    with exclusive(runs):
        runner = Runner(table, Folders(runs, available), results, progress, options.allow_package)
        try:
            computed = runner.run(rows)
        finally:
            progress.close()
    places = {str(runs): "RUNS", **{str(place): f"DATA/{table.data[key].folder}" for key, place in available.items()}}
    made = blocks(table, size, rows, computed, {key: _shown(text, places) for key, text in runner.failures.items()})
    missing = {key: need.source for key, need in table.data.items() if key not in available}
    text = markdown(table, Path(options.names[0]).name, size, made, missing)
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", tidy_csv(table, name, size, made))
    write_text(folder / "table.tex", latex(table, name, size, made))
    write_tables(text.partition("\n## Commands\n")[0] if has_width() else text)
    for key, source in missing.items():
        waiting = [row.key for row in rows if row.key not in computed and key in row.reason]
        if waiting:
            _show(f"no data {key}: {source.strip()} Waiting: {', '.join(waiting)}.")
    for key, message in runner.failures.items():
        print(f"failed: {key}: {message}", file=sys.stderr)
    write_line(f"\nwrote table.md, table.csv and table.tex into {folder}")
    return USER_ERROR if runner.failures else 0


def _width() -> int | None:
    return terminal_width() if has_width() else None


def _show(text: str) -> None:
    write_line(textwrap.fill(text, terminal_width()) if has_width() else text)


def _named(texts: Sequence[str]) -> dict[str, Path]:
    named = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise NASError(f"--data {text}", "NAME=DIR", "for example --data lidc=/path/to/lidc")
        named[name] = Path(path)
    return named
