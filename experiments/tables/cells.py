"""The texts of a finished table: one line for each row, with notes, states and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.tables.plan import Planned
from experiments.tables.results import Computed
from experiments.tables.spec import Column, Row, Section, Size, Table

NOTHING = "–"
PUBLISHED, OURS, BOTH = "published", "ours", "published, ours"
NOT_COMPARABLE = "made in another way: not comparable with rows of ours"


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes:
        text: As shown.
        value: Number in the unit of the column; None for a text or nothing.
        ci95: Interval in that unit.
        per_seed: Values of the seeds in that unit.
        origin: "published" or "ours"; empty for no value.
    """

    text: str = NOTHING
    value: float | None = None
    ci95: tuple[float, float] | None = None
    per_seed: tuple[float, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a finished table.

    Attributes:
        key: `section/row`.
        name: The system.
        origin: Whose values it has.
        cells: Column -> cell.
        difference: Text of the paired difference.
        seeds: Seeds, as shown.
        notes: Remarks, in order.
        computed: The measurements of a row of ours.
        planned: The row of ours as planned.
        state: "published", "done", or the reason why it has no values of ours.
        source: Where the published values are from.
    """

    key: str
    name: str
    origin: str
    cells: Mapping[str, Cell]
    difference: str = ""
    seeds: str = ""
    notes: Sequence[str] = ()
    computed: Computed | None = None
    planned: Planned | None = None
    state: str = PUBLISHED
    source: str = ""


@dataclass(frozen=True)
class Block:
    """The lines of a section.

    Attributes:
        section: The section.
        lines: Its lines.
        verdicts: Sentences on the paired differences.
    """

    section: Section
    lines: Sequence[Line] = field(default_factory=list)
    verdicts: Sequence[str] = ()


def blocks(
    table: Table,
    size: Size,
    planned: Sequence[Planned],
    computed: Mapping[str, Computed],
    failures: Mapping[str, str],
) -> list[Block]:
    """Write the texts of all rows.

    Args:
        table: The table.
        size: Its size.
        planned: Rows of ours.
        computed: Key -> finished rows.
        failures: Key -> message of rows that failed.

    Returns:
        The sections.
    """
    by_key = {row.key: row for row in planned}
    found = []
    for section in table.sections:
        lines = []
        for row in section.rows:
            key = f"{section.id}/{row.key}"
            lines.append(_line(table, key, row, by_key.get(key), computed.get(key), failures.get(key, "")))
        found.append(Block(section, lines, _verdicts(table, section, lines)))
    return found


def _line(table: Table, key: str, row: Row, planned: Planned | None, computed: Computed | None, failure: str) -> Line:
    cells: dict[str, Cell] = {}
    for column in table.columns:
        if column.name in row.values:
            cells[column.name] = _published(column, row.values[column.name])
        elif computed is not None and column.name in computed.cells:
            cell = _measured(column, computed.cells[column.name])
            cells[column.name] = replace(cell, origin=row.origin) if cell.origin else cell
    notes = [row.note] if row.note else []
    if not row.comparable:
        notes.append(NOT_COMPARABLE)
    state = PUBLISHED
    if planned is not None:
        state = "done" if computed else f"failed: {failure}" if failure else planned.reason or "not computed"
        if computed is not None and computed.note:
            notes.append(computed.note)
        if state != "done":
            notes.append(state)
    origin = BOTH if row.values and row.is_ours else PUBLISHED if row.values or not row.is_ours else OURS
    origin = PUBLISHED if row.origin == PUBLISHED else origin
    return Line(
        key,
        row.name,
        origin,
        cells,
        _difference(table, computed),
        _seeds(computed.seeds) if computed else "",
        notes,
        computed,
        planned,
        state,
        row.source,
    )


def _published(column: Column, value: float | str) -> Cell:
    if isinstance(value, str):
        number = _number(value)
        return Cell(value, number, origin=PUBLISHED)
    return Cell(f"{value:,.{column.digits}f}", float(value), origin=PUBLISHED)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _measured(column: Column, cell: Mapping[str, Any]) -> Cell:
    value = cell["value"]
    if isinstance(value, str):
        return Cell(value, origin=OURS)
    if value is None or not math.isfinite(value):
        return Cell()
    scaled = value * column.scale
    text = f"{scaled:,.{column.digits}f}"
    bounds = cell.get("ci95")
    ci95 = None
    if bounds is not None:
        ci95 = (bounds[0] * column.scale, bounds[1] * column.scale)
        if column.interval:
            text += f" [{ci95[0]:,.{column.digits}f}, {ci95[1]:,.{column.digits}f}]"
    per_seed = tuple(one * column.scale for one in cell.get("per_seed", ()))
    return Cell(text, scaled, ci95, per_seed, OURS)


def _difference(table: Table, computed: Computed | None) -> str:
    column = table.scored
    if computed is None or column is None or not computed.difference:
        return ""
    value, (low, high) = scaled_difference(column, computed)
    return f"{value:+.{column.digits}f} [{low:+.{column.digits}f}, {high:+.{column.digits}f}]"


def scaled_difference(column: Column, computed: Computed) -> tuple[float, tuple[float, float]]:
    """Return a paired difference in the unit of the score's column.

    Args:
        column: The column.
        computed: A row with a difference.

    Returns:
        The value and its 95 % interval.
    """
    low, high = computed.difference["ci95"]
    return computed.difference["value"] * column.scale, (low * column.scale, high * column.scale)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _verdicts(table: Table, section: Section, lines: Sequence[Line]) -> list[str]:
    """Say which differences are beyond noise."""
    column = table.scored
    pairs = [line for line in lines if line.difference]
    reference = next((line.name for line in lines if line.key == f"{section.id}/{section.against}"), "")
    if column is None or not pairs:
        return []
    above: list[str] = []
    below: list[str] = []
    same: list[str] = []
    for line in pairs:
        assert line.computed is not None
        _, (low, high) = scaled_difference(column, line.computed)
        (above if low > 0 else below if high < 0 else same).append(line.name)
    words = [
        f"higher than {reference}: {', '.join(above)}" if above else "",
        f"lower: {', '.join(below)}" if below else "",
        f"within noise (the interval of the difference holds 0): {', '.join(same)}" if same else "",
    ]
    text = "; ".join(word for word in words if word)
    single = [line for line in pairs if line.computed and len(line.computed.seeds) == 1]
    caution = (
        " From one seed an interval holds the variation over patients only, not that of trainings." if single else ""
    )
    return [f"In {column.label}, on the same patients and seeds, {text}.{caution}"]
