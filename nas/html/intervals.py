"""Plots of means with their intervals, one line for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.html.curves import WIDTH, fill_style, line_style
from nas.html.plot import Axis, Plot

LINE, MARGIN = 40, 56  # px, height of a group and of the axis


@dataclass(frozen=True)
class Interval:
    """A mean with its interval and the values that it is a mean of.

    Attributes:
        name: Name of the group.
        mean: The mean.
        low: Lower bound; NaN without an interval.
        high: Upper bound.
        value_S: The values (S,).
        titles: Tooltips of the values (S).
    """

    name: str
    mean: float
    low: float
    high: float
    value_S: np.ndarray
    titles: Sequence[str]


def intervals_plot(groups: Sequence[Interval], label: str, title: str) -> str:
    """Draw the mean of each group as a dot, its interval as a line and its values as pale dots.

    Args:
        groups: At most `nas.html.curves.MAX_SHOWN` groups, drawn from the top.
        label: Name of the horizontal axis.
        title: Description for screen readers.

    Returns:
        SVG.
    """
    values = np.concatenate([np.r_[group.mean, group.low, group.high, group.value_S] for group in groups])
    x = Axis.over(label, values[np.isfinite(values)])
    y = Axis("", 0.0, float(len(groups)), blank=True)
    plot = Plot(x, y, title=title, width=WIDTH, height=MARGIN + LINE * len(groups))
    for number, group in enumerate(groups):
        row = len(groups) - number - 0.7
        plot.text(x.low, row + 0.34, group.name)
        if np.isfinite(group.low) and np.isfinite(group.high):
            plot.line(np.array([group.low, group.high]), np.array([row, row]), line_style(number))
        fill = fill_style(number)
        for value, words in zip(group.value_S, group.titles, strict=True):
            plot.point(float(value), row, f"group pale {fill}".strip(), 3.5, words)
        plot.point(group.mean, row, f"group {fill}".strip(), 5.5, f"{group.name}: mean {group.mean:.4g}")
    return plot.svg()
