"""The verdict on a paired difference: better, worse, or within noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nas.metrics.metric import Metric


class Verdict(str, Enum):
    """Verdict that a paired difference with its 95 % interval supports."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "within noise"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A paired difference of one metric between two systems on the same cases.

    Args:
        metric: The metric, with its direction, unit and digits.
        value: Value of the first system minus that of the second.
        ci95: 95 % interval of the difference; bounds that are NaN support no verdict.
    """

    metric: Metric
    value: float
    ci95: Sequence[float]

    @property
    def verdict(self) -> Verdict:
        """Better or worse if the interval excludes 0, by the direction of the metric; else within noise."""
        low, high = self.ci95
        if low > 0:
            return Verdict.BETTER if self.metric.sign > 0 else Verdict.WORSE
        if high < 0:
            return Verdict.WORSE if self.metric.sign > 0 else Verdict.BETTER
        return Verdict.NOISE

    @property
    def text(self) -> str:
        """The difference with its interval, for example "+0.021 [-0.004, +0.046]", with a unit if there is one."""
        low, high = self.ci95
        digits, unit = self.metric.digits, f" {self.metric.unit}" if self.metric.unit else ""
        return f"{self.value:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}]"

    def line(self, first: str, second: str) -> str:
        """Write the difference as a line beside a table.

        Args:
            first: Name of the first system.
            second: Name of the second system.

        Returns:
            For example "searched minus volume: AUC +0.021 [-0.004, +0.046], within noise".
        """
        return f"{first} minus {second}: {self.metric.label} {self.text}, {self.verdict.value}"

    def sentence(self, first: str, second: str) -> str:
        """State the verdict.

        Args:
            first: Name of the first system.
            second: Name of the second system.

        Returns:
            One sentence with the difference, its interval and the verdict.
        """
        if self.verdict is Verdict.NOISE:
            return f"The difference in {self.metric.label} of {first} and {second} is within noise ({self.text})."
        return f"{first} is {self.verdict.value} than {second} in {self.metric.label} ({self.text})."
