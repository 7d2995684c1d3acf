"""Confidence intervals by bootstrap over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

LEVEL = 95.0
Metrics = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]  # prob_NK, label (N,) -> named values


class GroupBootstrap:
    """Resamples of whole groups, so that the samples of one patient stand or fall together.

    groups (N,): the patient of each sample. Every resample draws as many patients as there are, with replacement;
    one that lacks a class is drawn again (`labels`), since no rate is defined on it.
    """

    def __init__(self, groups: np.ndarray, labels: np.ndarray, resamples: int = 2000, seed: int = 0) -> None:
        _, number = np.unique(groups, return_inverse=True)
        order = np.argsort(number, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(number))[:-1])
        classes = len(np.unique(labels))
        rng = np.random.default_rng(seed)
        self.rows: list[np.ndarray] = []
        while len(self.rows) < resamples:
            drawn = rng.integers(len(members), size=len(members))
            rows = np.concatenate([members[group] for group in drawn])
            if len(np.unique(labels[rows])) == classes:
                self.rows.append(rows)

    def interval(self, statistic: Callable[[np.ndarray], Mapping[str, float]]) -> dict[str, tuple[float, float]]:
        """statistic: rows -> named values. 95 % percentile intervals of each."""
        draws = [statistic(rows) for rows in self.rows]
        low, high = (50 - LEVEL / 2, 50 + LEVEL / 2)
        return {
            name: tuple(float(v) for v in np.percentile([draw[name] for draw in draws], [low, high]))  # type: ignore[misc]
            for name in draws[0]
        }


def binary_metrics(prob_NK: np.ndarray, label_N: np.ndarray) -> dict[str, float]:
    """auc, accuracy, sensitivity, specificity, f1 for two classes: those of the task, fast enough for resampling."""
    score, positive = prob_NK[:, 1], label_N == 1
    chosen = prob_NK.argmax(axis=1) == 1
    true_positive, false_positive = int((chosen & positive).sum()), int((chosen & ~positive).sum())
    positives, negatives = int(positive.sum()), int((~positive).sum())
    denominator = true_positive + false_positive + positives
    return {
        "auc": auc(score, positive),
        "accuracy": float((chosen == positive).mean()),
        "sensitivity": true_positive / positives,
        "specificity": 1 - false_positive / negatives,
        "f1": 2 * true_positive / denominator if denominator else 0.0,
    }


def auc(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann-Whitney)."""
    values, position = np.unique(score_N, return_inverse=True)
    count = np.bincount(position, minlength=len(values))
    rank = np.cumsum(count) - (count - 1) / 2
    positives = int(positive_N.sum())
    total = rank[position][positive_N].sum() - positives * (positives + 1) / 2
    return float(total / (positives * (len(score_N) - positives)))


def mean_of(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each named value over several parts (folds)."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
