"""Warnings about the numbers of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.context import TaskSetup, small_validation
from nas.metrics.metric import Metric
from nas.retraining.scoring import Scorer, System


def training_warnings(
    scorer: Scorer, networks: Sequence[System], setting: TaskSetup, headline: Mapping[str, Any], score: Metric
) -> list[str]:
    """Warn of predictions without information, a small validation part, and a score at chance.

    Args:
        scorer: Scores on the tested samples.
        networks: The retrained networks and their ensemble, the headline first.
        setting: Data, split and task of the training.
        headline: Metrics of the first network, with their intervals as ci95.
        score: The metric in which systems are compared.

    Returns:
        One sentence for each; every network that was trained on a fold is looked at, as an ensemble hides its members.
    """
    task, classes = scorer.task, setting.store.classes
    found = []
    for system in networks:
        for one in system.tested:
            where = f", {one.fold}," if len(system.tested) > 1 else ""
            whole = np.array_equal(one.indices, scorer.rows)
            target = scorer.target if whole else setting.store.targets(one.indices)
            texts = task.deciding([one.threshold]).degenerate(one.prob, target, classes)
            found += [f"{system.name}{where} {text}." for text in texts]
        if not found and not system.tested:
            found += [f"{system.name} {text}." for text in task.degenerate(system.prediction, scorer.target, classes)]
    found += at_chance(score, headline, networks[0].name)
    if small := small_validation(setting.split):
        found.append(small)
    return list(dict.fromkeys(found))


def at_chance(score: Metric, scores: Mapping[str, Any], name: str) -> list[str]:
    """Warn of a score whose interval holds the value of a guess.

    Args:
        score: The metric.
        scores: Metric -> value, with intervals as ci95.
        name: Name of the system.

    Returns:
        One sentence, or nothing.
    """
    if score.chance is None or score.name not in scores:
        return []
    worst = scores.get("ci95", {}).get(score.name, (scores[score.name],) * 2)[0 if score.sign > 0 else 1]
    if score.sign * (worst - score.chance) > 0:
        return []
    value = float(scores[score.name])
    guess = f"that of a guess ({score.chance:g})"
    return [f"{score.label} {value:.{score.digits}f} of {name} is not better than {guess} beyond noise."]
