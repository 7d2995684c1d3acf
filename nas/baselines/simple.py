"""Baselines: regression on the object's volume, boosting on simple features, regression on the value of a voxel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from nas.baselines.base import Baseline, Prediction
from nas.baselines.features import feature_table, sizes, sizes_known
from nas.data.splits import Fold
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.metrics.ensemble import mean_probability

VOXELS = 50_000  # drawn at random to fit the intensity baseline on


def volume_baseline(store: VolumeStore, rounds: Sequence[Fold], seed: int = 0) -> Prediction:
    """Predict classes by logistic regression on the logarithm of the object's volume, which the data must state.

    Args:
        store: Samples with labels.
        rounds: Rounds of a split.
        seed: Not used; the fit is deterministic.

    Returns:
        Tested rows (N,) and class probabilities (N, K).
    """
    table = np.full((len(store), 1), np.nan)
    rows = used_rows(rounds)
    table[rows, 0] = np.log1p(sizes(store, rows))
    return _fit_and_predict(store, rounds, table, lambda: make_pipeline(StandardScaler(), LogisticRegression()))


def feature_baseline(store: VolumeStore, rounds: Sequence[Fold], seed: int = 0) -> Prediction:
    """Predict classes by gradient boosting on the object's volume and 15 features per channel, with fixed settings.

    Args:
        store: Samples with labels.
        rounds: Rounds of a split.
        seed: Seed of the boosting.

    Returns:
        Tested rows (N,) and class probabilities (N, K).
    """
    rows = used_rows(rounds)
    values = np.column_stack([sizes(store, rows), feature_table(store, rows)])
    table = np.full((len(store), values.shape[1]), np.nan)
    table[rows] = values

    def model() -> ClassifierMixin:
        return HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=150, max_leaf_nodes=8, l2_regularization=1.0, random_state=seed
        )

    return _fit_and_predict(store, rounds, table, model)


def intensity_baseline(store: VolumeStore, rounds: Sequence[Fold], seed: int = 0) -> Prediction:
    """Predict the class of each voxel from its own values, without its neighbourhood.

    Multinomial logistic regression on the values of all channels, their squares and products, fitted on about 50,000
    random voxels of the training and validation part.

    Args:
        store: Samples with masks.
        rounds: Rounds of a split.
        seed: Seed of the random voxels.

    Returns:
        Tested rows (N,) and class probabilities (N, K, D, H, W).

    Raises:
        NASError: If none of the drawn voxels is of some class.
    """
    rng = np.random.default_rng(seed)
    predictions = []
    for part in rounds:
        values_VC, classes_V = _voxels(store, np.concatenate([part.train, part.valid]), rng)
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=1000))
        model.fit(values_VC, classes_V)
        missing = set(range(len(store.classes))) - set(model.classes_.tolist())
        if missing:
            raise NASError(
                f"no voxel of {store.classes[min(missing)]} among {len(classes_V)} drawn ones",
                "some of every class to fit the intensity baseline on",
                "baselines.intensity=false",
            )
        # one after the other: the values of all test voxels at once would be several times the data
        probs = [_voxel_probabilities(model, store, row) for row in part.test]
        predictions.append((part.test, np.stack(probs)))
    return mean_probability(predictions)


def _voxels(store: VolumeStore, rows: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values (V, C) and classes (V,) of about VOXELS random voxels, equally many of each sample."""
    values, classes = [], []
    for row in rows:
        values_CV = store.read([row])[0].reshape(store.shape[0], -1)
        mask_V = store.targets([row]).ravel()
        drawn = rng.integers(len(mask_V), size=-(-VOXELS // len(rows)))
        values.append(values_CV[:, drawn].T)
        classes.append(mask_V[drawn])
    return np.concatenate(values).astype(np.float64), np.concatenate(classes)


def _voxel_probabilities(model: Pipeline, store: VolumeStore, row: int) -> np.ndarray:
    """(K, D, H, W) float32."""
    values_VC = store.read([row])[0].reshape(store.shape[0], -1).T.astype(np.float64)
    prob_VK = model.predict_proba(values_VC)
    return prob_VK.T.reshape(-1, *store.sample_shape[1:]).astype(np.float32)


def used_rows(rounds: Sequence[Fold]) -> np.ndarray:
    """Return the rows of all parts of some rounds.

    Args:
        rounds: Rounds of a split.

    Returns:
        Rows in rising order, each once.
    """
    return np.unique(np.concatenate([np.concatenate([part.train, part.valid, part.test]) for part in rounds]))


def _fit_and_predict(
    store: VolumeStore, rounds: Sequence[Fold], table: np.ndarray, make_model: Callable[[], ClassifierMixin]
) -> Prediction:
    """Fit on train and validation part of each round, predict its test part; average if rounds share it."""
    predictions = []
    for part in rounds:
        known = np.concatenate([part.train, part.valid])
        model = make_model().fit(table[known], store.labels[known])
        predictions.append((part.test, model.predict_proba(table[part.test])))
    return mean_probability(predictions)


VOLUME = Baseline("volume", volume_baseline, sizes_known)
FEATURES = Baseline("features", feature_baseline)
INTENSITY = Baseline("intensity", intensity_baseline)
