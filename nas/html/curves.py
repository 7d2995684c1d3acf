"""Plots that lay several groups over each other: curves with quartiles, and Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.html.plot import Axis, Plot

TONES = 6  # colours of the style sheet; further groups repeat them with dashed lines
MAX_SHOWN = 2 * TONES
WIDTH, HEIGHT = 440, 330  # px; readable side by side and on a narrow screen


@dataclass(frozen=True)
class Band:
    """A curve between two others.

    Attributes:
        name: Text of the legend.
        x_P: Positions (P,).
        middle_P: The curve (P,), NaN where it is unknown.
        low_P: Lower curve (P,).
        high_P: Upper curve (P,).
    """

    name: str
    x_P: np.ndarray
    middle_P: np.ndarray
    low_P: np.ndarray
    high_P: np.ndarray


@dataclass(frozen=True)
class Dots:
    """Networks in two objectives.

    Attributes:
        name: Text of the legend.
        x_N: Values on the horizontal axis (N,).
        y_N: Values on the vertical axis (N,).
        on_front_N: Whether a network is on the Pareto front (N,).
        titles: Tooltips (N).
    """

    name: str
    x_N: np.ndarray
    y_N: np.ndarray
    on_front_N: np.ndarray
    titles: Sequence[str]


def bands_plot(bands: Sequence[Band], x_label: str, y_label: str, title: str, *, whole: bool = False) -> str:
    """Draw curves that change in steps, with the area between their lower and upper curves.

    Args:
        bands: At most `MAX_SHOWN` curves.
        x_label: Name of the horizontal axis, which begins at 0.
        y_label: Name of the vertical axis.
        title: Description for screen readers.
        whole: Whether the positions are whole numbers.

    Returns:
        SVG; empty if no curve has a value.
    """
    known = [(number, band, np.isfinite(band.middle_P)) for number, band in enumerate(bands)]
    known = [(number, band, mask_P) for number, band, mask_P in known if mask_P.any()]
    if not known:
        return ""
    values = np.concatenate([np.concatenate([band.low_P[m], band.high_P[m]]) for _, band, m in known])
    last = max(float(band.x_P[-1]) for _, band, _ in known)
    x = Axis.counting(x_label, last) if whole else Axis(x_label, 0.0, 1.04 * last or 1.0)
    legend = [(line_style(number), "line", band.name) for number, band, _ in known]
    plot = Plot(x, Axis.over(y_label, values), title=title, legend=legend, width=WIDTH, height=HEIGHT)
    for number, band, mask_P in known:
        edge_E = np.r_[np.repeat(band.x_P[mask_P], 2)[1:], x.high]
        plot.band(edge_E, np.repeat(band.low_P[mask_P], 2), np.repeat(band.high_P[mask_P], 2), area_style(number))
    for number, band, mask_P in known:
        plot.step(band.x_P[mask_P], band.middle_P[mask_P], line_style(number), to_edge=True)
    return plot.svg()


def fronts_plot(groups: Sequence[Dots], x_label: str, y_label: str, title: str, *, stairs: bool = True) -> str:
    """Draw networks as dots and the Pareto front of each group as a line.

    Args:
        groups: At most `MAX_SHOWN` groups.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        title: Description for screen readers.
        stairs: Whether fronts are stairs to the right, as for low values on the horizontal and high ones on the
            vertical axis; else the points of a front are joined.

    Returns:
        SVG; empty without networks.
    """
    known = [(number, dots) for number, dots in enumerate(groups) if len(dots.x_N)]
    if not known:
        return ""
    x = Axis.over(x_label, np.concatenate([dots.x_N for _, dots in known]), log=True)
    y = Axis.over(y_label, np.concatenate([dots.y_N for _, dots in known]))
    legend = [(line_style(number), "line", dots.name) for number, dots in known]
    plot = Plot(x, y, title=title, legend=legend, width=WIDTH, height=HEIGHT)
    for number, dots in known:
        order_F = np.argsort(dots.x_N[dots.on_front_N], kind="stable")
        front_x_F, front_y_F = dots.x_N[dots.on_front_N][order_F], dots.y_N[dots.on_front_N][order_F]
        if stairs:
            plot.step(front_x_F, front_y_F, line_style(number), to_edge=True)
        else:
            plot.line(front_x_F, front_y_F, line_style(number))
        for position, title_of_dot in enumerate(dots.titles):
            style, radius = ("group", 4.0) if dots.on_front_N[position] else ("group pale", 2.5)
            at = float(dots.x_N[position]), float(dots.y_N[position])
            plot.point(*at, f"{style} {fill_style(number)}".strip(), radius, title_of_dot)
    return plot.svg()


def line_style(number: int) -> str:
    """Return the CSS classes of a group's line.

    Args:
        number: Position of the group.

    Returns:
        The classes.
    """
    tone = f" tone{number % TONES}" if number % TONES else ""
    return f"curve{tone}{' thin' if number >= TONES else ''}"


def area_style(number: int) -> str:
    """Return the CSS classes of the area around a group's line.

    Args:
        number: Position of the group.

    Returns:
        The classes.
    """
    return f"area {fill_style(number)}".strip()


def fill_style(number: int) -> str:
    """Return the CSS class of a group's colour.

    Args:
        number: Position of the group.

    Returns:
        The class; empty for the first colour.
    """
    return f"fill{number % TONES}" if number % TONES else ""
