"""The report of a training: the table, the sections of the task, the single trainings, the architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.html.page import Cell, architecture_section, facts, section, settings_table, table, write_page
from nas.metrics.metric import Metric
from nas.metrics.names import Names, show
from nas.retraining.result import OF_A_FOLD
from nas.space import SearchSpace

SHOWN_ABOVE = (
    "arch_id",
    "params",
    "macs",
    "bytes",
    "latency_ms",
    "peak_memory_mb",
    "folds",
    "mean",
    "ci95",
    "baselines",
    "differences",
    "metrics",
)


def train_report(
    path: str | Path,
    *,
    title: str,
    space: SearchSpace,
    arch: Architecture,
    result: Mapping[str, Any],
    table_rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[Metric] = (),
    sections: Sequence[str] = (),
) -> None:
    """Write one self-contained HTML file.

    Args:
        path: The file.
        title: Title of the page.
        space: The space of the network.
        arch: The network that the report is about.
        result: Content of result.json.
        table_rows: Rows as mappings from column to text or number. The first column names the row; the row that
            contains `arch.id` in any column is highlighted.
        metrics: The metrics that the task declares.
        sections: Further sections as HTML, after the table; those that `Task.sections` returns.
    """
    unit_of_split = str(result.get("split", {}).get("unit", "patient"))
    names = Names(tuple(metrics))
    body = [_facts(arch, result, names)]
    if table_rows:
        body.append(_comparison(arch, table_rows))
    body += [_differences(result, unit_of_split, metrics), *sections]
    body += [
        _folds(result, unit_of_split, names),
        architecture_section("The architecture", space, arch),
        _settings(space, result),
    ]
    write_page(
        path,
        kicker="Retraining and test",
        title=title,
        lead=(
            "Scores on this page are <strong>test scores</strong>: each case was predicted by a network that had no "
            f"case of the same {escape(unit_of_split)} in training or validation."
        ),
        body=[part for part in body if part],
    )


def _facts(arch: Architecture, result: Mapping[str, Any], names: Names) -> str:
    items = [("Architecture", arch.id, "")]
    for name, value in list(result.get("mean", {}).items())[:2]:
        interval = result.get("ci95", {}).get(name)
        bounds = " to ".join(names.show(name, bound) for bound in interval or ())
        note = f"95 % interval {bounds}" if bounds else ""
        items.append((f"Test {names.unit(name).name}", names.show(name, value), note))
    if "params" in result:
        items.append(("Parameters", show("params", result["params"], symbol=True), ""))
    if "macs" in result:
        items.append(("MACs", show("macs", result["macs"], symbol=True), ""))
    latency = result.get("latency_ms")
    if latency:
        items.append(("Latency", show("latency_ms", latency["median"], symbol=True), str(latency.get("device", ""))))
    rounds = result.get("folds", ())
    if rounds:
        # a holdout has one test fold for all its trainings, a cross-validation one for each
        cases = rounds[0]["n"] if result.get("protocol") == "holdout" else sum(fold["n"] for fold in rounds)
        items.append(("Test cases", f"{cases:,}", f"{len(rounds)} training{'s' if len(rounds) > 1 else ''}"))
    return facts(items)


def _comparison(arch: Architecture, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    number = {column: all(_is_figure(row.get(column)) for row in rows) for column in columns[1:]}
    head = [Cell(column, number=number.get(column, False)) for column in columns]
    body = [[Cell(_text(row.get(column)), number=number.get(column, False)) for column in columns] for row in rows]
    marks = {place: "chosen" for place, row in enumerate(rows) if any(arch.id in str(value) for value in row.values())}
    note = "All rows were tested on the same cases."
    return section("Beside the baselines", note, table(head, body, marks))


def _differences(result: Mapping[str, Any], unit_of_split: str, metrics: Sequence[Metric]) -> str:
    """Return the table of network minus baseline, empty without any."""
    differences = result.get("differences", {})
    shown = [metric for metric in metrics if metric.in_tables]
    if not differences or not shown:
        return ""
    rows = []
    for name, of_metric in differences.items():
        cells = [Cell(name)]
        for metric in shown:
            found = of_metric.get(metric.name)
            cells.append(Cell(_signed(found["value"], found["ci95"], metric.digits) if found else "–", number=True))
        rows.append(cells)
    head = [Cell("network minus"), *(Cell(metric.label, number=True) for metric in shown)]
    note = f"95 % intervals, on the same bootstrap samples of {unit_of_split}s for both."
    return section("Paired differences", note, table(head, rows))


def _signed(value: float, bounds: Sequence[float], digits: int) -> str:
    low, high = bounds
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _is_figure(value: Any) -> bool:
    """Numbers, and texts such as "0.87 (0.84–0.90)" that begin with one, stand on the right."""
    return value is None or not isinstance(value, str) or not value or value[0] in "0123456789+-−–<±"


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | np.integer) else show("", value)


def _folds(result: Mapping[str, Any], unit_of_split: str, names: Names) -> str:
    folds = result.get("folds", ())
    if not folds:
        return ""
    measured = [name for name in folds[0] if name not in OF_A_FOLD]
    head = [
        Cell("training"),
        Cell("test cases", number=True),
        *(Cell(names.unit(name).heading, number=True) for name in measured),
    ]
    rows = [
        [Cell(str(fold["fold"])), Cell(str(fold["n"]), number=True)]
        + [Cell(names.show(name, fold.get(name)), number=True) for name in measured]
        for fold in folds
    ]
    mean, interval = result.get("mean", {}), result.get("ci95", {})
    rows.append([Cell("mean"), Cell("")] + [Cell(names.show(name, mean.get(name)), number=True) for name in measured])
    marks = {len(folds): "total"}
    if interval:
        texts = [
            " to ".join(names.show(name, bound) for bound in interval[name])
            if interval.get(name)
            else names.show(name, None)
            for name in measured
        ]
        rows.append([Cell("95 % interval"), Cell(""), *(Cell(text, number=True) for text in texts)])
    note = f"Intervals by bootstrap over {unit_of_split}s." if interval else ""
    return section("Each training", note, table(head, rows, marks))


def _settings(space: SearchSpace, result: Mapping[str, Any]) -> str:
    measured = {key: result[key] for key in ("bytes", "peak_memory_mb") if result.get(key) is not None}
    shown = {Names().unit(key).name: show(key, value, symbol=True) for key, value in measured.items()}
    rest = {key: value for key, value in result.items() if key not in SHOWN_ABOVE}
    latency = result.get("latency_ms")
    facts_of = {"space": space.fingerprint, "class": space.class_path, **shown}
    groups = {"network": facts_of, **({"latency (ms)": latency} if latency else {}), **rest}
    return section("Settings and provenance", "", settings_table(groups))
