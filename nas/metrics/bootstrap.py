"""Confidence intervals by bootstrap over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.errors import NASError

LEVEL = 95.0
PERCENTILES = (50 - LEVEL / 2, 50 + LEVEL / 2)
ATTEMPTS = 1000  # draws for each resample wanted, before a test part is called too small
CHUNK = 1_000_000  # patients drawn at once; bounds the memory


class GroupBootstrap:
    """Resamples of whole groups, so that the samples of one patient stay together.

    Every resample draws as many patients as there are, with replacement; one that lacks a class of `labels` is drawn
    again, since no rate is defined on it.

    Args:
        groups: The patient of each sample (N,).
        labels: The class of each sample (N,).
        resamples: Number of resamples.
        seed: Seed of the draws.

    Attributes:
        rows: For each resample, the samples in it.

    Raises:
        NASError: If hardly any draw holds every class.
    """

    def __init__(self, groups: np.ndarray, labels: np.ndarray, resamples: int = 2000, seed: int = 0) -> None:
        _, number = np.unique(groups, return_inverse=True)
        order = np.argsort(number, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(number))[:-1])
        self.rows = [
            np.concatenate([members[group] for group in drawn])
            for drawn in _complete_draws(_classes_of_groups(number, labels), resamples, seed)
        ]

    def interval(self, statistic: Callable[[np.ndarray], Mapping[str, float]]) -> dict[str, tuple[float, float]]:
        """Compute 95 % percentile intervals.

        Args:
            statistic: Called with the rows of a resample; returns named values, {} if none is defined on it.

        Returns:
            Name -> (low, high), over the resamples on which the value is defined (not NaN).
        """
        return intervals([statistic(rows) for rows in self.rows])


def intervals(
    draws: Sequence[Mapping[str, float]], percentiles: tuple[float, float] = PERCENTILES
) -> dict[str, tuple[float, float]]:
    """Compute 95 % percentile intervals of named values.

    Args:
        draws: The values of each resample; an empty mapping is left out, and so is NaN.
        percentiles: Percentiles of both bounds, those of few networks further out (`expanded_percentiles`).

    Returns:
        Name -> (low, high).
    """
    defined = [draw for draw in draws if draw]
    bounds = {}
    for name in defined[0] if defined else ():
        low, high = np.nanpercentile([draw[name] for draw in defined], percentiles)
        bounds[name] = (float(low), float(high))
    return bounds


def _classes_of_groups(number: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(G, K) bool: which classes each group has."""
    classes, label = np.unique(labels, return_inverse=True)
    has_GK = np.zeros((number.max() + 1, len(classes)), dtype=bool)
    has_GK[number, label] = True
    return has_GK


def _complete_draws(has_GK: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(R, G) groups drawn with replacement, those draws only that hold every class."""
    groups, rng = len(has_GK), np.random.default_rng(seed)
    size = max(1, min(resamples, CHUNK // groups))
    kept: list[np.ndarray] = []
    for _ in range(ATTEMPTS * -(-resamples // size)):
        drawn = rng.integers(groups, size=(size, groups))
        kept.append(drawn[np.all([has_G[drawn].any(axis=1) for has_G in has_GK.T], axis=0)])
        if sum(map(len, kept)) >= resamples:
            return np.concatenate(kept)[:resamples]
    raise NASError(
        f"{groups} patients with {has_GK.shape[1]} classes, too few to resample (nearly every draw lacks a class)",
        "a test part in which each class has several patients",
        "use fewer folds or more data",
    )


def binary_metrics(
    prob_NK: np.ndarray, label_N: np.ndarray, positive: int = 1, threshold: float | np.ndarray | None = None
) -> dict[str, float]:
    """Compute the metrics of a classification in two classes, fast enough for thousands of resamples.

    Args:
        prob_NK: Class probabilities (N, 2).
        label_N: Classes (N,), both of which occur.
        positive: Number of the positive class.
        threshold: Probability of the positive class from which a case is called positive, one or (N,). If None, the
            more probable class is called.

    Returns:
        Metric name -> value, as nas/tasks/classification.py defines them.
    """
    score, is_positive = prob_NK[:, positive], label_N == positive
    chosen = chosen_classes(prob_NK, positive, threshold) == positive
    true_positive, false_positive = int((chosen & is_positive).sum()), int((chosen & ~is_positive).sum())
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    sensitivity, specificity = true_positive / positives, 1 - false_positive / negatives
    return {
        "auc": auc(score, is_positive),
        "accuracy": float((chosen == is_positive).mean()),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "f1": 2 * true_positive / (true_positive + false_positive + positives),
        "log_loss": float(-np.log(np.where(is_positive, score, prob_NK[:, 1 - positive]).clip(1e-12)).mean()),
    }


def chosen_classes(prob_NK: np.ndarray, positive: int = 1, threshold: float | np.ndarray | None = None) -> np.ndarray:
    """Decide on a class for each case.

    Args:
        prob_NK: Class probabilities (N, K).
        positive: Of two classes, the number of the positive one.
        threshold: Of two classes, the probability of the positive one from which a case is called positive, one or
            (N,). If None, the most probable class is called.

    Returns:
        Classes (N,).
    """
    if threshold is None:
        return np.asarray(prob_NK.argmax(axis=1))
    return np.where(prob_NK[:, positive] >= threshold, positive, 1 - positive)


def best_threshold(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """Choose the decision threshold with the largest balanced accuracy (Youden's index).

    Source: Youden, Cancer 3 (1950) 32, doi 10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.

    Args:
        score_N: Probabilities of the positive class (N,).
        positive_N: Whether a case is positive (N,); both kinds occur.

    Returns:
        A threshold half-way between two probabilities that occur, in (0, 1); of several equally good ones the middle
        one. If all probabilities are equal, 0.5.
    """
    values = np.unique(score_N.astype(np.float64))
    if len(values) < 2:
        return 0.5
    between = (values[1:] + values[:-1]) / 2
    positives, negatives = np.sort(score_N[positive_N]), np.sort(score_N[~positive_N])
    sensitivity = 1 - np.searchsorted(positives, between) / len(positives)
    specificity = np.searchsorted(negatives, between) / len(negatives)
    index = sensitivity + specificity
    best = np.flatnonzero(index >= index.max() - 1e-12)
    return float(between[best[len(best) // 2]])


def auc(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """Compute the area under the ROC curve by ranks, ties counted half (Mann-Whitney).

    Args:
        score_N: Scores (N,).
        positive_N: Whether a case is positive (N,); both kinds occur.

    Returns:
        The area, in [0, 1].
    """
    values, position = np.unique(score_N, return_inverse=True)
    count = np.bincount(position, minlength=len(values))
    rank = np.cumsum(count) - (count - 1) / 2
    positives = int(positive_N.sum())
    total = rank[position][positive_N].sum() - positives * (positives + 1) / 2
    return float(total / (positives * (len(score_N) - positives)))


def mean_of(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average named values over several parts.

    Args:
        parts: The values of each part, for example a fold; all have the names of the first.

    Returns:
        Name -> mean.
    """
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
