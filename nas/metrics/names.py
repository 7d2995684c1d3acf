"""How a metric is named and in which unit it is shown, everywhere alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Unit:
    """A shown value is the metric divided by `divisor`, in `symbol`; name: how the metric is called in words."""

    name: str
    symbol: str = ""
    divisor: float = 1.0

    @property
    def heading(self) -> str:
        return f"{self.name} ({self.symbol})" if self.symbol else self.name


UNITS = {
    "params": Unit("parameters", "M", 1e6),
    "macs": Unit("MACs", "G", 1e9),
    "bytes": Unit("size", "MB", 1e6),
    "activation_bytes": Unit("activations", "MB", 1e6),
    "training_bytes": Unit("activations in training", "MB", 1e6),
    "latency_ms": Unit("latency", "ms"),
    "peak_memory_mb": Unit("peak memory", "MB"),
    "auc": Unit("AUC"),
    "f1": Unit("F1"),
    "dice": Unit("Dice"),
    "hd95": Unit("HD95"),
    "surface_dice": Unit("surface Dice"),
    "map50": Unit("mAP@0.5"),
    "map": Unit("mAP@0.5:0.95"),
    "recall50": Unit("recall@0.5"),
}
SCORES = ("auc", "f1", "dice", "hd95", "surface_dice", "map50", "map", "recall50")


def unit(metric: str) -> Unit:
    return UNITS.get(metric) or Unit(metric.replace("_", " "))


def is_cost(metric: str) -> bool:
    """Costs are shown with three significant digits, scores with three decimals."""
    return metric in UNITS and metric not in SCORES


def show(metric: str, value: Any, symbol: bool = False) -> str:
    """A metric's value as text, with its unit where `symbol` is set; a dash for none and NaN."""
    if value is None or not math.isfinite(value):
        return MISSING
    its = unit(metric)
    scaled = float(value) / its.divisor
    text = significant(scaled) if is_cost(metric) or abs(scaled) >= 100 else f"{scaled:.3f}"
    return f"{text} {its.symbol}" if symbol and its.symbol else text


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent where it needs at most 7 places."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{digits - 1}e}" if places > 7 else f"{value:,.{max(places, 0)}f}"
