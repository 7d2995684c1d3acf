"""table.md and table.csv of a finished table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from experiments.tables.cells import Block, Line, scaled_difference
from experiments.tables.spec import Size, Table
from nas.utils.markdown_text import markdown_cell, without_html

CSV_COLUMNS = (
    "table", "size", "section", "row", "system", "column", "origin", "value", "low", "high", "text", "per_seed",
    "seeds", "cases", "groups", "seconds", "date", "state", "source", "notes",
)  # fmt: skip


def headings(table: Table, block: Block) -> list[str]:
    """Return the headings of a section; those of differences and seeds only if a row has them.

    Args:
        table: The table.
        block: The section.

    Returns:
        The headings.
    """
    labels = {column.name: column.label for column in table.columns}
    names = ["system", "values", *(labels[name] for name in block.section.columns or labels)]
    if any(line.difference for line in block.lines):
        names.append("paired difference")
    if any(line.seeds for line in block.lines):
        names.append("seeds")
    return names


def texts(table: Table, line: Line, names: Sequence[str], mark: str) -> list[str]:
    """Return the cells of a line under the headings.

    Args:
        table: The table.
        line: The line.
        names: The headings.
        mark: References to notes, after the name.

    Returns:
        One text for each heading.
    """
    by_label = {column.label: line.cells[column.name].text for column in table.columns if column.name in line.cells}
    by_label |= {"system": line.name + mark, "values": line.origin}
    by_label |= {"paired difference": line.difference, "seeds": line.seeds}
    return [by_label.get(name) or "–" for name in names]


def numbered(blocks: Sequence[Block]) -> dict[str, int]:
    """Give the different notes numbers, in the order in which they appear.

    Args:
        blocks: The sections.

    Returns:
        Note -> number, from 1.
    """
    notes = dict.fromkeys(note for block in blocks for line in block.lines for note in line.notes)
    return {note: number for number, note in enumerate(notes, start=1)}


def conditions(table: Table, size: Size, blocks: Sequence[Block]) -> list[str]:
    """State where, when and how the numbers of ours were measured.

    Args:
        table: The table.
        size: Its size.
        blocks: Its sections.

    Returns:
        Sentences.
    """
    every = [line for block in blocks for line in block.lines]
    done = [line.computed for line in every if line.computed is not None]
    notes = [f"Size: {size}. {table.sizes[size].note}".strip()]
    if done:
        dates = sorted({one.date for one in done})
        minutes = sum(one.seconds for one in done) / 60
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        took = "less than a minute" if minutes < 1 else _minutes(minutes)
        expected = sum(line.planned.minutes for line in every if line.planned and line.computed)
        where = "; ".join(sorted({one.machine for one in done}))
        notes.append(
            f"Measured {when} on {where}, in {took} of wall-clock time beside other work, without "
            f"interrupted calls (expected on two idle cores: about {_minutes(max(expected, 1))})."
        )
    if any(one.cases for one in done):
        notes.append(
            "Values of trained rows are means over their seeds; [95 % intervals] by bootstrap over seeds and patients, "
            "both drawn anew (from one seed: over patients only). Epochs and networks were chosen on validation "
            "patients; the test patients decided nothing."
        )
    references = {line.computed.against: line for line in every if line.computed and line.computed.against}
    if references:
        notes.append(
            "Paired differences are on the same test patients and seeds, each row minus the reference of its section."
        )
    open_rows = [line for line in every if line.planned is not None and line.computed is None]
    if open_rows:
        notes.append(
            f"{len(open_rows)} of {sum(line.planned is not None for line in every)} rows of ours have no value here; "
            "the notes state why."
        )
    return notes


def _minutes(number: float) -> str:
    """Round a number of minutes and add the unit."""
    return f"{number:.0f} minute{'s' * (round(number) != 1)}"


def markdown(table: Table, name: str, size: Size, blocks: Sequence[Block], missing: Mapping[str, str]) -> str:
    """Write table.md.

    Args:
        table: The table.
        name: Its name, or its file, as on the command line.
        size: Its size.
        blocks: Its sections.
        missing: Data sets that are not there, and where they come from.

    Returns:
        Markdown.
    """
    notes = numbered(blocks)
    lines = [f"# {table.title}", "", table.about.strip(), "", *conditions(table, size, blocks), ""]
    for block in blocks:
        lines += [f"## {block.section.title}", ""]
        lines += [block.section.note.strip(), ""] if block.section.note else []
        names = headings(table, block)
        lines += [_row(names), _row(["---"] * 2 + ["---:"] * (len(names) - 2))]
        for line in block.lines:
            mark = "".join(f" [{notes[note]}]" for note in line.notes)
            lines.append(_row([markdown_cell(text) for text in texts(table, line, names, mark)]))
        lines += ["", *(f"{sentence}\n" for sentence in block.verdicts)]
    if table.notes or notes:
        lines += ["## Notes", "", *(f"- {note.strip()}" for note in table.notes)]
        lines += [f"- [{number}] {note.strip()}" for note, number in notes.items()]
        lines.append("")
    lines += _sources(blocks) + _data(table, blocks, missing) + _commands(name, size, blocks)
    return without_html("\n".join(lines)).rstrip() + "\n"


def _sources(blocks: Sequence[Block]) -> list[str]:
    sources = dict.fromkeys(line.source for block in blocks for line in block.lines if line.source)
    return ["## Sources of published values", "", *(f"- {source.strip()}" for source in sources), ""] if sources else []


def _data(table: Table, blocks: Sequence[Block], missing: Mapping[str, str]) -> list[str]:
    if not table.data:
        return []
    lines = ["## Data", ""]
    for name, need in table.data.items():
        waiting = [
            line.key
            for block in blocks
            for line in block.lines
            if line.state.startswith("waits for data") and name in line.state.partition(": ")[2].split(", ")
        ]
        text = f"- {name} (`DATA/{need.folder}`): {need.source.strip()}"
        if name in missing and waiting:
            text += f" Not there; waiting: {', '.join(waiting)}."
        lines.append(text)
    return [*lines, ""]


def _commands(name: str, size: Size, blocks: Sequence[Block]) -> list[str]:
    """Write the command of the table, and those of its rows that ran; functions alone once in a section."""
    lines = ["## Commands", "", f"    voxnas tables {name} --size {size} --data-root DATA", ""]
    ran: list[str] = []
    for block in blocks:
        functions: set[str] = set()
        for line in block.lines:
            if line.planned is None or line.computed is None or not line.planned.commands:
                continue
            commands = line.planned.commands
            if all(not command.startswith("voxnas ") for command in commands):
                commands = tuple(command.partition("(")[0] + "(...)" for command in commands)
                if set(commands) <= functions:
                    continue
                functions |= set(commands)
            ran += [f"    # {line.key}, {line.computed.seconds:.0f} s", *(f"    {command}" for command in commands)]
    if ran:
        intro = "It ran, for each seed (SEED; FOLDER is the folder of the row and seed, RUNS/... that of another row;"
        intro += " a function is named once in a section, with its arguments in the file of the table):"
        lines += [intro, "", *ran, ""]
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tidy_csv(table: Table, name: str, size: Size, blocks: Sequence[Block]) -> str:
    """Write table.csv: one line for each row and column, numbers in the unit of the column.

    Args:
        table: The table.
        name: Its name.
        size: Its size.
        blocks: Its sections.

    Returns:
        CSV.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in blocks:
        for line in block.lines:
            facts = {"table": name, "size": size, "section": block.section.id, "row": line.key.partition("/")[2]}
            facts |= {"system": line.name, "state": line.state, "source": line.source, "notes": " ".join(line.notes)}
            if (own := line.computed) is not None:
                facts |= {"seeds": " ".join(map(str, own.seeds)), "seconds": f"{own.seconds:.1f}", "date": own.date}
                facts |= {"cases": str(own.cases or ""), "groups": str(own.groups or "")}
            for column in table.columns:
                if (cell := line.cells.get(column.name)) is None:
                    continue
                low, high = cell.ci95 or (None, None)
                writer.writerow(
                    facts
                    | {"column": column.label, "origin": cell.origin, "value": _exact(cell.value), "text": cell.text}
                    | {"low": _exact(low), "high": _exact(high), "per_seed": " ".join(map(_exact, cell.per_seed))}
                )
            if not line.cells:
                writer.writerow(facts)
            if own is not None and own.difference and table.scored is not None:
                value, (low, high) = scaled_difference(table.scored, own)
                label = f"{table.scored.label} minus that of {own.against}"
                bounds = {"value": _exact(value), "low": _exact(low), "high": _exact(high), "text": line.difference}
                writer.writerow(facts | {"column": label, "origin": "ours"} | bounds)
    return text.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
