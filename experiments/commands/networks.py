"""`voxnas networks`: every published network by name, with our counts and those of the literature."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.cli import Parser, write_line
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.cost.published import NetworkCounts
    from nas.published import PublishedCount
    from nas.space import SearchSpace

EXAMPLES = (
    "voxnas networks",
    "voxnas networks --space naslung --out networks.csv",
    "voxnas networks --space resnet3d --json",
)
COLUMNS = ("params", "macs", "flops", "bytes", "input_shape", "source")  # of a csv file, between name and published
STATED = {"params": "parameters", "macs": "MACs", "flops": "FLOPs", "size": "file"}
NUMBERS = 4  # columns of the table that are numbers
NOTHING = "–"
LEGEND = (
    "MB: parameters in single precision; MACs: multiply-accumulates of convolutions and matrix products at the input; "
    "FLOPs: two per MAC"
)
log = logging.getLogger(__name__)


def parser() -> Parser:
    """Return the parser of `voxnas networks`.

    Returns:
        The parser.
    """
    networks = Parser("voxnas networks", "List published networks with our counts and the published ones.", EXAMPLES)
    add = networks.add_argument
    add("--space", action="append", metavar="SPACE", help="only the networks of this space; may be repeated")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--out", metavar="FILE", help="write the list into a file that ends in .csv or .json")
    networks.set_defaults(run=run)
    return networks


def run(options: argparse.Namespace) -> None:
    """Count the networks, and print or write them.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If there is no such space, or the file has another ending.
    """
    import json
    from pathlib import Path

    from nas.cost.published import counts_of
    from nas.utils.files import write_text
    from nas.utils.folders import require_output

    out = None if options.out is None else Path(options.out)
    if out is not None and out.suffix not in (".csv", ".json"):
        raise NASError(f"--out {out}", "a file that ends in .csv or .json", "name the format by the ending")
    if out is not None:
        require_output(out)
    found: list[NetworkCounts] = []
    for name in _names(options.space):
        try:
            found += counts_of(name, _space(name))
        except NASError as error:  # of a plug-in that cannot be imported
            if options.space:
                raise
            log.warning("space=%s is left out: %s", name, error)
    listed = json.dumps([counts.to_json() for counts in found], indent=1, ensure_ascii=False)
    if out is not None:
        write_text(out, f"{listed}\n" if out.suffix == ".json" else csv_text(found))
        write_line(f"wrote {out} ({len(found)} networks)")
    elif options.json:
        write_line(listed)
    else:
        for line in table_lines(found):
            write_line(line)


def _names(asked: Sequence[str] | None) -> list[str]:
    from experiments.conf_files import groups

    known = groups()["space"]
    for name in asked or ():
        if name not in known:
            raise NASError(f"--space {name}", f"one of {', '.join(known)}", "voxnas networks --space naslung")
    return [name for name in known if not asked or name in asked]


def _space(name: str) -> type[SearchSpace]:
    """Return the class of a space."""
    from omegaconf import OmegaConf

    from experiments.conf_files import text_of
    from nas.artifact import import_space

    return import_space(str(OmegaConf.to_container(OmegaConf.create(text_of(f"space/{name}.yaml")))["_target_"]), ())  # type: ignore[index,call-overload]


def table_lines(found: Sequence[NetworkCounts]) -> list[str]:
    """Return the table for a terminal; names are last, as some are long.

    Args:
        found: The networks.

    Returns:
        Lines: the table, then numbered notes on published counts that are defined in another way.
    """
    notes: list[str] = []
    rows: list[tuple[str, ...]] = [("parameters", "MB", "MACs (G)", "FLOPs (G)", "input", "published", "network")]
    for counts in found:
        params = NOTHING if counts.params is None else f"{counts.params:,}"
        shape = "x".join(map(str, counts.published.input_shape)) or NOTHING
        ours = (params, _in(counts.size, 1e6), _in(counts.macs, 1e9), _in(counts.flops, 1e9), shape)
        first, *others = [_stated(one, notes) for one in counts.published.counts] or [NOTHING]
        rows += [(*ours, first, counts.name), *((*[""] * len(ours), other, "") for other in others)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            f"{cell:>{width}}" if number < NUMBERS else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [*lines, "", LEGEND, *(f"[{number}] {note}" for number, note in enumerate(notes, start=1))]


def _stated(count: PublishedCount, notes: list[str]) -> str:
    """Return a published count with the number of its note, which is added to the notes."""
    text = f"{count} {STATED[count.quantity]}"
    if not count.note:
        return text
    note = f"{count.note} ({count.source})"
    if note not in notes:
        notes.append(note)
    return f"{text} [{notes.index(note) + 1}]"


def csv_text(found: Sequence[NetworkCounts]) -> str:
    """Return the networks as CSV, a row for each published count; one row for a network without any.

    Args:
        found: The networks.

    Returns:
        Text with a header.
    """
    import csv
    import io

    stated = ("quantity", "value", "unit", "source", "note")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *COLUMNS, *(f"published_{name}" for name in stated)])
    for counts in found:
        row = counts.to_json()
        row["input_shape"] = "x".join(map(str, row["input_shape"]))
        for one in row["published"] or [{}]:
            writer.writerow([row["name"], *(row[name] for name in COLUMNS), *(one.get(name, "") for name in stated)])
    return text.getvalue()


def _in(count: int | None, unit: float) -> str:
    return NOTHING if count is None else f"{count / unit:#.4g}".rstrip(".")
