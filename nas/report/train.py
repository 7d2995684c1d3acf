"""The report of a training: the table, the sections of the task, the single trainings, the architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.html.calibration import calibration_section
from nas.html.page import (
    Cell,
    architecture_section,
    facts,
    folded,
    section,
    settings_table,
    table,
    warning_list,
    write_page,
)
from nas.metrics.metric import Metric
from nas.metrics.names import Names, show
from nas.metrics.positive import decision_note
from nas.retraining.result import OF_A_FOLD
from nas.retraining.subgroups import subgroup_note, subgroup_rows
from nas.retraining.tables import FIRST_COST, NOTHING
from nas.retraining.verdict import PairedDifference
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.files import for_shell

REPORT = "report.html"
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
    "headline",
    "decision",
    "warnings",
    "ensembles",
    "calibration",
    "subgroups",
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
    task: TaskSpec | None = None,
    answer: str = "",
    command: str = "",
) -> None:
    """Write one self-contained HTML file: the answer, the table, the evidence, the settings.

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
        task: Task that the network was built for. If None, the space's own.
        answer: The result in two sentences, as `nas.retraining.answer.answer` gives them.
        command: The command to run next.
    """
    unit_of_split = str(result.get("split", {}).get("unit", "patient"))
    names = Names(tuple(metrics))
    body = [_facts(arch, result, names), warning_list(result.get("warnings", ()))]
    if table_rows:
        body.append(_comparison(arch, table_rows, _decision(result)))
    body += [_differences(result, unit_of_split, metrics), _classes(result, metrics)]
    body += [_subgroups(result, unit_of_split, metrics), *sections]
    body.append(calibration_section(result.get("calibration", {}), unit_of_split))
    body += [
        _folds(result, unit_of_split, names),
        architecture_section("The architecture", space, arch, task),
        _settings(space, result),
    ]
    write_page(
        path,
        kicker="Retraining and test",
        title=title,
        answer=answer,
        command=command,
        lead=(
            "Scores on this page are <strong>test scores</strong>: each case was predicted by a network that had no "
            f"case of the same {escape(unit_of_split)} in training or validation."
        ),
        body=[part for part in body if part],
    )


def _headline(result: Mapping[str, Any]) -> tuple[Mapping[str, float], Mapping[str, Sequence[float]], str]:
    """Metrics, intervals and name of the model that a user would use; the mean over the folds in old files."""
    system, networks = result.get("headline", {}).get("system"), result.get("headline", {}).get("networks", 1)
    scores = result.get("ensembles", {}).get(system)
    if scores is None:
        return result.get("mean", {}), result.get("ci95", {}), "mean"
    metrics = {name: value for name, value in scores.items() if name != "ci95"}
    pooled = "pooled" if result.get("protocol") == "cross_validation" else f"ensemble of {networks}"
    return metrics, scores.get("ci95", {}), pooled if networks > 1 else "network"


def _facts(arch: Architecture, result: Mapping[str, Any], names: Names) -> str:
    items = [("Architecture", arch.id, "")]
    scores, intervals, name_of_headline = _headline(result)
    for name, value in list(scores.items())[:2]:
        interval = intervals.get(name)
        bounds = " to ".join(names.show(name, bound) for bound in interval or ())
        note = f"{name_of_headline}, 95 % interval {bounds}" if bounds else name_of_headline
        items.append((f"Test {names.unit(name).name}", names.show(name, value, symbol=True), note))
    if "params" in result:
        items.append(("Parameters", show("params", result["params"], symbol=True), "of one network"))
    if "macs" in result:
        items.append(("MACs", show("macs", result["macs"], symbol=True), "of one network and input"))
    latency = result.get("latency_ms")
    if latency:
        items.append(("Latency", show("latency_ms", latency["median"], symbol=True), str(latency.get("device", ""))))
    rounds = result.get("folds", ())
    if rounds:
        # a holdout has one test fold for all its trainings, a cross-validation one for each
        cases = rounds[0]["n"] if result.get("protocol") == "holdout" else sum(fold["n"] for fold in rounds)
        items.append(("Test cases", f"{cases:,}", f"{len(rounds)} training{'s' if len(rounds) > 1 else ''}"))
    return facts(items)


def _decision(result: Mapping[str, Any]) -> str:
    """State the positive class and the decision threshold, if the result records them."""
    system = str(result.get("headline", {}).get("system", result.get("name", "")))
    return decision_note(result.get("decision", {}), result.get("data", {}).get("classes", ()), system)


def _comparison(arch: Architecture, rows: Sequence[Mapping[str, Any]], decision: str) -> str:
    """Return a table of the scores of all rows, and one of the costs of the networks."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    first_cost = columns.index(FIRST_COST) if FIRST_COST in columns else len(columns)
    scores, costs = columns[:first_cost], [columns[0], *columns[first_cost:]]
    networks = [row for row in rows if any(row.get(name) not in (None, NOTHING) for name in costs[1:])]
    note = f"All rows were tested on the same cases; the first one is the model to use.{decision}"
    parts = [section("Beside the baselines", note, _rows(arch.id, rows, scores))]
    if len(costs) > 1 and networks:
        note = (
            "Of one network on one input; training of all networks of a row. M is 10⁶ parameters, G is 10⁹ and T "
            "10¹² operations, MB is 10⁶ bytes."
        )
        parts.append(section("Costs", note, _rows("", networks, costs)))
    return "".join(parts)


def _rows(chosen: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    number = {column: all(_is_figure(row.get(column)) for row in rows) for column in columns[1:]}
    head = [Cell(column, number=number.get(column, False)) for column in columns]
    body = [[_cell(_text(row.get(column)), number.get(column, False)) for column in columns] for row in rows]
    marked = (place for place, row in enumerate(rows) if chosen and any(chosen in str(text) for text in row.values()))
    marks = dict.fromkeys(marked, "chosen")
    return table(head, body, marks)


def _cell(text: str, number: bool) -> Cell:
    """Return a cell with the interval under the value, so that columns are narrow."""
    value, bracket, rest = text.partition(" [")
    return Cell(value, number=True, note=f"[{rest}") if number and bracket else Cell(text, number=number)


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
            cells.append(_difference(metric, found) if found else Cell(NOTHING, number=True))
        rows.append(cells)
    head = [Cell("network minus"), *(Cell(metric.heading, number=True) for metric in shown)]
    note = (
        f"95 % intervals, on the same bootstrap samples of {unit_of_split}s for both. Better, worse: the interval "
        "excludes 0; within noise: it does not."
    )
    return section("Paired differences", note, table(head, rows))


def _difference(metric: Metric, found: Mapping[str, Any]) -> Cell:
    comparison = PairedDifference(metric, found["value"], found["ci95"])
    low, high = found["ci95"]
    digits = metric.digits
    note = f"[{low:+.{digits}f}, {high:+.{digits}f}]\n{comparison.verdict.value}"
    return Cell(f"{found['value']:+.{digits}f}", number=True, note=note)


def _classes(result: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    """Return the table of the metrics of each class, empty if the task declares none."""
    scores, intervals, _ = _headline(result)
    classes = list(enumerate(result.get("data", {}).get("classes", ())))
    shown = [metric for metric in metrics if any(f"{metric.name}_{number}" in scores for number, _ in classes)]
    if not shown:
        return ""
    rows = []
    for number, label in classes:
        names = [f"{metric.name}_{number}" for metric in shown]
        if any(name in scores for name in names):
            cells = [
                _with_interval(metric, scores.get(name), intervals.get(name))
                for metric, name in zip(shown, names, strict=True)
            ]
            rows.append([Cell(str(label)), *cells])
    head = [Cell("class"), *(Cell(metric.heading, number=True) for metric in shown)]
    return section("Each class", "Means over the test cases, with 95 % intervals.", table(head, rows))


def _subgroups(result: Mapping[str, Any], unit_of_split: str, metrics: Sequence[Metric]) -> str:
    """Return the table of the subgroups, empty without any."""
    subgroups, shown = result.get("subgroups", ()), [metric for metric in metrics if metric.in_tables]
    if not subgroups or not shown:
        return ""
    head, *rows = subgroup_rows(subgroups, shown)
    cells = [[Cell(row[0]), *(_cell(text, True) for text in row[1:])] for row in rows]
    titles = [Cell(head[0]), *(Cell(text, number=True) for text in head[1:])]
    return section("Subgroups", subgroup_note(subgroups, unit_of_split), table(titles, cells))


def _with_interval(metric: Metric, value: float | None, bounds: Sequence[float] | None) -> Cell:
    text = Names((metric,)).show(metric.name, value)
    note = " to ".join(Names((metric,)).show(metric.name, bound) for bound in bounds or ())
    return Cell(text, number=True, note=note)


def _is_figure(value: Any) -> bool:
    """Numbers, and texts such as "0.87 (0.84–0.90)" that begin with one, stand on the right."""
    return value is None or not isinstance(value, str) or not value or value[0] in "0123456789+-−–<±"


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | np.integer) else show("", value)


def _folds(result: Mapping[str, Any], unit_of_split: str, names: Names) -> str:
    """Return the table of every metric of the single networks, with a column for each."""
    folds = result.get("folds", ())
    if not folds:
        return ""
    measured = [name for name in folds[0] if name not in OF_A_FOLD]
    mean, interval, several = result.get("mean", {}), result.get("ci95", {}), len(folds) > 1
    head = [Cell("metric"), *(Cell(str(fold["fold"]), number=True) for fold in folds)]
    head += [Cell("mean", number=True)] * several + [Cell("95 % interval", number=True)] * bool(interval)
    rows = [[Cell("test cases"), *(Cell(str(fold["n"]), number=True) for fold in folds)]]
    rows[0] += [Cell("", number=True)] * (several + bool(interval))
    for name in measured:
        row = [Cell(names.unit(name).heading), *(Cell(names.show(name, fold.get(name)), number=True) for fold in folds)]
        if several:
            row.append(Cell(names.show(name, mean.get(name)), number=True))
        if interval:
            bounds = " to ".join(names.show(name, bound) for bound in interval.get(name, ()))
            row.append(Cell(bounds or names.show(name, None), number=True))
        rows.append(row)
    note = f"Intervals by bootstrap over {unit_of_split}s" if interval else ""
    if interval and several:
        note += ", of the mean also over the networks: it holds the spread of the columns"
    positive = result.get("decision", {}).get("positive")
    note = f"{note}." if note else ""
    note += f" Sensitivity, specificity and F1 are those of the class {positive}." if positive else ""
    return section("Each training", note.strip(), table(head, rows))


def _settings(space: SearchSpace, result: Mapping[str, Any]) -> str:
    measured = {key: result[key] for key in ("bytes", "peak_memory_mb") if result.get(key) is not None}
    shown = {Names().unit(key).name: show(key, value, symbol=True) for key, value in measured.items()}
    rest = {key: value for key, value in result.items() if key not in SHOWN_ABOVE}
    latency = result.get("latency_ms")
    facts_of = {"space": space.fingerprint, "class": space.class_path, **shown}
    groups = {"network": facts_of, **({"latency (ms)": latency} if latency else {}), **rest}
    return folded("Settings and provenance", settings_table(groups))


def next_command(kind: str, folder: Path) -> str:
    """Return the command that uses the trained networks.

    Args:
        kind: Kind of the task.
        folder: Folder of the training.

    Returns:
        The command line.
    """
    outputs = {"segmentation": "masks/", "classification": "probabilities.csv"}
    if kind in outputs:
        return f"voxnas predict {for_shell(folder)} scans/ --out {outputs[kind]}"
    return f"voxnas export {for_shell(folder)}"
