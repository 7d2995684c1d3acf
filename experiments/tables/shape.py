"""Logistic regression on shape numbers, as a row of a table: it reads data and split of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.context import task_setup
from experiments.train.config import TrainConfig
from experiments.train.job import rounds_of
from nas.baselines.features import NAMES, features, object_mask
from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.inference.model_spec import RESULT
from nas.retraining.folds import FoldPrediction
from nas.retraining.predictions import PREDICTIONS, predictions_csv
from nas.retraining.scoring import Scorer, System
from nas.retraining.summary import summarise
from nas.utils.files import write_text
from nas.utils.foreign import read_yaml
from nas.utils.named import require_plain

SHAPE = NAMES[: NAMES.index("mean_inside")]
DIAMETER = "diameter"
LENGTHS = ("volume", "surface", "extent_short", "extent_middle", "extent_long", DIAMETER)  # taken as logarithms
NAME = "logistic regression"


def logistic(like: str, folder: Path, seed: int, columns: Sequence[str] = SHAPE) -> None:
    """Fit a logistic regression on shape numbers of the object, and test it on the samples of a training.

    Args:
        like: Folder of the training whose data, split and rounds are used.
        folder: Gets `train/result.json` and `train/predictions.csv`, as a training leaves them.
        seed: Seed that the result states; the fit is deterministic.
        columns: Some of `nas.baselines.features.NAMES` that are of the shape, and "diameter": the largest distance of
            two voxels of the object in one axial slice.

    Raises:
        NASError: If a column is unknown.
    """
    if unknown := set(columns) - {*SHAPE, DIAMETER}:
        raise NASError(f"columns={sorted(unknown)}", f"some of {', '.join((*SHAPE, DIAMETER))}", "correct the table")
    config = _config_of(Path(like) / "config.yaml")
    setting = task_setup(config, allow=())
    store, rounds = setting.store, rounds_of(config, setting.split)
    rows = np.unique(np.concatenate([np.concatenate([part.train, part.valid, part.test]) for part in rounds]))
    table = np.full((len(store), len(columns)), np.nan)
    table[rows] = shape_table(store, rows, columns)
    tested = []
    for part in rounds:
        known = np.concatenate([part.train, part.valid])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(table[known], store.labels[known])
        tested.append(FoldPrediction(part.name, part.test, model.predict_proba(table[part.test])))
    indices, prediction = setting.task.pool([(one.indices, one.prob) for one in tested])
    system = System(NAME, indices, prediction, tested)
    scorer = Scorer(store, setting.task, indices, config.resamples, config.seed)
    facts = {"arch_id": "", "protocol": config.protocol, "seed": seed, "search_patients_known": True}
    result = summarise(scorer, system, [system], [], setting, **facts)
    result.save(folder / "train" / RESULT)
    write_text(folder / "train" / PREDICTIONS, predictions_csv(scorer, [system]))


def _config_of(path: Path) -> TrainConfig:
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        raise NASError(f"{path} ({error})", "the configuration of a training", "check `like`") from error
    require_plain(content, str(path))
    return TrainConfig.of({**content, "allow_packages": ()})


def shape_table(store: VolumeStore, rows: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """Measure the shape of the object in the first channel of samples.

    Args:
        store: The data.
        rows: Rows of the store (N,).
        columns: Names of the numbers (K,).

    Returns:
        (N, K), sizes as logarithms; in mm, or in voxels if the voxel size of a sample is unknown.
    """
    spacing_mm = np.asarray(store.spacing_mm[rows])
    if not np.isfinite(spacing_mm).all():
        spacing_mm = np.ones_like(spacing_mm)
    values = []
    for sample, mm in zip(store.read(rows), spacing_mm, strict=True):
        named = dict(zip(NAMES, features(sample[0], mm), strict=True))
        if DIAMETER in columns:
            named[DIAMETER] = diameter(object_mask(sample[0]), mm)
        values.append([np.log1p(named[name]) if name in LENGTHS else named[name] for name in columns])
    return np.array(values)


def diameter(mask_DHW: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Measure the largest distance of two voxels of an object within an axial slice.

    Args:
        mask_DHW: Voxels of the object.
        spacing_mm: Voxel size (D, H, W).

    Returns:
        The distance of their centres plus a voxel.
    """
    largest = 0.0
    for slice_HW in mask_DHW:
        points = np.argwhere(slice_HW) * np.asarray(spacing_mm)[1:]
        if len(points) > 1:
            largest = max(largest, float(pdist(points).max()))
    return largest + float(spacing_mm[1])
