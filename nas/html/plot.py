"""Small scientific plots as SVG: two axes with layers between them. Colours are CSS classes of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

LETTER = 6.4  # px, mean width of a letter at font size 12
BROAD = 600  # px, width above which a plot scrolls on a narrow page, as its text would become too small
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Axis:
    """Range of values with a label.

    Args:
        label: Text beside the axis.
        low: Value at the start of the axis.
        high: Value at its end, above `low`.
        log: If True, a logarithmic axis; `low` is above 0.
        whole: If True, ticks are whole numbers.
        percent: If True, ticks are fractions written as percentages.
        blank: If True, an axis without ticks.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    percent: bool = False
    blank: bool = False

    @classmethod
    def over(cls, label: str, values: np.ndarray, *, log: bool = False, headroom: float = 0.05) -> Axis:
        """Make an axis slightly wider than the range of some values.

        Args:
            label: Text beside the axis.
            values: Values to cover, without NaN.
            log: If True, the axis is logarithmic if the values are positive and span a decade or more.
            headroom: Empty fraction of the range above the largest value.

        Returns:
            The axis.
        """
        low, high = float(np.min(values)), float(np.max(values))
        log = log and low > 0 and high / low >= 10
        a, b = (math.log10(low), math.log10(high)) if log else (low, high)
        margin = 0.05 * (b - a) or (0.1 * abs(a) or 1.0)
        a, b = a - margin, b + margin * headroom / 0.05
        return cls(label, 10**a, 10**b, log=True) if log else cls(label, a, b)

    @classmethod
    def counting(cls, label: str, last: float) -> Axis:
        """Make an axis of whole numbers from 0.

        Args:
            label: Text beside the axis.
            last: Largest value to cover.

        Returns:
            The axis.
        """
        return cls(label, 0.0, 1.04 * last, whole=True)

    def position(self, value: float | np.ndarray) -> np.ndarray:
        """Map values to relative positions on the axis.

        Args:
            value: Values of any shape.

        Returns:
            0 at the low end, 1 at the high end; values outside are clipped.
        """
        low, high, at = (np.log10(v) if self.log else np.asarray(v, dtype=float) for v in (self.low, self.high, value))
        return np.clip((at - low) / (high - low), 0.0, 1.0)

    def ticks(self, about: int = 6) -> list[tuple[float, str]]:
        """Choose labelled ticks.

        Args:
            about: Approximate number of ticks of a linear axis.

        Returns:
            (value, text) of each tick.
        """
        if self.blank:
            return []
        values = self._decades() if self.log else self._even(about)
        return [(value, self._text(value)) for value in values]

    def minor(self) -> list[float]:
        """Return the unlabelled ticks of a logarithmic axis.

        Returns:
            Their values; empty for a linear axis.
        """
        if not self.log:
            return []
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
        candidates = [factor * 10.0**exponent for exponent in exponents for factor in range(2, 10)]
        return [value for value in candidates if self.low <= value <= self.high]

    def _decades(self) -> list[float]:
        decades = math.log10(self.high / self.low)
        factors = (1, 2, 5) if decades < 2.5 else (1,)
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        candidates = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        inside = [value for value in candidates if self.low <= value <= self.high]
        return inside[:: max(1, len(inside) // 8)]

    def _even(self, about: int) -> list[float]:
        raw = (self.high - self.low) / about
        scale = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= raw * 0.999)
        if self.whole:
            step = max(1.0, float(round(step)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]

    def _text(self, value: float) -> str:
        if self.percent:
            return f"{100 * value:g} %"
        if value and (abs(value) < 1e-4 or abs(value) >= 1e6):
            exponent = math.floor(math.log10(abs(value)) + 1e-9)
            factor = value / 10.0**exponent
            lead = "" if math.isclose(factor, 1) else f"{factor:g}·"
            return f"{lead}10{str(exponent).translate(SUPERSCRIPT)}"
        return f"{value:,.10g}" if abs(value) >= 1000 else f"{value:.6g}"


class Plot:
    """Plot that collects layers and renders them in order as one SVG element.

    Args:
        x: Horizontal axis.
        y: Vertical axis.
        title: Description for screen readers.
        width: Width in px.
        height: Height in px; ignored if `square`.
        legend: (CSS class of the sample, its shape "dot", "cloud", "line" or "area", text), in a row above the axes.
        square: If True, both axes have the same length.
    """

    def __init__(
        self,
        x: Axis,
        y: Axis,
        *,
        title: str,
        width: float = 900,
        height: float = 400,
        legend: Sequence[tuple[str, str, str]] = (),
        square: bool = False,
    ) -> None:
        self.x, self.y, self.title, self.width = x, y, title, width
        self._layers: list[str] = []
        self._y_ticks, self._x_ticks = y.ticks(5), x.ticks(6 if width < 600 else 9)
        self.left = 8.0 if y.blank else 36 + LETTER * max((len(text) for _, text in self._y_ticks), default=1)
        rows = _legend_rows(legend, width - self.left)
        self.top = 12.0 + 20 * len(rows)
        self._layers += _legend(rows, self.left)
        self.right = width - 14
        self.bottom = self.top + (self.right - self.left) if square else height - 44
        self.height = self.bottom + 44

    def px(self, value: float | np.ndarray) -> np.ndarray:
        """Convert x values to px.

        Args:
            value: Values of any shape.

        Returns:
            Columns in px, clipped to the axes.
        """
        return self.left + (self.right - self.left) * self.x.position(value)

    def py(self, value: float | np.ndarray) -> np.ndarray:
        """Convert y values to px.

        Args:
            value: Values of any shape.

        Returns:
            Rows in px, clipped to the axes.
        """
        return self.bottom - (self.bottom - self.top) * self.y.position(value)

    def cloud(self, xs: np.ndarray, ys: np.ndarray) -> None:
        """Draw many points as one path, so that overlapping points do not add up to a darker tone.

        Args:
            xs: (N,) values.
            ys: (N,) values.
        """
        dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in zip(self.px(xs), self.py(ys), strict=True))
        self._layers.append(f'<path class="cloud" d="{dots}"/>')

    def point(self, x: float, y: float, style: str, radius: float, title: str) -> None:
        """Draw a dot with a tooltip.

        Args:
            x: Value on the horizontal axis.
            y: Value on the vertical axis.
            style: CSS class.
            radius: Radius in px.
            title: Text of the tooltip.
        """
        at = f'cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="{radius:g}"'
        self._layers.append(f'<circle class="{style}" {at}><title>{escape(title)}</title></circle>')

    def line(self, xs: np.ndarray, ys: np.ndarray, style: str = "curve") -> None:
        """Draw a curve through points.

        Args:
            xs: (N,) values.
            ys: (N,) values.
            style: CSS class.
        """
        self._layers.append(f'<path class="{style}" d="{_path(self.px(xs), self.py(ys))}"/>')

    def step(self, xs: np.ndarray, ys: np.ndarray, style: str = "curve", to_edge: bool = False) -> None:
        """Draw a step function: each value holds until the next x.

        Args:
            xs: (N,) values in ascending order.
            ys: (N,) values.
            style: CSS class.
            to_edge: If True, extend the last value to the right edge.
        """
        columns, rows = list(self.px(xs)), list(self.py(ys))
        path = f"M{columns[0]:.1f} {rows[0]:.1f}"
        path += "".join(f"H{x:.1f}V{y:.1f}" for x, y in zip(columns[1:], rows[1:], strict=True))
        end = f"H{self.right:.1f}" if to_edge else ""
        self._layers.append(f'<path class="{style}" d="{path}{end}"/>')

    def band(self, xs: np.ndarray, lows: np.ndarray, highs: np.ndarray, style: str = "area") -> None:
        """Fill the area between two curves.

        Args:
            xs: (N,) values.
            lows: (N,) lower curve.
            highs: (N,) upper curve.
            style: CSS class.
        """
        upper, lower = _path(self.px(xs), self.py(highs)), _path(self.px(xs)[::-1], self.py(lows)[::-1])
        self._layers.append(f'<path class="{style}" d="{upper}L{lower[1:]}z"/>')

    def label(self, x: float, y: float, text: str) -> None:
        """Write a text over a point, shifted to stay inside the axes.

        Args:
            x: Value on the horizontal axis.
            y: Value on the vertical axis.
            text: Text of the label.
        """
        half = LETTER * len(text) / 2
        column = min(max(float(self.px(x)), self.left + half), self.right - half)
        row = max(float(self.py(y)) - 13, self.top + 10)
        self._layers.append(
            f'<text class="label" x="{column:.1f}" y="{row:.1f}" text-anchor="middle">{escape(text)}</text>'
        )

    def text(self, x: float, y: float, text: str) -> None:
        """Write a text that begins at a point.

        Args:
            x: Value on the horizontal axis.
            y: Value on the vertical axis, of the base of the letters.
            text: The text.
        """
        at = f'x="{self.px(x):.1f}" y="{self.py(y):.1f}"'
        self._layers.append(f'<text class="key" {at}>{escape(text)}</text>')

    def svg(self) -> str:
        """Render the plot.

        Returns:
            One SVG element.
        """
        style = "plot broad" if self.width > BROAD else "plot"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{style}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'style="max-width: {self.width:.0f}px" role="img" aria-label="{escape(self.title)}">'
            f"{self._frame()}{''.join(self._layers)}</svg>"
        )

    def _frame(self) -> str:
        """Axes, grid, ticks and names of the axes."""
        elements = []
        for value, text in self._y_ticks:
            y = float(self.py(value))
            elements.append(f'<path class="grid" d="M{self.left:.1f} {y:.1f}H{self.right:.1f}"/>')
            elements.append(f'<text x="{self.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        for value, text in self._x_ticks:
            x = float(self.px(value))
            elements.append(f'<path class="axis" d="M{x:.1f} {self.bottom:.1f}v5"/>')
            elements.append(f'<text x="{x:.1f}" y="{self.bottom + 18:.1f}" text-anchor="middle">{text}</text>')
        small = "".join(f"M{x:.1f} {self.bottom:.1f}v3" for x in self.px(np.array(self.x.minor())))
        elements.append(f'<path class="axis" d="M{self.left:.1f} {self.bottom:.1f}H{self.right:.1f}{small}"/>')
        column, row = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        note = " (logarithmic)" if self.x.log else ""
        name = '<text class="name" text-anchor="middle"'
        elements.append(f'{name} x="{column:.1f}" y="{self.height - 6:.1f}">{escape(self.x.label + note)}</text>')
        elements.append(f'{name} transform="translate(13 {row:.1f}) rotate(-90)">{escape(self.y.label)}</text>')
        return "".join(elements)


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """SVG path through points in px."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))


def _legend_rows(entries: Sequence[tuple[str, str, str]], row_width: float) -> list[list[tuple[str, str, str, float]]]:
    """Entries with their horizontal offsets, in rows that fit the width."""
    rows: list[list[tuple[str, str, str, float]]] = []
    x = math.inf
    for style, shape, text in entries:
        width = 48 + LETTER * len(text)
        if x + width > row_width:
            rows.append([])
            x = 0.0
        rows[-1].append((style, shape, text, x))
        x += width
    return rows


def _legend(rows: Sequence[Sequence[tuple[str, str, str, float]]], left: float) -> list[str]:
    """SVG elements of the legend: sample and text of each entry."""
    elements = []
    for number, row in enumerate(rows):
        y = 10.0 + 20 * number
        for style, shape, text, offset in row:
            x = left + offset
            if shape == "dot":
                elements.append(f'<circle class="{style}" cx="{x + 10:.1f}" cy="{y:.1f}" r="4.5"/>')
            elif shape == "cloud":
                dots = "".join(f"M{x + dx:.1f} {y:.1f}h0" for dx in (3, 10, 17))
                elements.append(f'<path class="{style}" d="{dots}"/>')
            elif shape == "area":
                elements.append(f'<rect class="{style}" x="{x:.1f}" y="{y - 5:.1f}" width="20" height="10"/>')
            else:
                elements.append(f'<path class="{style}" d="M{x:.1f} {y:.1f}h20"/>')
            elements.append(f'<text class="key" x="{x + 26:.1f}" y="{y + 4:.1f}">{escape(text)}</text>')
    return elements
