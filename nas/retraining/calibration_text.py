"""The calibration of a training in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """State the expected calibration error in one line.

    Args:
        calibration: Result of `calibration_of`.

    Returns:
        The line; empty if there is none.
    """
    if not calibration:
        return ""
    before, after = (_with_bounds(calibration[name]) for name in ("before", "after"))
    values = list(calibration["temperatures"].values())
    low, high = min(values), max(values)
    spread = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    return f"expected calibration error {after} at temperature {spread} (fitted on validation), {before} without it"


def _with_bounds(measured: Mapping[str, Any]) -> str:
    low, high = measured["ci95"]
    return f"{measured['ece']:.3f} [{low:.3f}, {high:.3f}]"
