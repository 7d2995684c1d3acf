"""Checks of the settings of a training against its data, network and task, before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from nas.data.loading import VolumeSet, plan_batches
from nas.errors import NASError
from nas.network_traits import takes_target
from nas.tasks.base import Task
from nas.tasks.views import HasViews
from nas.training import distributed
from nas.training.settings import TrainingSettings
from nas.utils.views import PLANES

QUARTER = 90  # degrees


def require_trainable(
    model: nn.Module, task: Task, train: VolumeSet, valid: VolumeSet, settings: TrainingSettings
) -> None:
    """Check a training before its first step.

    Args:
        model: Network to train.
        task: Its task.
        train: Training samples.
        valid: Validation samples.
        settings: Training settings.

    Raises:
        NASError: If there are too few samples, or settings, data, network and task contradict each other.
    """
    for name, data in (("training", train), ("validation", valid)):
        if len(data) < 2:
            raise NASError(f"{len(data)} samples in the {name} part", "at least 2", "use fewer folds or more data")
    require_sample_per_process(train, settings.batch_size)
    require_options(train, task, settings)
    if settings.mixup and takes_target(model):
        raise NASError(
            f"training.augment.mixup={settings.mixup} for a network with a margin, which needs one class per sample",
            "0 of mixup, or a network without a margin",
            "set training.augment.mixup to 0",
        )


def require_options(train: VolumeSet, task: Task, settings: TrainingSettings) -> None:
    """Check the settings that do not fit every kind of data or task.

    Args:
        train: Training samples.
        task: The task.
        settings: Training settings.

    Raises:
        NASError: If one does not fit.
    """
    require_sampler(train, settings)
    _require_seen_views(task, settings)
    sides = dict(zip("DHW", (1, *train.store.input_shape[1:])[-3:], strict=True))
    if settings.augment is not None and (
        unequal := [plane for plane in settings.augment.turns if sides[plane[0]] != sides[plane[1]]]
    ):
        raise NASError(
            f"training.augment.turns=[{unequal[0]}] for samples of {'x'.join(map(str, train.store.input_shape[1:]))}",
            "planes of equal sides",
            "leave the plane out of training.augment.turns",
        )
    if settings.mixup and train.store.kind != "classification":
        raise NASError(
            f"training.augment.mixup={settings.mixup} for data of {train.store.kind}",
            "data of classification",
            "set training.augment.mixup to 0",
        )


def shown_views(settings: TrainingSettings, dims: int) -> dict[str, list[Any]]:
    """List the mirrored and turned views that a training shows, which are the ones that its labels allow.

    Args:
        settings: Training settings.
        dims: Spatial axes of a sample, 2 or 3.

    Returns:
        "flips": axes of the sample (in 2D 0 = H, 1 = W); "rotations": planes.
    """
    augment = settings.augment
    if augment is None:
        return {"flips": [], "rotations": []}
    planes = [plane for plane in PLANES if plane in augment.turns or augment.rotate >= QUARTER]
    return {
        "flips": sorted(axis - (3 - dims) for axis in augment.flip if axis >= 3 - dims),
        "rotations": [plane for plane in planes if dims == 3 or plane == "HW"],
    }


def _require_seen_views(task: Task, settings: TrainingSettings) -> None:
    """Refuse predictions of views that the training never shows: their labels may be others."""
    if not isinstance(task, HasViews):
        return
    shown = shown_views(settings, task.spec.dims)
    for name, augmented in (("flips", "flip"), ("rotations", "turns")):
        chosen: tuple[Any, ...] = getattr(task, name)
        if unseen := [one for one in chosen if one not in shown[name]]:
            own = [one + 3 - task.spec.dims if isinstance(one, int) else one for one in unseen]
            raise NASError(
                f"task.{name}={_listed(chosen)} with training.augment.{augmented} without {_listed(own)}",
                "predictions of views that the training shows, whose labels are the same",
                f"set task.{name} to {_listed([one for one in chosen if one not in unseen])}, or add to "
                f"training.augment.{augmented}",
            )


def _listed(values: Sequence[Any]) -> str:
    return f"[{','.join(map(str, values))}]"


def require_sampler(train: VolumeSet, settings: TrainingSettings) -> None:
    """Check that balanced batches can be drawn.

    Args:
        train: Training samples.
        settings: Training settings.

    Raises:
        NASError: If the samples have no single class each.
    """
    if settings.sampler == "balanced" and train.store.kind != "classification":
        raise NASError(
            f"training.sampler=balanced for data of {train.store.kind}",
            "data of classification (patches of a segmentation are balanced by class anyway)",
            "training.sampler=shuffled",
        )


def require_supernet_settings(settings: TrainingSettings) -> None:
    """Check that the settings have nothing that the training of a supernet does not do.

    Args:
        settings: Settings of the shared weights.

    Raises:
        NASError: If weights are to be averaged, or samples to be mixed.
    """
    for name, value in (("ema", settings.ema), ("augment.mixup", settings.mixup)):
        if value:
            raise NASError(
                f"strategy.settings.{name}={value} for a supernet",
                "0: averages and mixed samples are for trainings of single networks",
                f"set strategy.settings.{name} to 0",
            )


def require_sample_per_process(data: VolumeSet, batch_size: int) -> None:
    """Check that every process started by torchrun has a sample of every batch.

    Args:
        data: Training samples.
        batch_size: Samples per batch over all ranks.

    Raises:
        NASError: If the smallest batch has fewer samples than there are processes.
    """
    smallest = min(len(rows) for rows in plan_batches(data.per_epoch, batch_size))
    if smallest < distributed.world():
        raise NASError(
            f"batches of {smallest} samples for {distributed.world()} processes",
            "at least one sample per process",
            "set training.batch_size to a larger value, or start fewer processes",
        )
