"""What a network has to beat: logistic regression on the object's volume, boosting on simple features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nas.data.features import feature_table, sizes
from nas.data.splits import Round
from nas.data.store import VolumeStore
from nas.ensemble import mean_probability

Prediction = tuple[np.ndarray, np.ndarray]  # rows (N,), prob_NK


def volume_baseline(store: VolumeStore, rounds: Sequence[Round]) -> Prediction:
    """Logistic regression on the logarithm of the object's volume."""
    table = np.full((len(store), 1), np.nan)
    rows = used_rows(rounds)
    table[rows, 0] = np.log1p(sizes(store, rows))
    return _fit_and_predict(store, rounds, table, lambda: make_pipeline(StandardScaler(), LogisticRegression()))


def feature_baseline(store: VolumeStore, rounds: Sequence[Round], seed: int) -> Prediction:
    """Gradient boosting on the object's volume and 15 shape and intensity features per channel, with fixed settings."""
    rows = used_rows(rounds)
    values = np.column_stack([sizes(store, rows), feature_table(store, rows)])
    table = np.full((len(store), values.shape[1]), np.nan)
    table[rows] = values

    def model() -> ClassifierMixin:
        return HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=150, max_leaf_nodes=8, l2_regularization=1.0, random_state=seed
        )

    return _fit_and_predict(store, rounds, table, model)


def used_rows(rounds: Sequence[Round]) -> np.ndarray:
    return np.unique(np.concatenate([np.concatenate([part.train, part.valid, part.test]) for part in rounds]))


def _fit_and_predict(
    store: VolumeStore, rounds: Sequence[Round], table: np.ndarray, make_model: Callable[[], ClassifierMixin]
) -> Prediction:
    """Fitted on train and validation part of each round, applied to its test part; the mean where rounds share it."""
    predictions = []
    for part in rounds:
        known = np.concatenate([part.train, part.valid])
        model = make_model().fit(table[known], store.labels[known])
        predictions.append((part.test, model.predict_proba(table[part.test])))
    return mean_probability(predictions)
