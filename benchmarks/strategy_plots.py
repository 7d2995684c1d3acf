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


def plot(path: Path, x_label: str, panels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Draw one panel for each quantity.

    Args:
        path: PNG file.
        x_label: Name of the x axis, whose values are 1, 2, ...
        panels: Quantity -> strategy -> "mean", "q25" and "q75" -> values, null where there is none.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(6.5 * len(panels), 4.6), layout="constrained", squeeze=False)
    for axis, (label, curves) in zip(axes[0], panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            mean, low, high = (np.array(values[key], dtype=float) for key in ("mean", "q25", "q75"))
            x = np.arange(1, len(mean) + 1)
            style = "--" if name in DASHED else "-"
            axis.plot(x, mean, style, color=f"C{number % 10}", label=_short(name), linewidth=1.6)
            axis.fill_between(x, low, high, color=f"C{number % 10}", alpha=0.06, linewidth=0)
        axis.set_xscale("log")
        axis.set_xlabel(x_label)
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, -1].legend(frameon=False, fontsize=8, loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    write_bytes(path, image.getvalue())
    plt.close(figure)


def _short(name: str) -> str:
    """Name of a strategy without the names of its settings."""
    for group in ("strategy.", "fidelity."):
        name = name.replace(f",{group}", ", ")
    return name
