"""Hard limits on the metrics of a network, written as `params<=1e6`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nas.errors import NASError
from nas.utils.annotations import CONSTRAINT


@dataclass(frozen=True, slots=True)
class Constraint:
    """Upper or lower bound of one metric.

    Args:
        metric: Name of the metric.
        bound: The limit itself is allowed.
        at_most: True for metric <= bound, False for metric >= bound.
    """

    metric: str
    bound: float
    at_most: bool = True

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Parse a constraint.

        Args:
            text: `metric<=number` or `metric>=number`.

        Returns:
            The constraint.

        Raises:
            NASError: If the text has another form.
        """
        match = CONSTRAINT.fullmatch(str(text))
        if match is not None:
            return cls(match[1], float(match[3]), match[2] == "<=")
        raise NASError(
            f"constraints=[{text!r}]",
            "metric<=number or metric>=number",
            "write it like constraints=['params<=1e6']",
        )

    def __str__(self) -> str:
        short = f"{self.bound:g}"
        bound = short if float(short) == self.bound else repr(self.bound)  # the text is parsed again from a study
        return f"{self.metric}{'<=' if self.at_most else '>='}{bound}"

    def excess(self, value_N: np.ndarray) -> np.ndarray:
        """Return by how much values exceed the bound.

        Args:
            value_N: (N,) values of the metric.

        Returns:
            (N,) excess divided by the absolute bound (by 1 for a bound of 0); 0 for values within the bound.
        """
        over_N = np.asarray(value_N, dtype=np.float64) - self.bound
        scale = abs(self.bound) or 1.0
        return np.maximum(over_N if self.at_most else -over_N, 0.0) / scale


def violation(constraints: Iterable[Constraint], metrics: Mapping[str, float]) -> float:
    """Sum the excesses of one network over all constraints.

    Args:
        constraints: Constraints to check.
        metrics: Metrics of the network by name.

    Returns:
        The sum; 0.0 for a feasible network, NaN if a constrained metric is NaN.

    Raises:
        NASError: If a constrained metric is missing.
    """
    total = 0.0
    for constraint in constraints:
        if constraint.metric not in metrics:
            raise NASError(
                f"constraints=['{constraint}'] on a metric that is not reported",
                f"one of {', '.join(sorted(metrics))}",
                "set the metric in `constraints` to one of these",
            )
        total += float(constraint.excess(np.array(metrics[constraint.metric])))
    return total
