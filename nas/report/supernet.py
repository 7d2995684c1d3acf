"""Report sections on the training of a supernet: curves and final probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.html.page import figure, pair, section
from nas.html.plot import Axis, Plot
from nas.supernets.loading import PICTURE
from nas.training.curves import CURVES, read_curves

WIDTH, HEIGHT = 430, 250  # px
ELASTIC = (
    "In each step the largest network learns the targets, and the smallest one and some drawn ones also learn its "
    "output. "
    "Largest and smallest: their validation scores with inherited weights."
)
DIFFERENTIABLE = (
    "Weights are trained on one half of the training patients and, after a warm-up, the probabilities on the other "
    "half. Decoded: the best network under the current probabilities, with its weights in the supernet."
)
TONES = ("curve", "curve tone1", "curve tone2", "curve tone3")


def supernet_sections(folder: str | Path) -> list[str]:
    """Render curves.csv and picture.html of a supernet's training.

    Args:
        folder: Folder of the training.

    Returns:
        Sections as HTML; empty without curves.csv.
    """
    folder = Path(folder)
    if not (folder / CURVES).is_file():
        return []
    rows = read_curves(folder)
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("epoch", "seconds")]
    losses = [name for name in names if name.endswith("loss")]
    scores = [name for name in names if name.endswith((" supernet", " decoded", " largest", " smallest"))]
    rest = [name for name in names if name not in (*losses, *scores)]
    groups = [("loss", losses), ("validation score", scores), *((name.replace("_", " "), [name]) for name in rest)]
    plots = [(_plot(label, of_group, rows), _in_words(label, of_group, rows)) for label, of_group in groups]
    note = ELASTIC if "subnetwork loss" in names else DIFFERENTIABLE
    sections = [
        section("The supernet's training", note, pair(*(figure(plot, caption) for plot, caption in plots if plot)))
    ]
    if (folder / PICTURE).is_file():
        picture = (folder / PICTURE).read_text(encoding="utf-8")
        sections.append(section("Final probabilities", "", f'<div class="picture">{picture}</div>'))
    return sections


def _in_words(label: str, names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> str:
    """State the first and the last value of every curve."""
    parts = []
    for name in names:
        known = [row for row in rows if name in row]
        if known:
            first, last = known[0], known[-1]
            epochs = f"epoch {first['epoch']:.0f} to {last['epoch']:.0f}"
            parts.append(f"{name.replace('_', ' ')} from {first[name]:.3g} to {last[name]:.3g} ({epochs})")
    return f"{label[:1].upper()}{label[1:]}: {'; '.join(parts)}."


def _plot(label: str, names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> str:
    values = [row[name] for row in rows for name in names if name in row]
    if not values:
        return ""
    legend = [(tone, "line", name) for tone, name in zip(TONES, names, strict=False)]
    x, y = Axis.counting("epoch", len(rows)), Axis.over(label, np.array(values))
    plot = Plot(x, y, title=f"{label} by epoch", width=WIDTH, height=HEIGHT, legend=legend if len(names) > 1 else ())
    for tone, name in zip(TONES, names, strict=False):
        known = [row for row in rows if name in row]
        plot.line(np.array([row["epoch"] for row in known]), np.array([row[name] for row in known]), tone)
        if len(known) == 1:  # a line through one point is invisible
            plot.point(known[0]["epoch"], known[0][name], tone, 3.0, f"{name} {known[0][name]:.3f}")
    return plot.svg()
