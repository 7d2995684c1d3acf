"""Shared parts of the rules of all tasks: networks that are timed, limits of a machine, and times of trainings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nas.errors import NASError
from nas.planning.fingerprint import Fingerprint
from nas.utils.duration import in_words

FOLDS, FEWEST_FOLDS = 5, 3
TRAINING_SHARE = 0.8  # of the cases, in the training of a fold
REFERENCE_SHARE = 1 / 8  # of the time for everything, for one training of the reference network
SEARCH_SHARE = 1 / 2
ALONE_SHARE = 1 / 2  # of the time, for one training of the reference network if there is no time for a search
TRIALS, FEWEST_TRIALS = 24, 8
MOST_EPOCHS, ENOUGH_EPOCHS, FEWEST_EPOCHS = 300, 60, 4
LONGER = 2  # times as long is a training that would have fewer epochs than are enough
FEW_EPOCHS = 20  # of a training in an eighth of the time, below which there is no search
MOST_PATCHES = 4  # of a volume in an epoch
LEAST_BATCH = 2  # of a segmentation
ENOUGH_ALONE = 24  # epochs of the reference network if there is no search
MEMORY_SHARE = 0.8  # of the free memory
COST_LIMIT = 1.5  # MACs of searched networks, in those of the reference network
SIDES = ("left", "right")


@dataclass(frozen=True)
class Network:
    """A network that a machine may be asked to time.

    Args:
        space: Name of the space in conf/space.
        settings: Arguments of the space that differ from its file.
        genes: Name of a gene -> value.
        shape: Sides (D, H, W) of the images.
        batch: Images of a training step.
        channels: Channels of an image.
        outputs: Classes.
        kind: Kind of the task.
    """

    space: str
    settings: Mapping[str, Any]
    genes: Mapping[str, Any]
    shape: tuple[int, ...]
    batch: int
    channels: int
    outputs: int
    kind: str


@dataclass(frozen=True)
class StepCost:
    """Time and memory of a training step.

    Args:
        seconds: Least running time of a few steps.
        bytes: Memory that the step needs at its peak, the network included.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
    """

    seconds: float
    bytes: int
    params: int
    macs: int


@dataclass(frozen=True)
class Limits:
    """Limits that the machine and the user set.

    Args:
        seconds: Running time for search and trainings together.
        memory: Bytes that a training may use.
        device: Name of the device, for reasons.
        params: Most parameters of the reference network.
    """

    seconds: float
    memory: int
    device: str = "cpu"
    params: float = math.inf

    @property
    def training_seconds(self) -> float:
        """Time for one training of the reference network beside a search."""
        return self.seconds * REFERENCE_SHARE

    @property
    def alone_seconds(self) -> float:
        """Time for one training of the reference network without a search."""
        return self.seconds * ALONE_SHARE


class Measure(Protocol):
    """The cost of a training step."""

    def __call__(self, network: Network, *, timed: bool = True) -> StepCost:
        """Measure a network.

        Args:
            network: The network.
            timed: Whether a step is run. If False, `seconds` is NaN and `bytes` is what autograd will save.

        Returns:
            Its cost; infinitely many seconds if the memory is too small.
        """


def require_folds(fingerprint: Fingerprint) -> None:
    """Check that a split by patient can put every class into training, validation and test.

    Args:
        fingerprint: Facts of the data.

    Raises:
        NASError: If the data set states no parts of its own, and a class has too few patients.
    """
    if fingerprint.given_folds:
        return
    patients_K, every = fingerprint.patients_K, fingerprint.patients
    rarest = int(patients_K.argmin())
    if patients_K[rarest] < FEWEST_FOLDS:
        few = f"{fingerprint.classes[rarest]} in {patients_K[rarest]} of {every} patients"
        raise NASError(
            f"{few if every >= FEWEST_FOLDS else f'{every} patients'} in {fingerprint.path}",
            f"every class in at least {FEWEST_FOLDS} patients: for training, validation and test",
            "add patients with it" if every >= FEWEST_FOLDS else "add patients",
        )


def folds_for(fingerprint: Fingerprint) -> tuple[int, str]:
    """Choose the number of folds.

    Args:
        fingerprint: Facts of the data.

    Returns:
        Folds, and the reason.
    """
    least = int(fingerprint.patients_K.min())
    shown = f"{fingerprint.patients} patients, the rarest class in {least} of them"
    if least >= 2 * FOLDS:
        return FOLDS, f"five, as nnU-Net; {shown}"
    return max(FEWEST_FOLDS, min(FOLDS, least // 2)), f"{shown}: fewer folds keep it in each"


def flips_for(fingerprint: Fingerprint, opposite_axes: Mapping[int, str]) -> tuple[list[int], str]:
    """Choose the axes along which volumes may be mirrored without exchanging classes.

    Args:
        fingerprint: Facts of the data.
        opposite_axes: Axis -> the two classes that lie opposite to each other along it.

    Returns:
        Axes out of 0, 1, 2, and the reason.
    """
    unsafe = dict(opposite_axes)
    names = [name.lower() for name in fingerprint.classes]
    if all(any(side in name for name in names) for side in SIDES):
        unsafe.setdefault(2, "classes named left and right")
    axes = [axis for axis in range(3) if axis not in unsafe]
    if not unsafe:
        return axes, "no two classes lie opposite to each other, or are named left and right"
    texts = "; ".join(f"axis {axis} would exchange {what}" for axis, what in sorted(unsafe.items()))
    return axes, texts


def epochs_for(seconds: float, step_seconds: float, steps: int) -> int:
    """Return the epochs that fit into a time.

    Args:
        seconds: The time.
        step_seconds: Time of a step.
        steps: Steps of an epoch.

    Returns:
        At least 4, at most 300.
    """
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, int(seconds / (step_seconds * steps))))


@dataclass(frozen=True)
class Schedule:
    """Lengths of the trainings of a plan.

    Args:
        epochs: Of a training of a chosen network.
        search_epochs: Of a trial.
        trials: Trials of the search.
        reason: Of `epochs`.
        search_reason: Of `search_epochs` and `trials`.
    """

    epochs: int
    search_epochs: int
    trials: int
    reason: str
    search_reason: str


def schedule_for(limits: Limits, cost: StepCost, steps: int, alone: bool = False) -> Schedule:
    """Divide the time between the trials of a search and the trainings after it.

    Args:
        limits: Time of everything.
        cost: Of a step of the reference network, which is at the upper end of the space.
        steps: Steps of an epoch of a training.
        alone: Whether the time is too short for a search.

    Returns:
        Epochs and trials.
    """
    epochs = epochs_for(limits.alone_seconds if alone else limits.training_seconds, cost.seconds, steps)
    if not alone and epochs < ENOUGH_EPOCHS:
        epochs = min(epochs_for(LONGER * limits.training_seconds, cost.seconds, steps), ENOUGH_EPOCHS)
    took = f"{cost.seconds:.2g} s a step on {limits.device}, {steps} steps an epoch"
    reason = f"{took}: one training in {in_words(epochs * steps * cost.seconds)} of {in_words(limits.seconds)}"
    search_s, typical = limits.seconds * SEARCH_SHARE, cost.seconds * 2 / 3  # of a network of the space
    trials = TRIALS
    while trials > FEWEST_TRIALS and search_s / trials < FEWEST_EPOCHS * 2 * typical * steps:
        trials -= 1
    search_epochs = max(min(epochs_for(search_s / trials, typical, steps), epochs), FEWEST_EPOCHS)
    share = f"{in_words(search_s)}, half of the time, for {trials} trials of about two thirds of that cost"
    return Schedule(epochs, search_epochs, trials, reason, share)


def patches_for(median_shape: Sequence[float], patch: Sequence[int]) -> int:
    """Choose how many patches of each volume an epoch has.

    Args:
        median_shape: Median sides of the resampled volumes.
        patch: Sides of a patch.

    Returns:
        As many as a median volume has voxels in patches, at least one and at most four.
    """
    return max(1, min(MOST_PATCHES, round(math.prod(median_shape) / math.prod(patch))))


def name_of(path: str) -> str:
    """Make the name of a study from that of a data set.

    Args:
        path: Its folder or csv.

    Returns:
        Lower-case letters, digits and underscores.
    """
    return re.sub(r"[^a-z0-9]+", "_", Path(path).stem.lower()).strip("_") or "data"


def sides_text(sides: Sequence[float]) -> str:
    """Write sides or spacings.

    Args:
        sides: D, H, W.

    Returns:
        For example "40 x 56 x 40".
    """
    return " x ".join(f"{side:g}" for side in sides)
