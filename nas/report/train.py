"""The report of a training: the table, the folds, the confusion matrix, the ROC with its confidence band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import calibration_curve

from nas.architecture import Architecture
from nas.errors import NASError
from nas.html.boxes import BoxExample, boxes_section
from nas.html.page import (
    Cell,
    architecture_section,
    facts,
    figure,
    pair,
    section,
    settings_table,
    table,
    write_page,
)
from nas.html.plot import Axis, Plot
from nas.html.roc import Roc, roc
from nas.html.slices import Example, slices_section
from nas.metrics.names import show, unit
from nas.space import SearchSpace

BASELINE = "prob_"
TONES = 6  # colours of curves before they repeat
FEW = 4  # classes up to which bands do not hide each other and two figures fit side by side
CASES_PER_BIN = 20
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
)


def train_report(
    path: str | Path,
    *,
    title: str,
    space: SearchSpace,
    arch: Architecture,
    result: Mapping[str, Any],
    predictions: Mapping[str, np.ndarray],
    table_rows: Sequence[Mapping[str, Any]],
    examples: Sequence[Example] = (),
    boxes: Sequence[BoxExample] = (),
) -> None:
    """Writes one self-contained HTML file.

    result: the content of result.json. table_rows: column -> text or number, one mapping a row; the first column
    names the row, and the row that holds `arch.id` in any column is set apart.
    predictions: over all test cases, `label` (N,) int, `group` (N,) str, `prob` (N,) of class 1 or (N, K), and in the
    same form `prob_<baseline>`; empty for a task that is no classification. examples: test cases of a segmentation;
    boxes: test images of a detection.
    `result["data"]["classes"]`, where given, names the classes. Raises NASError for predictions of unequal length or
    with NaN.
    """
    unit_of_split = str(result.get("split", {}).get("unit", "patient"))
    body = [_facts(arch, result)]
    if table_rows:
        body.append(_comparison(arch, table_rows))
    if len(predictions):
        checked = _checked(predictions)
        names = _class_names(result, checked)
        left, right = _roc_section(checked, names, unit_of_split), _confusion(checked, names)
        if len(names) == 2:
            right = f"<div>{right}{_calibration(checked, names)}</div>"
        body += [pair(left, right)] if len(names) <= FEW else [left, right]
    if examples:
        body.append(slices_section(examples, result["data"]["classes"]))
    if boxes:
        body.append(boxes_section(boxes, result["data"]["classes"]))
    body += [
        _folds(result, unit_of_split),
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


def _facts(arch: Architecture, result: Mapping[str, Any]) -> str:
    items = [("Architecture", arch.id, "")]
    for name, value in list(result.get("mean", {}).items())[:2]:
        interval = result.get("ci95", {}).get(name)
        note = f"95 % interval {show(name, interval[0])} to {show(name, interval[1])}" if interval else ""
        items.append((f"Test {unit(name).name}", show(name, value), note))
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


def _is_figure(value: Any) -> bool:
    """Numbers, and texts such as "0.87 (0.84–0.90)" that begin with one, stand on the right."""
    return value is None or not isinstance(value, str) or not value or value[0] in "0123456789+-−–<±"


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | np.integer) else show("", value)


def _checked(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with every probability as (N, K)."""
    arrays = {key: np.asarray(value) for key, value in predictions.items()}
    lengths = {key: len(value) for key, value in arrays.items()}
    missing = {"label", "group", "prob"} - arrays.keys()
    if missing or len(set(lengths.values())) != 1:
        raise NASError(
            f"predictions of lengths {lengths}",
            "label, group and prob of one length",
            "pass one row for each test case",
        )
    if not np.isfinite(arrays["prob"]).all():
        raise NASError("NaN among the predicted probabilities", "finite probabilities", "see which fold diverged")
    for key in arrays:
        if key.startswith("prob") and arrays[key].ndim == 1:
            arrays[key] = np.column_stack([1 - arrays[key], arrays[key]])
    return arrays


def _class_names(result: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> list[str]:
    count = predictions["prob"].shape[1]
    given = result.get("data", {}).get("classes") or ()
    return [str(name) for name in given] if len(given) == count else [f"class {number}" for number in range(count)]


def _roc_section(predictions: Mapping[str, np.ndarray], names: Sequence[str], unit_of_split: str) -> str:
    label_N, group_N, prob_NK = predictions["label"], predictions["group"], predictions["prob"]
    two, few = len(names) == 2, len(names) <= FEW
    curves: list[tuple[str, Roc, bool]] = []  # name, curve, whether a baseline
    for number in [1] if two else range(len(names)):
        positive_N = label_N == number
        if positive_N.any() and not positive_N.all():
            found = roc(positive_N, prob_NK[:, number], group_N)
            curves.append(("this network" if two else names[number], found, False))
    for key, value_NK in predictions.items():
        if two and curves and key.startswith(BASELINE) and np.isfinite(value_NK).all():
            curves.append(
                (key.removeprefix(BASELINE).replace("_", " "), roc(label_N == 1, value_NK[:, 1], group_N), True)
            )
    if not curves:
        return section("ROC", "The test cases hold one class only: there is no curve to draw.")
    styles = [
        f"curve tone{number % TONES}{' thin' if baseline else ''}" for number, (_, _, baseline) in enumerate(curves)
    ]
    legend = [
        (style, "line", f"{name}: AUC {curve.auc:.3f} ({curve.auc_low:.3f} to {curve.auc_high:.3f})")
        for style, (name, curve, _) in zip(styles, curves, strict=True)
    ]
    x, y = (Axis(text, 0.0, 1.0) for text in ("1 − specificity (false positive rate)", "sensitivity"))
    plot = Plot(x, y, title="ROC curves", width=430 if few else 560, legend=legend, square=True)
    plot.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "chance")
    for number, (_, curve, baseline) in enumerate(curves):
        if few and not baseline:
            plot.band(curve.grid, curve.low, curve.high, f"area fill{number % TONES}")
    for style, (_, curve, _) in reversed(list(zip(styles, curves, strict=True))):
        plot.line(curve.fpr, curve.tpr, style)
    what = f"“{names[1]}” against “{names[0]}”" if two else "Each class against the rest"
    note = (
        f"{what}, all test cases pooled. {'Band and intervals' if few else 'Intervals'}: 95 %, by bootstrap over the "
        f"{len(np.unique(group_N)):,} {unit_of_split}s."
    )
    return section("ROC", note, figure(plot.svg()))


def _confusion(predictions: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    label_N, guess_N = predictions["label"].astype(int), predictions["prob"].argmax(axis=1)
    count_KK = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(count_KK, (label_N, guess_N), 1)
    share_KK = count_KK / np.maximum(count_KK.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = ""
    for row, name in enumerate(names):
        cells = ""
        for column in range(len(names)):
            colour, share = ("--accent" if row == column else "--mark"), share_KK[row, column]
            tint = f"background: color-mix(in srgb, var({colour}) {8 + 47 * share:.0f}%, transparent)"
            cells += f'<td style="{tint}"><b>{count_KK[row, column]}</b><span>{100 * share:.0f} %</span></td>'
        rows += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    note = "Rows: what the case is. Columns: its most probable class, says the network. Percentages are of the row."
    style = "confusion" if len(names) <= FEW else "confusion crowded"
    columns = f'<tr><th></th><th colspan="{len(names)}">predicted</th></tr><tr><th>true</th>{head}</tr>'
    return section(
        "Confusion matrix",
        note,
        f'<div class="scroll"><table class="{style}"><thead>{columns}</thead><tbody>{rows}</tbody></table></div>',
    )


def _calibration(predictions: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """Two classes: how often a case that was given a probability is in fact of class 1."""
    label_N, prob_N = predictions["label"] == 1, predictions["prob"][:, 1]
    bins = int(np.clip(len(label_N) // CASES_PER_BIN, 1, 10))
    observed_B, stated_B = calibration_curve(label_N, prob_N, n_bins=bins, strategy="quantile")
    x, y = Axis("predicted probability", 0.0, 1.0), Axis(f"share of “{names[1]}”", 0.0, 1.0)
    plot = Plot(x, y, title="calibration", width=430, height=240)
    plot.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "chance")
    plot.line(stated_B, observed_B)
    for stated, observed in zip(stated_B, observed_B, strict=True):
        plot.point(stated, observed, "front", 4.0, f"predicted {stated:.2f}, observed {observed:.2f}")
    brier = float(np.mean((prob_N - label_N) ** 2))
    note = f"Cases in {bins} groups by predicted probability. Brier score {brier:.3f} (0 is perfect)."
    return section("Calibration", note, figure(plot.svg()))


def _folds(result: Mapping[str, Any], unit_of_split: str) -> str:
    folds = result.get("folds", ())
    if not folds:
        return ""
    names = [name for name in folds[0] if name not in ("fold", "n")]
    head = [
        Cell("training"),
        Cell("test cases", number=True),
        *(Cell(unit(name).heading, number=True) for name in names),
    ]
    rows = [
        [Cell(str(fold["fold"])), Cell(str(fold["n"]), number=True)]
        + [Cell(show(name, fold.get(name)), number=True) for name in names]
        for fold in folds
    ]
    mean, interval = result.get("mean", {}), result.get("ci95", {})
    rows.append([Cell("mean"), Cell("")] + [Cell(show(name, mean.get(name)), number=True) for name in names])
    marks = {len(folds): "total"}
    if interval:
        texts = [
            " to ".join(show(name, bound) for bound in interval[name]) if interval.get(name) else show(name, None)
            for name in names
        ]
        rows.append([Cell("95 % interval"), Cell(""), *(Cell(text, number=True) for text in texts)])
    note = f"Intervals by bootstrap over {unit_of_split}s." if interval else ""
    return section("Each training", note, table(head, rows, marks))


def _settings(space: SearchSpace, result: Mapping[str, Any]) -> str:
    measured = {key: result[key] for key in ("bytes", "peak_memory_mb") if result.get(key) is not None}
    shown = {unit(key).name: show(key, value, symbol=True) for key, value in measured.items()}
    rest = {key: value for key, value in result.items() if key not in SHOWN_ABOVE}
    latency = result.get("latency_ms")
    facts_of = {"space": space.fingerprint, "class": space.class_path, **shown}
    groups = {"network": facts_of, **({"latency (ms)": latency} if latency else {}), **rest}
    return section("Settings and provenance", "", settings_table(groups))
