"""Section on calibration: reliability diagrams with and without the fitted temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.html.page import Cell, figure, pair, section, table
from nas.html.plot import Axis, Plot

NAMES = {"before": "Without temperature scaling", "after": "As predicted, with temperature scaling"}
AREA = 16.0  # px, radius of a bin with all answers


def calibration_section(calibration: Mapping[str, Any], unit: str = "patient") -> str:
    """Draw accuracy against confidence, before and after temperature scaling.

    Args:
        calibration: Result of `nas.retraining.calibration.calibration_of`.
        unit: Name of a group of the bootstrap.

    Returns:
        An HTML section; empty without a calibration.
    """
    if not calibration:
        return ""
    scaled = any(value != 1 for value in calibration["temperatures"].values())
    names = ("before", "after") if scaled else ("after",)
    drawings = []
    for name in names:
        heading = f"{NAMES[name]}: " if scaled else ""
        drawings.append(figure(_diagram(calibration[name]), _caption(heading, calibration[name])))
    before, after, apart = (calibration[name] for name in ("before", "after", "difference"))
    rows = [[Cell("ECE, as predicted" if scaled else "ECE"), *_cells(after["ece"], after)]]
    if scaled:
        rows.append([Cell("ECE, without the temperature"), *_cells(before["ece"], before)])
        rows.append([Cell("difference"), *_cells(apart["value"], apart, "+")])
    head = [Cell("expected calibration error"), Cell("value", number=True), Cell("95 % interval", number=True)]
    fitted = ", ".join(f"{name} {value:.3g}" for name, value in calibration["temperatures"].items())
    note = (
        f"Of {calibration['of']}: accuracy against confidence in {calibration['bins']} bins of equal width; a point's "
        f"area is its share of the answers. ECE is the mean distance from the diagonal. Intervals by bootstrap over "
        f"{unit}s. Temperatures, fitted on the validation part: {fitted}."
    )
    body = pair(*drawings) if len(drawings) == 2 else drawings[0]
    return section("Confidence and accuracy", note, body, table(head, rows))


def _diagram(measured: Mapping[str, Any]) -> str:
    x, y = Axis("confidence", 0.0, 1.0), Axis("accuracy", 0.0, 1.0)
    plot = Plot(x, y, title="reliability", width=430, square=True)
    plot.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "chance")
    bins: Sequence[Mapping[str, float]] = measured["reliability"]
    total = sum(entry["n"] for entry in bins)
    plot.line(np.array([entry["confidence"] for entry in bins]), np.array([entry["accuracy"] for entry in bins]))
    for entry in bins:
        radius = max(2.0, AREA * float(np.sqrt(entry["n"] / total)))
        text = f"confidence {entry['confidence']:.3f}, accuracy {entry['accuracy']:.3f}, n = {entry['n']:,}"
        plot.point(entry["confidence"], entry["accuracy"], "front", radius, text)
    return plot.svg()


def _caption(heading: str, measured: Mapping[str, Any]) -> str:
    bins = measured["reliability"]
    total = sum(entry["n"] for entry in bins)
    gap = sum(entry["n"] * (entry["confidence"] - entry["accuracy"]) for entry in bins) / total
    words = "more confident than right" if gap > 0 else "less confident than right"
    return f"{heading}ECE {measured['ece']:.3f}. On average {words}: confidence minus accuracy is {gap:+.3f}."


def _cells(value: float, measured: Mapping[str, Any], sign: str = "") -> list[Cell]:
    low, high = measured["ci95"]
    bounds = f"{low:{sign}.3f} to {high:{sign}.3f}"
    return [Cell(f"{value:{sign}.3f}", number=True), Cell(bounds, number=True)]
