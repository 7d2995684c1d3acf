"""Rows of the table of a training: retrained networks and the baselines of the task."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from nas.context import TaskSetup
from nas.cost.benchmark import benchmark
from nas.data.splits import Fold
from nas.metrics.names import TRAINING_MACS
from nas.retraining.folds import FoldTrainings, OnFoldEpoch, ignore_fold
from nas.retraining.scoring import System


def retrained_system(trainings: FoldTrainings, name: str, on_epoch: OnFoldEpoch = ignore_fold) -> System:
    """Retrain a network on every fold, pool its predictions and measure its costs.

    Args:
        trainings: The trainings of the network.
        name: Its name in tables.
        on_epoch: Called with fold, epoch, number of epochs and validation metrics.

    Returns:
        The row of the network.

    Raises:
        NASError: If a training cannot be resumed, or fails.
    """
    setting = trainings.setting
    tested = trainings.predictions(on_epoch)
    indices, prediction = setting.task.pool([(one.indices, one.prob) for one in tested])
    model = trainings.network.build(setting.task.spec)
    costs, effort = benchmark(model, setting.store.input_shape, setting.device), trainings.effort()
    took = {"training_seconds": effort["seconds"], TRAINING_MACS: costs["macs"] * effort["seen"]}
    known = {key: value for key, value in took.items() if math.isfinite(value)}
    return System(name, indices, prediction, tested, {**costs, **known}, arch_id=trainings.network.arch.id)


def baseline_systems(
    setting: TaskSetup, rounds: Sequence[Fold], seed: int, wanted: Callable[[str], bool] = lambda name: True
) -> list[System]:
    """Fit the simple baselines of a task on the rounds of a training.

    Args:
        setting: Data, task and device.
        rounds: The rounds of the training.
        seed: Seed of the training.
        wanted: Whether a baseline of this name is fitted.

    Returns:
        One row for each wanted baseline.
    """
    return [
        System(baseline.name, *baseline.fit_and_predict(setting.store, rounds, seed))
        for baseline in setting.task.baselines()
        if wanted(baseline.name) and baseline.applies(setting.store)
    ]
