"""Hard limits on what a network may cost or must reach, written as `params<=1e6`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nas.errors import NASError

PATTERN = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """metric <= bound (at_most) or metric >= bound."""

    metric: str
    bound: float
    at_most: bool = True

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """`params<=1e6` or `auc>=0.8`. Raises NASError for anything else."""
        match = PATTERN.fullmatch(str(text))
        try:
            if match is not None:
                return cls(match[1], float(match[3]), match[2] == "<=")
        except ValueError:
            pass
        raise NASError(
            f"the constraint {text!r}", "metric<=number or metric>=number", "e.g. constraints=['params<=1e6']"
        )

    def __str__(self) -> str:
        return f"{self.metric}{'<=' if self.at_most else '>='}{self.bound:g}"

    def excess(self, value_N: np.ndarray) -> np.ndarray:
        """(N,) by how much each value breaks the limit, as a share of the bound (of 1 where that is 0); 0 = kept."""
        over_N = np.asarray(value_N, dtype=np.float64) - self.bound
        scale = abs(self.bound) or 1.0
        return np.maximum(over_N if self.at_most else -over_N, 0.0) / scale


def violation(constraints: Iterable[Constraint], metrics: Mapping[str, float]) -> float:
    """The sum of all excesses of one network; 0.0 = feasible, NaN where a metric is. Raises NASError for a metric that
    nobody reports."""
    total = 0.0
    for constraint in constraints:
        if constraint.metric not in metrics:
            raise NASError(
                f"the constraint {constraint} on a metric that nobody reports",
                f"one of {', '.join(sorted(metrics))}",
                "mend `constraints`",
            )
        total += float(constraint.excess(np.array(metrics[constraint.metric])))
    return total
