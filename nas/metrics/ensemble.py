"""The ensemble of NAS-Lung and of every table here: the mean of class probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_probability(predictions: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Average the predictions of several networks, as NAS-Lung's ensemble does.

    Args:
        predictions: Of each network, rows (N,) and probabilities (N, K), of a segmentation (N, K, D, H, W).

    Returns:
        All rows in rising order, and the mean over the networks that predicted each: over the folds' networks if they
        share a test part, over architectures if they are a list.
    """
    rows = np.concatenate([rows for rows, _ in predictions])
    prob = np.concatenate([prob for _, prob in predictions]).astype(np.float64)
    unique, position = np.unique(rows, return_inverse=True)
    total = np.zeros((len(unique), *prob.shape[1:]))
    np.add.at(total, position, prob)
    return unique, total / np.bincount(position).reshape(-1, *[1] * (prob.ndim - 1))
