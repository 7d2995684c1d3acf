"""Tables of a comparison: means of groups with intervals, and paired differences from the first group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.comparison.groups import Group
from nas.comparison.markdown import difference_text
from nas.comparison.statistics import Difference, Estimate, smallest_rank_p
from nas.html.page import Cell, section
from nas.html.stacked_table import IntervalCell, stacked_table
from nas.metrics.names import MISSING, Names

LONGEST = 44  # letters of a group's name in a legend; a longer one is shown as a number
FEW = 6  # seeds below which a rank test cannot reach p < 0.05


def short_names(groups: Sequence[Group]) -> dict[str, str]:
    """Return names of groups that fit a legend.

    Args:
        groups: The groups.

    Returns:
        Label -> the label, or "group 1" and so on if a label is too long.
    """
    fits = all(len(group.label) <= LONGEST for group in groups)
    return {group.label: group.label if fits else f"group {number}" for number, group in enumerate(groups, start=1)}


def group_table(
    groups: Sequence[Group],
    names: Names,
    estimates: Mapping[str, Mapping[str, Estimate]],
    columns: Sequence[str],
    plain: Sequence[str] = (),
) -> str:
    """Render the settings of groups, their numbers of seeds, and means over seeds.

    Args:
        groups: The groups.
        names: Names and formats.
        estimates: Label -> metric -> mean.
        columns: Metrics whose intervals are shown.
        plain: Metrics without intervals, shown as whole numbers.

    Returns:
        HTML.
    """
    short = short_names(groups)
    keys = list(dict.fromkeys(key for group in groups for key in group.settings))
    named = not keys or any(short[group.label] != group.label for group in groups)
    head = [*([Cell("group")] if named else []), *(Cell(key) for key in keys), Cell("seeds", number=True)]
    head += [Cell(names.unit(name).heading, number=True) for name in columns]
    head += [Cell(name, number=True) for name in plain]
    rows = []
    for group in groups:
        own = estimates[group.label]
        cells = [Cell(short[group.label])] if named else []
        cells += [Cell(group.settings.get(key, "") or MISSING) for key in keys]
        cells.append(Cell(str(len(group.jobs)), number=True))
        cells += [_interval_cell(names, name, own.get(name)) for name in columns]
        cells += [Cell(f"{own[name].mean:,.0f}" if name in own else MISSING, number=True) for name in plain]
        rows.append(cells)
    return stacked_table(head, rows)


def difference_section(
    groups: Sequence[Group], names: Names, tests: Mapping[str, tuple[str, Mapping[str, Difference]]], note: str = ""
) -> str:
    """Render the paired differences from the first group.

    Args:
        groups: Two or more groups.
        names: Names and formats.
        tests: Heading -> metric, and label of every further group -> its difference.
        note: Last sentence of the explanation.

    Returns:
        HTML.
    """
    short = short_names(groups)
    head = [Cell(f"minus {short[groups[0].label]}")]
    for heading in tests:
        head += [Cell(heading, number=True), Cell("pairs", number=True), Cell("p", number=True)]
    rows = []
    for group in groups[1:]:
        cells = [Cell(short[group.label])]
        for name, differences in tests.values():
            found = differences.get(group.label)
            text, p = difference_text(names, name, found)
            value, _, bounds = text.partition(" ")
            pairs = MISSING if found is None else found.counted
            cells += [IntervalCell(value, number=True, interval=bounds), Cell(pairs, number=True), Cell(p, number=True)]
        rows.append(cells)
    every = [found for _, differences in tests.values() for found in differences.values()]
    return section("Paired differences", f"{_explanation(every)} {note}".strip(), stacked_table(head, rows))


def seeds_note(groups: Sequence[Group]) -> str:
    """State which groups have no interval over seeds.

    Args:
        groups: The groups.

    Returns:
        One sentence; empty if all have two seeds or more.
    """
    alone = [name for label, name in short_names(groups).items() if _seeds(groups, label) == 1]
    if len(alone) == len(groups):
        return "No group has more than one seed, so no interval over seeds exists."
    return f"No interval over seeds exists for groups of one seed: {', '.join(alone)}." if alone else ""


def _seeds(groups: Sequence[Group], label: str) -> int:
    return next(len(group.jobs) for group in groups if group.label == label)


def _explanation(differences: Sequence[Difference]) -> str:
    """Text on how the differences are paired, and on what so few pairs can show."""
    parts = []
    over_seeds = [found for found in differences if found.unit == "seeds"]
    if over_seeds:
        parts.append(
            "Each group minus the first one on the same seeds: mean, 95 % interval and p value of a paired t-test, not "
            "corrected for the number of comparisons."
        )
    if len(over_seeds) < len(differences):
        parts.append(
            "Over patients: on the same bootstrap samples of the tested patients and, with several common seeds, of "
            "these."
        )
    pairs = max((found.n for found in over_seeds), default=0)
    if pairs == 1:
        parts.append("One common seed gives neither interval nor p value.")
    elif 2 <= pairs < FEW:
        least = f"{smallest_rank_p(pairs):.2g}"
        parts.append(f"{pairs} pairs show large differences only: a rank test of them gives no p below {least}.")
    return " ".join(parts)


def _interval_cell(names: Names, name: str, estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(MISSING, number=True)
    bounds = ""
    if estimate.has_interval and estimate.low < estimate.high:  # costs of one network are equal under all seeds
        bounds = f"{names.show(name, estimate.low)} to {names.show(name, estimate.high)}"
    return IntervalCell(names.show(name, estimate.mean), number=True, interval=bounds)
