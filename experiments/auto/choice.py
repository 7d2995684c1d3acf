"""Which networks are the answer: one of them or several together, by their validation parts and never by test data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from nas.bundle import Bundle, bundle_folder
from nas.context import TaskSetup
from nas.data.loading import VolumeSet
from nas.data.splits import Fold
from nas.training.loop import predict


@dataclass(frozen=True)
class Candidate:
    """Networks that may be the answer.

    Args:
        networks: Ids of the architectures.
        scores: Their score on the validation part of each fold.
    """

    networks: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))


def candidates(
    folder: Path, networks: Sequence[str], rounds: Sequence[Fold], setting: TaskSetup, trusted: Sequence[str] = ()
) -> list[Candidate]:
    """Score networks and all their ensembles on the validation parts of folds on which all of them were trained.

    On each fold, the networks of an ensemble are those that were trained on it, so that none has seen its validation
    part in a training step.

    Args:
        folder: Folder of the trainings.
        networks: Ids of the architectures, at most a few.
        rounds: The folds.
        setting: Data, task and device.
        trusted: Packages beside VoxNAS that define the space or the task.

    Returns:
        The candidates, the best first; of equal ones the smaller.
    """
    groups = [group for count in range(1, len(networks) + 1) for group in combinations(networks, count)]
    scores: dict[tuple[str, ...], list[float]] = {group: [] for group in groups}
    for part in rounds:
        own = {name: _predicted(bundle_folder(folder, name, part.name), part, setting, trusted) for name in networks}
        for group in groups:
            scores[group].append(_score([own[name] for name in group], part, setting))
    found = [Candidate(group, tuple(of_folds)) for group, of_folds in scores.items()]
    sign = setting.task.metrics[0].sign
    return sorted(found, key=lambda one: (-sign * one.score, len(one.networks)))


def _predicted(home: Path, part: Fold, setting: TaskSetup, trusted: Sequence[str]) -> np.ndarray:
    bundle = Bundle.load(home, trusted=trusted)
    train, valid = (VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid))
    model = bundle.network(setting.device)
    return predict(model, setting.task, valid.normalised_like(train), batch_size=2)


def _score(predictions: Sequence[np.ndarray], part: Fold, setting: TaskSetup) -> float:
    task = setting.task
    rows, pooled = task.pool([(part.valid, prediction) for prediction in predictions])
    target = VolumeSet(setting.store, rows, setting.device).targets
    return float(task.score(pooled, target, quick=True).over()[task.score_name])
