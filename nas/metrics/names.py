"""Names and units of costs; those of scores are declared by the task (nas/metrics/metric.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nas.history import Statistic
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
        meaning: What it measures, in a few words.
    """

    name: str
    symbol: str = ""
    divisor: float = 1.0
    decimals: int | None = None
    meaning: str = ""

    @property
    def heading(self) -> str:
        """Name with the unit in brackets."""
        return f"{self.name} ({self.symbol})" if self.symbol else self.name


COSTS = {
    "params": Unit("parameters", "M", 1e6, meaning="trainable weights of the network"),
    "macs": Unit("MACs", "G", 1e9, meaning="multiply-accumulate operations for one sample"),
    "bytes": Unit("size", "MB", 1e6, meaning="memory of the weights"),
    "activation_bytes": Unit("activations", "MB", 1e6, meaning="peak memory of the activations for one sample"),
    "training_bytes": Unit("activations in training", "MB", 1e6, meaning="memory that a training keeps for one sample"),
    "latency_ms": Unit("latency", "ms", meaning="time for one sample on the device of the latency table"),
    "peak_memory_mb": Unit("peak memory", "MB", meaning="peak memory of the process"),
}
OF_TRAINING = {
    "collapsed": Unit("collapsed", meaning="1 for a network without information on the cases or on a class, else 0"),
    "repeated": Unit("repeated", meaning="1 for a training that was repeated as it had collapsed, else 0"),
    "seconds": Unit("training time", "s", decimals=1, meaning="time that the training of the network takes"),
    "epochs": Unit("epochs", decimals=0, meaning="epochs that were trained"),
    "training_macs": Unit("training MACs", "T", 1e12, meaning="MACs of all samples that the training saw, forward"),
}
TRAINING_MACS = "training_macs"
COLLAPSED, REPEATED = "collapsed", "repeated"
MAXIMISED = {"maximize": "maximised", "minimize": "minimised"}


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
                return Unit(metric.label, metric.unit, decimals=metric.digits, meaning=metric.meaning)
        return COSTS.get(name) or OF_TRAINING.get(name) or Unit(name.replace("_", " "), decimals=3)

    def objective(self, name: str, direction: str, unit: str = "patient") -> str:
        """Describe an objective of a search in one sentence part.

        Args:
            name: Name of a cost or of a metric.
            direction: "maximize" or "minimize".
            unit: Name of the groups that the split keeps together, for metrics of the task.

        Returns:
            For example "AUC: area under the ROC curve on the validation patients, maximised".
        """
        shown = self.unit(name)
        of_task = any(metric.name == name for metric in self.metrics)
        where = f" on the validation {unit}s" if of_task else ""
        meaning = f"{shown.meaning}{where}" or "as the evaluator reports it"
        return f"{shown.heading}: {meaning.strip()}, {MAXIMISED[direction]}"

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

    def show_mean(self, name: str, over: Statistic, symbol: bool = False) -> str:
        """Format a mean over replicates with its standard error.

        Args:
            name: Name of a cost or of a metric.
            over: Mean, deviation and number of replicates.
            symbol: Whether the unit follows the mean.

        Returns:
            For example "0.842 ± 0.0031 (n=4)"; the mean alone if all replicates are equal or there is one.
        """
        text, shown = self.show(name, over.mean, symbol), self.unit(name)
        if not over.standard_error > 0:
            return text
        error = over.standard_error / shown.divisor
        places = significant(error) if shown.decimals is None else f"{error:.{shown.decimals + 1}f}"
        return f"{text} ± {places} (n={over.count})"


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
