"""Regression models of the predictor strategy: mean and deviation of targets for candidates."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import StandardScaler


def predict_by_trees(
    known_NF: np.ndarray, target_NM: np.ndarray, candidate_CF: np.ndarray, trees: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Predict by bagged, extremely randomised trees (Geurts et al., Machine Learning 63, 2006).

    Args:
        known_NF: N finished networks.
        target_NM: Their targets, standardised.
        candidate_CF: C candidates.
        trees: Number of trees, at least 2.
        rng: Source of randomness.

    Returns:
        Mean and standard deviation over the trees, both (C, M).
    """
    forest = ExtraTreesRegressor(trees, bootstrap=True, random_state=int(rng.integers(2**31)))
    forest.fit(known_NF.astype(np.float32), target_NM)
    # predictions of single trees, as the forest's `predict` returns no deviation; each is (C, M, 1)
    candidate_CF = candidate_CF.astype(np.float32)
    tree_TCM = np.stack([tree.tree_.predict(candidate_CF) for tree in forest.estimators_])
    tree_TCM = tree_TCM.reshape(trees, len(candidate_CF), target_NM.shape[1])
    return tree_TCM.mean(axis=0), tree_TCM.std(axis=0)


def predict_by_line(
    known_NF: np.ndarray, target_NM: np.ndarray, candidate_CF: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predict by Bayesian ridge regression (MacKay, Neural Computation 4, 1992), fitted to each target by itself.

    Args:
        known_NF: N finished networks.
        target_NM: Their targets, standardised.
        candidate_CF: C candidates.

    Returns:
        Mean and standard deviation of the expected target, both (C, M), without the noise of one training.
    """
    scaler = StandardScaler().fit(known_NF)
    known_NF, candidate_CF = scaler.transform(known_NF), scaler.transform(candidate_CF)
    parts = []
    for target_N in target_NM.T:
        model = BayesianRidge().fit(known_NF, target_N)
        mean_C, deviation_C = model.predict(candidate_CF, return_std=True)
        parts.append((mean_C, np.sqrt(np.maximum(deviation_C**2 - 1 / model.alpha_, 0))))
    return np.column_stack([mean_C for mean_C, _ in parts]), np.column_stack([std_C for _, std_C in parts])
