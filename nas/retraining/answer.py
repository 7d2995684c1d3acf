"""The answer of a training in two sentences: its score, and the verdict beside its strongest rival."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.metrics.metric import Metric
from nas.retraining.result import TrainResult
from nas.retraining.verdict import PairedDifference, Verdict

WORDS = {
    Verdict.BETTER: "the difference is in favour of the network",
    Verdict.WORSE: "the difference is in its favour",
    Verdict.NOISE: "the difference is within noise",
}


def answer(result: TrainResult) -> str:
    """State the score of the model that a user would use, and whether it beats the strongest system beside it.

    Args:
        result: The result.

    Returns:
        Two sentences; one if there is nothing to compare with, none if the result declares no metrics.
    """
    if not result.columns:
        return ""
    metric, scores = result.columns[0], result.headline_scores
    first = f"Test {metric.label} {_value(metric, scores)}"
    if bounds := scores.get("ci95", {}).get(metric.name):
        first += " [" + ", ".join(f"{bound:.{metric.digits}f}" for bound in bounds) + "]"
    first += f" with {_the(result)}."
    rival = strongest_rival(result)
    if rival is None:
        return first
    name, found = rival
    others = len(result.baselines)
    beside = f", the best of {others} systems beside it," if others > 1 else ""
    value = _value(metric, result.baselines[name])
    return f"{first} {_capital(name)}{beside} has {value}: {WORDS[found.verdict]} ({found.text})."


def strongest_rival(result: TrainResult) -> tuple[str, PairedDifference] | None:
    """Find the baseline with the best score.

    Args:
        result: The result.

    Returns:
        Its name, and the headline's score minus its score; None without a baseline.
    """
    if not result.columns:
        return None
    metric = result.columns[0]
    compared = {
        name: of_metric[metric.name]
        for name, of_metric in result.differences.items()
        if metric.name in of_metric and name in result.baselines
    }
    if not compared:
        return None
    name = max(compared, key=lambda baseline: metric.sign * float(result.baselines[baseline][metric.name]))
    return name, PairedDifference(metric, compared[name]["value"], compared[name]["ci95"])


def _the(result: TrainResult) -> str:
    networks, system = result.headline.get("networks", 1), result.headline.get("system", result.name)
    if system != result.name:
        return f"the {system}"
    if networks == 1:
        return str(system)
    count = _number(networks)
    if result.protocol == "holdout":
        return f"the ensemble of {count} trainings of {system}"
    return f"{system}, each case predicted by the one of {count} trainings that had not seen it"


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)


def _value(metric: Metric, scores: Mapping[str, Any]) -> str:
    return f"{float(scores[metric.name]):.{metric.digits}f}{f' {metric.unit}' if metric.unit else ''}"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:] if name.split(" ")[0].isalpha() else name
