"""The calibration of a training or an evaluation in one line."""

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
    before, after = (error_text(calibration[name]) for name in ("before", "after"))
    values = list(calibration["temperatures"].values())
    low, high = min(values), max(values)
    spread = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    return f"expected calibration error {after} at temperature {spread} (fitted on validation), {before} without it"


def error_text(measured: Mapping[str, Any]) -> str:
    """State an expected calibration error.

    Args:
        measured: ece and ci95, null if there were too few patients.

    Returns:
        The value with its 95 % interval, if there is one.
    """
    value = f"{measured['ece']:.3f}"
    return value if measured["ci95"] is None else f"{value} [{', '.join(f'{end:.3f}' for end in measured['ci95'])}]"
