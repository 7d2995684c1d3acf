"""The ensemble of NAS-Lung and of every table here: the mean of class probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_probability(predictions: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(rows (N,), prob_NK) of several networks -> all rows in rising order, and the mean over the networks that
    predicted each: over the folds' networks where they share a test part, over architectures where they are a list."""
    rows = np.concatenate([rows for rows, _ in predictions])
    prob_NK = np.concatenate([prob for _, prob in predictions]).astype(np.float64)
    unique, position = np.unique(rows, return_inverse=True)
    total = np.zeros((len(unique), prob_NK.shape[1]))
    np.add.at(total, position, prob_NK)
    return unique, total / np.bincount(position)[:, None]
