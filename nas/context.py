"""Context of evaluations: parts of the data, device, seed and folder, but no configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from nas.data.loading import VolumeSet
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.provenance import DataFacts, SplitFacts
from nas.tasks.base import Task
from nas.tracking.base import NO_TRACKING, Tracker

PACKAGES = ("voxnas", "torch", "numpy", "scikit-learn", "optuna", "hydra-core")
FEW_CASES = 20  # of a validation part, below which nothing can be chosen by it
OnEpoch = Callable[[int, int], None]


def ignore(*arguments: object) -> None:
    """Do nothing; the default of callbacks.

    Args:
        *arguments: Ignored.
    """


@dataclass(frozen=True, slots=True)
class RunContext:
    """The surroundings of a search, which never hold the test fold.

    Args:
        train: Training part.
        valid: Validation part.
        folder: Folder of the evaluations' checkpoints, one sub-folder per architecture id.
        device: Device of the trainings.
        seed: Seed of the search, at least 0.
        tracker: Receiver of live curves.
        on_epoch: Called after each epoch with the numbers of epochs done and planned.
        trial: Number of the running trial; None outside of one.
        folds: Training and validation part of each replicate, in turn; empty if all have `train` and `valid`.
    """

    train: VolumeSet
    valid: VolumeSet
    folder: Path
    device: torch.device
    seed: int
    tracker: Tracker = NO_TRACKING
    on_epoch: OnEpoch = ignore
    trial: int | None = None
    folds: tuple[tuple[VolumeSet, VolumeSet], ...] = ()

    def of_replicate(self, replicate: int) -> RunContext:
        """Return the surroundings of a replicate, which may have a validation fold of its own.

        Args:
            replicate: Number of the replicate, at least 0.

        Returns:
            The context.
        """
        if not self.folds:
            return self
        train, valid = self.folds[replicate % len(self.folds)]
        return replace(self, train=train, valid=valid)


@dataclass(frozen=True)
class TaskSetup:
    """The data, their split, the task and the device of a training.

    Args:
        split: The split of the data set.
        task: The task; settings that name classes are resolved.
        device: Device of the trainings.

    Raises:
        NASError: If data and task are of different kinds.
    """

    split: Split
    task: Task
    device: torch.device

    def __post_init__(self) -> None:
        self.task.require_data(self.store)
        object.__setattr__(self, "task", self.task.for_classes(self.store.classes))  # the only way in a frozen class

    @property
    def store(self) -> VolumeStore:
        """The prepared data set."""
        return self.split.store

    @property
    def data_facts(self) -> DataFacts:
        """Facts of the data set that files record."""
        return data_facts(self.store)

    @property
    def split_facts(self) -> SplitFacts:
        """Facts of the split that files record."""
        return split_facts(self.split)


def small_validation(split: Split) -> str:
    """Warn if the validation part of a split is too small to choose a network by it.

    Args:
        split: The split.

    Returns:
        One sentence; empty if the part has 20 cases or more.
    """
    return "" if split.overfit else small_part(VolumeSet(split.store, split.search[1], "cpu"))


def small_part(valid: VolumeSet) -> str:
    """Warn of a validation part that is too small to choose a network by it.

    Args:
        valid: The validation part.

    Returns:
        One sentence; empty if it has 20 cases or more.
    """
    if len(valid) >= FEW_CASES:
        return ""
    groups = len(set(valid.store.groups[valid.indices].tolist()))
    return (
        f"The validation part has {len(valid)} cases of {groups} {valid.store.unit}{'s' * (groups != 1)}: the best "
        "epoch, and the network that a search chooses, are hardly more than chance."
    )


def data_facts(store: VolumeStore) -> DataFacts:
    """Return what files record of a data set.

    Args:
        store: The prepared data set.

    Returns:
        Name, hash, number of samples and classes.
    """
    return DataFacts(store.name, store.sha256, len(store), tuple(store.classes))


def split_facts(split: Split) -> SplitFacts:
    """Return what files record of a split.

    Args:
        split: The split.

    Returns:
        Hash, unit, and whether all samples are in every part.
    """
    return SplitFacts(split.sha256, split.unit, split.overfit)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of packages.

    Args:
        packages: Names of the packages; by default those that decide the numbers of a search or a training.

    Returns:
        Package -> version, "not installed" if it is missing.
    """
    known = {}
    for package in packages:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "not installed"
    return known
