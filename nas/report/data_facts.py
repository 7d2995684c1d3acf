"""Facts and warnings about the data of a search or a training, from a few seconds of reading."""

from __future__ import annotations

import hashlib
import json
import warnings as python_warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.context import TaskSetup
from nas.data.splits import Fold
from nas.data.store import VolumeStore
from nas.errors import NASError, TrialFailed
from nas.utils.files import read_json, write_text
from nas.utils.hashing import digest

READ_BYTES = 32_000_000  # of volumes that are read at most
BASELINE_CASES = 120  # that baselines are fitted on, and measured on, at most
BASELINE_VOXELS = 1_000_000  # of these cases at most; they are left out for larger volumes
PER_VOLUME = 2000  # voxels of a volume whose intensities count
SOLVED = 0.95  # score of a baseline from which a search has little left to find
FEW = 5  # cases of a class in a fold
RARE = 0.05  # share of a class among the cases
PERCENTILES = (0.5, 50, 99.5)


@dataclass(frozen=True)
class DataSummary:
    """Facts about the data before the first training.

    Attributes:
        cases: Number of samples.
        groups: Number of groups, usually patients.
        classes: Name -> number of samples (with masks: that contain it; with boxes: of its objects).
        class_of: What is counted for each class, for example "cases that contain it".
        spacing_mm: Least, median and largest voxel size of each axis; empty if unknown.
        intensity: Name -> value, over voxels of the training and validation part.
        folds: For each fold its part, number of cases and groups, and counts of the classes.
        read: Number of cases whose volumes were read, of the training and validation part.
        baselines: Name -> score on the validation part, fitted on the training part.
        score: Name of that score.
        warnings: One sentence for each.
    """

    cases: int
    groups: int
    classes: Mapping[str, int]
    class_of: str
    spacing_mm: Sequence[Sequence[float]]
    intensity: Mapping[str, float]
    folds: Sequence[Mapping[str, Any]]
    read: int
    baselines: Mapping[str, float] = field(default_factory=dict)
    score: str = ""
    warnings: Sequence[str] = ()


def summarise_data(setting: TaskSetup, seed: int = 0) -> DataSummary:
    """Summarise the data of a task; the volumes of the test fold are not read.

    The summary is kept beside the prepared data, by the hashes of data and split and the task.

    Args:
        setting: Data, split and task.
        seed: Seed of the baselines.

    Returns:
        Facts and warnings.
    """
    store, split = setting.store, setting.split
    key = digest([store.sha256, split.sha256, dict(setting.task.identity), seed])[:16]
    path = store.path.with_name(f"{store.path.stem}.summary-{key}.json")
    kept = _kept(path)
    if kept is not None:
        return kept
    summary = _summarise(setting, seed)
    with suppress(OSError):  # a folder of prepared data that may only be read
        write_text(path, json.dumps(asdict(summary)))
    return summary


def _kept(path: Path) -> DataSummary | None:
    try:
        return DataSummary(**read_json(path))
    except (OSError, ValueError, TypeError):
        return None


def _summarise(setting: TaskSetup, seed: int) -> DataSummary:
    store, split = setting.store, setting.split
    train, valid = split.search
    seen = np.unique(np.concatenate([train, valid]))
    rows = spread(seen, readable(store))
    intensity, hashes, constant = _scanned(store, rows)
    counts_NK, what = _counts(store)
    folds = []
    for fold in range(split.folds):
        members = np.flatnonzero(split.fold == fold)
        role = "test" if fold == split.test_fold else "validation" if np.isin(members, valid).all() else "training"
        if split.overfit:
            role = "training, validation and test"
        by_class = dict(zip(store.classes, counts_NK[members].sum(axis=0).tolist(), strict=True))
        folds.append(
            {
                "fold": fold,
                "part": role,
                "cases": len(members),
                "groups": len(set(store.groups[members])),
                **{"classes": by_class},
            }
        )
    baselines = _baselines(setting, train, valid, seed)
    metric = setting.task.metrics[0]
    known = np.isfinite(store.spacing_mm).all()
    return DataSummary(
        cases=len(store),
        groups=len(np.unique(store.groups)),
        classes=dict(zip(store.classes, counts_NK.sum(axis=0).tolist(), strict=True)),
        class_of=what,
        spacing_mm=np.percentile(store.spacing_mm, (0, 50, 100), axis=0).T.tolist() if known else [],
        intensity=intensity,
        folds=folds,
        read=len(rows),
        baselines=baselines,
        score=metric.label,
        warnings=[
            *_split_warnings(setting, counts_NK, folds),
            *_class_warnings(store, counts_NK),
            *_image_warnings(store, split.fold, hashes, constant),
            *_baseline_warnings(metric.label, metric.direction, baselines),
        ],
    )


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Choose rows at equal distances.

    Args:
        rows: Rows of a store.
        count: How many at most.

    Returns:
        The rows in their order.
    """
    return rows if len(rows) <= count else rows[np.linspace(0, len(rows) - 1, count).astype(int)]


def readable(store: VolumeStore) -> int:
    """Return how many volumes can be read within seconds.

    Args:
        store: The data.

    Returns:
        Their number, at least 2.
    """
    return max(2, READ_BYTES // (int(np.prod(store.shape)) * store.dtype.itemsize))


def _scanned(store: VolumeStore, rows: np.ndarray) -> tuple[dict[str, float], dict[str, list[int]], list[int]]:
    """Intensities as networks are given them, rows by the hash of their image, rows of constant images."""
    values, hashes, constant = [], dict[str, list[int]](), []
    for row in rows.tolist():
        volume = store.read([row])[0]
        hashes.setdefault(
            hashlib.blake2b(np.ascontiguousarray(volume).tobytes(), digest_size=16).hexdigest(), []
        ).append(row)
        if volume.min() == volume.max():
            constant.append(row)
        if store.extents_N3 is not None:
            volume = volume[(slice(None), *(slice(0, int(side)) for side in store.extents_N3[row]))]
        flat = volume.ravel()
        values.append(flat[:: max(1, len(flat) // PER_VOLUME)].astype(np.float64) * store.scale + store.offset)
    every = np.concatenate(values)
    low, middle, high = np.percentile(every, PERCENTILES)
    named = {"least": every.min(), "0.5 %": low, "median": middle, "99.5 %": high, "largest": every.max()}
    named |= {"mean": every.mean(), "standard deviation": every.std()}
    return {name: float(value) for name, value in named.items()}, hashes, constant


def _counts(store: VolumeStore) -> tuple[np.ndarray, str]:
    """(N, K) counts of each class in each sample, and what they count."""
    if store.voxels_NK is not None:
        return (store.voxels_NK > 0).astype(int), "cases that contain it"
    if store.boxes_NM7 is not None:
        return (store.boxes_NM7[:, :, -1, None] == np.arange(len(store.classes))).sum(axis=1), "objects"
    return (store.labels[:, None] == np.arange(len(store.classes))).astype(int), "cases"


def _baselines(setting: TaskSetup, train: np.ndarray, valid: np.ndarray, seed: int) -> dict[str, float]:
    """Score of each baseline on some of the validation part, fitted on some of the training part."""
    store, task = setting.store, setting.task
    voxels = int(np.prod(store.shape))
    count = min(BASELINE_CASES, BASELINE_VOXELS // voxels)
    if count < 2:
        return {}
    fitted, measured = (spread(rows, count) for rows in (train, valid))
    scores = {}
    for baseline in (one for one in task.baselines() if one.applies(store)):
        part = Fold("summary", fitted, fitted[:0], measured)
        with suppress(NASError, TrialFailed, ValueError, ZeroDivisionError), python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            rows, prediction = baseline.fit_and_predict(store, [part], seed)
            value = task.score(prediction, store.targets(rows), quick=True).over()[task.score_name]
            if np.isfinite(value):
                scores[baseline.name] = float(value)
    return scores


def _split_warnings(setting: TaskSetup, counts_NK: np.ndarray, folds: Sequence[Mapping[str, Any]]) -> list[str]:
    store, split = setting.store, setting.split
    found = []
    if split.overfit:
        found.append("All samples are in the training, validation and test part (split.overfit=true).")
    parts: dict[str, set[int]] = {}
    for group, fold in zip(store.groups.tolist(), split.fold.tolist(), strict=True):
        parts.setdefault(group, set()).add(fold)
    shared = [group for group, of_group in parts.items() if len(of_group) > 1]
    if shared:
        found.append(f"{len(shared)} {split.unit}s are in two parts, for example {shared[0]}.")
    for name in store.classes:
        holding = [fold["fold"] for fold in folds if fold["classes"][name]]
        if len(folds) > 1 and len(holding) == 1:
            found.append(f"Class {name} is in fold {holding[0]} only.")
        fewest = min(folds, key=lambda fold: fold["classes"][name])
        if holding and 0 < fewest["classes"][name] < FEW and len(holding) > 1:
            count = fewest["classes"][name]
            found.append(f"Fold {fewest['fold']} has {count} of class {name} only: its score is very uncertain.")
    return found


def _class_warnings(store: VolumeStore, counts_NK: np.ndarray) -> list[str]:
    if store.kind != "classification":
        return []
    share_K = counts_NK.sum(axis=0) / max(len(store), 1)
    return [
        f"Class {name} has {100 * share:.1f} % of the cases: accuracy says little, look at AUC and F1."
        for name, share in zip(store.classes, share_K, strict=True)
        if 0 < share < RARE
    ]


def _image_warnings(
    store: VolumeStore, fold_N: np.ndarray, hashes: Mapping[str, Sequence[int]], constant: Sequence[int]
) -> list[str]:
    found = []
    if constant:
        found.append(f"{_images(len(constant), 'has', 'have')} one value only, for example {store.names[constant[0]]}.")
    same = [rows for rows in hashes.values() if len(rows) > 1]
    if same:
        first, second = (store.names[row] for row in same[0][:2])
        apart = sum(len(set(fold_N[list(rows)].tolist())) > 1 for rows in same)
        where = f"; {apart} of {len(same)} in two folds" if apart else ""
        count = _images(len(same), "occurs", "occur")
        found.append(f"{count} more than once, for example {first} and {second}{where}.")
    return found


def _images(count: int, one: str, several: str) -> str:
    return f"1 image {one}" if count == 1 else f"{count} images {several}"


def _baseline_warnings(label: str, direction: str, baselines: Mapping[str, float]) -> list[str]:
    if direction != "maximize":
        return []
    return [
        f"The baseline {name} already has a validation {label} of {value:.3f}: a network has little left to find."
        for name, value in baselines.items()
        if value >= SOLVED
    ]
