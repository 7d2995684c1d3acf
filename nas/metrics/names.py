"""Names and units of costs; those of scores are declared by the task (nas/metrics/metric.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nas.metrics.metric import Metric

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Unit:
    """How a value is shown.

    Attributes:
        name: Name in words.
        symbol: Symbol of the unit.
        divisor: The shown value is the metric divided by it.
        decimals: Number of decimals. If None, three significant digits are shown.
    """

    name: str
    symbol: str = ""
    divisor: float = 1.0
    decimals: int | None = None

    @property
    def heading(self) -> str:
        """Name with the unit in brackets."""
        return f"{self.name} ({self.symbol})" if self.symbol else self.name


COSTS = {
    "params": Unit("parameters", "M", 1e6),
    "macs": Unit("MACs", "G", 1e9),
    "bytes": Unit("size", "MB", 1e6),
    "activation_bytes": Unit("activations", "MB", 1e6),
    "training_bytes": Unit("activations in training", "MB", 1e6),
    "latency_ms": Unit("latency", "ms"),
    "peak_memory_mb": Unit("peak memory", "MB"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """Names and formats of costs and of the metrics of one task.

    Attributes:
        metrics: The metrics that the task declares.
    """

    metrics: tuple[Metric, ...] = ()

    def unit(self, name: str) -> Unit:
        """Look up how a cost or a metric is shown.

        Args:
            name: Name of a cost or of a metric.

        Returns:
            The unit; an unknown name is written in words and has three decimals.
        """
        for metric in self.metrics:
            if metric.name == name:
                return Unit(metric.label, metric.unit, decimals=metric.digits)
        return COSTS.get(name) or Unit(name.replace("_", " "), decimals=3)

    def show(self, name: str, value: Any, symbol: bool = False) -> str:
        """Format a value in its unit.

        Args:
            name: Name of a cost or of a metric.
            value: The value; None and values that are not finite give a dash.
            symbol: Whether the unit follows the number.

        Returns:
            The text.
        """
        if value is None or not math.isfinite(value):
            return MISSING
        shown = self.unit(name)
        scaled = float(value) / shown.divisor
        by_digits = shown.decimals is None or abs(scaled) >= 100
        text = significant(scaled) if by_digits else f"{scaled:.{shown.decimals}f}"
        return f"{text} {shown.symbol}" if symbol and shown.symbol else text


def show(name: str, value: Any, symbol: bool = False) -> str:
    """Format a cost in its unit.

    Args:
        name: Name of a cost.
        value: The value; None and values that are not finite give a dash.
        symbol: Whether the unit follows the number.

    Returns:
        The text.
    """
    return Names().show(name, value, symbol)


def significant(value: float) -> str:
    """Format a number with three significant digits, without an exponent if at most 7 decimals are needed.

    Args:
        value: The number.

    Returns:
        The text.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.2e}" if places > 7 else f"{value:,.{max(places, 0)}f}"
