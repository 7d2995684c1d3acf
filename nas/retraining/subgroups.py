"""Metrics of subgroups of the test cases, such as by sex or scanner, and their differences from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.data.io.csv_table import is_number
from nas.metrics.bootstrap import intervals
from nas.metrics.metric import Metric, Scores
from nas.retraining.result import TrainResult
from nas.retraining.verdict import PairedDifference
from nas.utils.markdown_text import markdown_row

FEW_PATIENTS = 20  # of a subgroup below which it is called small
FEW_OF_A_CLASS = 5  # patients of a class below which it is called small
MOST_VALUES = 8  # of a column of numbers; more are sorted into quarters
DRAWS = 1000  # bootstrap samples, at most
HEADINGS = ("subgroup", "cases", "patients")
SMALL = "small"


def split_by(columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Sort cases into subgroups.

    Args:
        columns: Column -> texts (N,), "" if unknown.

    Returns:
        Column -> name of the subgroup -> whether each case belongs to it (N,). A column of many different numbers, such
        as ages, is sorted into quarters. Columns with one value are left out.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, text_N in columns.items():
        known = text_N[text_N != ""]
        values = list(dict.fromkeys(known.tolist()))
        if len(values) > MOST_VALUES and all(map(is_number, values)):
            parts = _quarters(text_N)
        elif all(map(is_number, values)):
            parts = {value: text_N == value for value in sorted(values, key=float)}
        else:
            parts = {value: text_N == value for value in sorted(values)}
        if len(parts) > 1:
            found[name] = parts
    return found


def _quarters(text_N: np.ndarray) -> dict[str, np.ndarray]:
    value_N = np.array([float(text) if text else np.nan for text in text_N])
    edges = np.unique(np.nanquantile(value_N, (0.25, 0.5, 0.75), method="lower"))
    number_N = np.where(np.isnan(value_N), -1, np.searchsorted(edges, value_N, side="left"))
    parts = {}
    for number in range(len(edges) + 1):
        if (member_N := number_N == number).any():
            inside = value_N[member_N]
            parts[f"{inside.min():g} to {inside.max():g}"] = member_N
    return parts


def subgroup_scores(
    scores: Scores,
    columns: Mapping[str, np.ndarray],
    group_N: np.ndarray,
    stratum_N: np.ndarray,
    draws: Sequence[np.ndarray],
    metrics: Sequence[Metric],
) -> list[dict[str, Any]]:
    """Measure subgroups, each also against all other cases whose value is known.

    Intervals and differences come from the same bootstrap samples of patients. They are not corrected for the number of
    subgroups.

    Args:
        scores: Scores of the cases.
        columns: Column -> texts (N,), "" if unknown.
        group_N: Patients (N,).
        stratum_N: Classes (N,), all 0 for tasks without a class for each case.
        draws: Rows of each bootstrap sample.
        metrics: The metrics to report.

    Returns:
        One entry for each subgroup: column, value, cases, patients, small (too few to conclude from), metrics (empty if
        they are undefined, as without one of the classes), ci95, difference (metric -> value and ci95, subgroup minus
        rest).
    """
    names, found = [metric.name for metric in metrics], []
    patients_of_class = {number: set(group_N[stratum_N == number].tolist()) for number in np.unique(stratum_N).tolist()}
    for column, parts in split_by(columns).items():
        known_N = columns[column] != ""
        for value, inside_N in parts.items():
            outside_N = known_N & ~inside_N
            own, rest = (_values(scores, np.flatnonzero(members), names) for members in (inside_N, outside_N))
            drawn, apart = [], []
            for rows in draws[:DRAWS]:
                inner = _values(scores, rows[inside_N[rows]], names)
                outer = _values(scores, rows[outside_N[rows]], names)
                drawn.append(inner)
                apart.append({name: inner[name] - outer[name] for name in names} if inner and outer else {})
            bounds, differences = (_bounds(one) for one in (drawn, apart))
            patients = set(group_N[inside_N].tolist())
            fewest = min(len(patients & of_class) for of_class in patients_of_class.values())
            several = len(patients_of_class) > 1
            found.append(
                {
                    "column": column,
                    "value": value,
                    "cases": int(inside_N.sum()),
                    "patients": len(patients),
                    "small": len(patients) < FEW_PATIENTS or (several and fewest < FEW_OF_A_CLASS),
                    "metrics": own,
                    "ci95": {name: bounds[name] for name in own if name in bounds},
                    "difference": {
                        name: {"value": own[name] - rest[name], "ci95": differences[name]}
                        for name in own
                        if name in rest and name in differences
                    },
                }
            )
    return found


def _values(scores: Scores, rows: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Metrics over rows; empty if one is undefined."""
    if not len(rows):
        return {}
    over = scores.over(rows)
    values = {name: float(over[name]) for name in names if name in over}
    return values if len(values) == len(names) and np.isfinite(list(values.values())).all() else {}


def _bounds(draws: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Intervals; none if the metric is undefined on more than half of the samples."""
    if sum(map(bool, draws)) < len(draws) / 2:
        return {}
    return {name: list(pair) for name, pair in intervals(draws).items()}


def subgroup_rows(subgroups: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]) -> list[list[str]]:
    """Write subgroups as the rows of a table.

    Args:
        subgroups: Result of `subgroup_scores`.
        metrics: The metrics as tables show them.

    Returns:
        The headings, then for each subgroup its name, cases, patients, the first metric with interval, its difference
        from the rest with verdict, and the other metrics.
    """
    first, *others = metrics
    rows = [[*HEADINGS, first.heading, "minus the rest", *(metric.heading for metric in others)]]
    for entry in subgroups:
        name = f"{entry['column']}: {entry['value']}" + f" ({SMALL})" * bool(entry["small"])
        values = entry["metrics"]
        cells = [_cell(first, values, entry["ci95"])]
        apart = entry["difference"].get(first.name)
        cells.append("–" if apart is None else PairedDifference(first, apart["value"], apart["ci95"]).text)
        rows.append(
            [
                name,
                str(entry["cases"]),
                str(entry["patients"]),
                *cells,
                *(f"{values[metric.name]:.{metric.digits}f}" if metric.name in values else "–" for metric in others),
            ]
        )
    return rows


def subgroup_note(subgroups: Sequence[Mapping[str, Any]], unit: str = "patient") -> str:
    """Explain a table of subgroups.

    Args:
        subgroups: Result of `subgroup_scores`.
        unit: Name of a group.

    Returns:
        Sentences; empty without subgroups.
    """
    if not subgroups:
        return ""
    text = (
        f"Subgroups of the test cases; differences from all other cases with a known value, on the same bootstrap "
        f"samples of {unit}s, and not corrected for the number of subgroups."
    )
    if any(entry["small"] for entry in subgroups):
        text += (
            f" Small: fewer than {FEW_PATIENTS} {unit}s, or than {FEW_OF_A_CLASS} of a class; such a row cannot show "
            "that a subgroup is served equally well."
        )
    if not all(entry["metrics"] for entry in subgroups):
        text += " A dash: a class or a structure is missing there, so that the metric is undefined."
    return text


def subgroup_markdown(subgroups: Sequence[Mapping[str, Any]], metrics: Sequence[Metric], unit: str = "patient") -> str:
    """Write a table of subgroups in Markdown.

    Args:
        subgroups: Result of `subgroup_scores`.
        metrics: The metrics as tables show them.
        unit: Name of a group.

    Returns:
        Note and table; empty without subgroups.
    """
    if not subgroups or not metrics:
        return ""
    head, *rows = subgroup_rows(subgroups, metrics)
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    return "\n".join([subgroup_note(subgroups, unit), "", markdown_row(head), rule, *map(markdown_row, rows)]) + "\n"


def with_subgroups(text: str, result: TrainResult) -> str:
    """Add the table of subgroups to that of a training.

    Args:
        text: The table in Markdown.
        result: The result.

    Returns:
        Markdown.
    """
    added = subgroup_markdown(result.subgroups, result.columns, str(result.split.get("unit", "patient")))
    return f"{text}\n{added}" if added else text


def _cell(metric: Metric, values: Mapping[str, float], ci95: Mapping[str, Sequence[float]]) -> str:
    if metric.name not in values:
        return "–"
    text = f"{values[metric.name]:.{metric.digits}f}"
    if metric.name in ci95:
        low, high = ci95[metric.name]
        text += f" [{low:.{metric.digits}f}, {high:.{metric.digits}f}]"
    return text
