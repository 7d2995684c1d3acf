"""Pictures of a comparison of strategies."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from nas.utils.files import write_bytes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DASHED = ("random", "full_path", "by_cost")  # baselines
GREYS = ("#000000", "#555555", "#999999")
STYLES = ("-", "-.", ":")
TICKS = (2, 5, 10, 25, 50, 100)
FROM = 5  # evaluations whose lowest value is the lower end of an axis, so that later differences are seen


def plot(path: Path, x_label: str, panels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Draw one panel for each quantity.

    Args:
        path: PNG file.
        x_label: Name of the x axis, whose values are 1, 2, ...
        panels: Quantity -> strategy -> "mean" -> values, null where there is none.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels) + 3, 4.6), layout="constrained", squeeze=False)
    for axis, (label, curves) in zip(axes[0], panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            mean = np.array(values["mean"], dtype=float)
            style, color = STYLES[number // 10 % len(STYLES)], f"C{number % 10}"
            if name in DASHED:
                style, color = "--", GREYS[DASHED.index(name)]
            axis.plot(np.arange(1, len(mean) + 1), mean, style, color=color, label=_short(name), linewidth=1.6)
        at_first = [values["mean"][FROM - 1] for values in curves.values() if len(values["mean"]) >= FROM]
        if any(value is not None for value in at_first):
            axis.set_ylim(bottom=min(value for value in at_first if value is not None))
        axis.set_xscale("log")
        axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axis.set_xlim(2, len(mean))
        axis.set_xlabel(x_label)
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, loc="outside right center")
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    write_bytes(path, image.getvalue())
    plt.close(figure)


def _short(name: str) -> str:
    """Name of a strategy without the names of its settings."""
    for group in ("strategy.", "fidelity."):
        name = name.replace(f",{group}", ", ")
    return name
