"""Which networks are the answer: one of them or several together, by their validation parts and never by test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        score: Their score on the validation parts.
    """

    networks: tuple[str, ...]
    score: float


def candidates(
    folder: Path, networks: Sequence[str], rounds: Sequence[Fold], setting: TaskSetup, trusted: Sequence[str] = ()
) -> list[Candidate]:
    """Score networks and their ensembles on the validation parts of folds on which all of them were trained.

    On each fold, the networks of an ensemble are those that were trained on it, so that none has seen its validation
    part in a training step. Ensembles are the best two networks, the best three, and so on.

    Args:
        folder: Folder of the trainings.
        networks: Ids of the architectures.
        rounds: The folds.
        setting: Data, task and device.
        trusted: Packages beside VoxNAS that define the space or the task.

    Returns:
        The candidates, the best first; of equal ones the smaller.
    """
    predicted: list[tuple[Fold, Mapping[str, np.ndarray]]] = []
    for part in rounds:
        own = {name: _predicted(bundle_folder(folder, name, part.name), part, setting, trusted) for name in networks}
        predicted.append((part, own))
    single = [Candidate((name,), _score([name], predicted, setting)) for name in networks]
    sign = setting.task.metrics[0].sign
    order = [one.networks[0] for one in sorted(single, key=lambda one: -sign * one.score)]
    several = [
        Candidate(tuple(order[:count]), _score(order[:count], predicted, setting)) for count in range(2, len(order) + 1)
    ]
    return sorted([*single, *several], key=lambda one: (-sign * one.score, len(one.networks)))


def _predicted(home: Path, part: Fold, setting: TaskSetup, trusted: Sequence[str]) -> np.ndarray:
    bundle = Bundle.load(home, trusted=trusted)
    train, valid = (VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid))
    model = bundle.network(setting.device)
    return predict(model, setting.task, valid.normalised_like(train), batch_size=2)


def _score(
    names: Sequence[str], predicted: Sequence[tuple[Fold, Mapping[str, np.ndarray]]], setting: TaskSetup
) -> float:
    task, scores = setting.task, []
    for part, own in predicted:
        rows, pooled = task.pool([(part.valid, own[name]) for name in names])
        target = VolumeSet(setting.store, rows, setting.device).targets
        scores.append(task.score(pooled, target, quick=True).over()[task.score_name])
    return float(np.mean(scores))
