"""Regression models of networks' results, and what they learn from another study."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge
from sklearn.preprocessing import StandardScaler

SLOPE = 1.0  # strength of the assumption that the other study's scores hold, in observations


class Forest:
    """Ensemble of bagged, randomised trees whose spread is the uncertainty of a prediction.

    Source: Geurts et al., Extremely Randomized Trees, Machine Learning 63, 2006.

    Args:
        x_NF: (N, F) features, at least one row.
        target_NM: (N, M) values.
        trees: Number of trees.
        seed: Seed of bootstrap and splits.
        weight_N: (N,) weights; None for equal ones.
    """

    def __init__(
        self, x_NF: np.ndarray, target_NM: np.ndarray, trees: int, seed: int, weight_N: np.ndarray | None = None
    ) -> None:
        self._outputs = target_NM.shape[1]
        self._forest = ExtraTreesRegressor(trees, bootstrap=True, random_state=seed)
        one = target_NM.ravel() if self._outputs == 1 else target_NM  # it warns of a column
        self._forest.fit(x_NF.astype(np.float32), one, weight_N)

    def predict(self, x_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict networks.

        Args:
            x_NF: (N, F) features.

        Returns:
            (N, M) means and (N, M) standard deviations over the trees.
        """
        x_NF = x_NF.astype(np.float32)
        # predictions of single trees, as the forest's `predict` returns no deviation; each is (N, M, 1)
        tree_TNM = np.stack([tree.tree_.predict(x_NF) for tree in self._forest.estimators_])
        tree_TNM = tree_TNM.reshape(len(self._forest.estimators_), len(x_NF), self._outputs)
        return tree_TNM.mean(axis=0), tree_TNM.std(axis=0)


class Line:
    """Bayesian ridge regression, each output by itself.

    Source: MacKay, Bayesian Interpolation, Neural Computation 4, 1992.

    Args:
        x_NF: (N, F) features, at least one row.
        target_NM: (N, M) values.
        weight_N: (N,) weights; None for equal ones.
    """

    def __init__(self, x_NF: np.ndarray, target_NM: np.ndarray, weight_N: np.ndarray | None = None) -> None:
        self._scaler = StandardScaler().fit(x_NF)
        x_NF = self._scaler.transform(x_NF)
        self._models = [BayesianRidge().fit(x_NF, target_N, weight_N) for target_N in target_NM.T]

    def predict(self, x_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict networks.

        Args:
            x_NF: (N, F) features.

        Returns:
            (N, M) means and (N, M) standard deviations of these, without the noise of one training.
        """
        x_NF = self._scaler.transform(x_NF)
        means, deviations = [], []
        for model in self._models:
            mean_N, deviation_N = model.predict(x_NF, return_std=True)
            means.append(mean_N)
            deviations.append(np.sqrt(np.maximum(deviation_N**2 - 1 / model.alpha_, 0)))
        return np.column_stack(means), np.column_stack(deviations)


def slopes(prior_NM: np.ndarray, value_NM: np.ndarray) -> np.ndarray:
    """Return by how much results follow predictions from another study.

    The slopes of a regression through the means, shrunk to 1 by `SLOPE` observations, and at least 0, so that a
    misleading study is soon ignored.

    Args:
        prior_NM: (N, M) centred predictions, standardised in the other study.
        value_NM: (N, M) standardised results.

    Returns:
        (M,) slopes, 1 without results.
    """
    return np.maximum(((prior_NM * value_NM).sum(axis=0) + SLOPE) / ((prior_NM**2).sum(axis=0) + SLOPE), 0.0)
