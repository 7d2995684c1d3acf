"""Settings of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.tasks.precision import PRECISIONS, uses_bf16
from nas.utils.annotations import (
    MOST,
    Count,
    Expected,
    Fraction,
    NonNegativeFloat,
    OneOf,
    PositiveInt,
    Rate,
    Strength,
)
from nas.utils.checked import checked
from nas.utils.identity import described

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("onecycle", "cosine", "step", "constant", "warm_restarts", "poly")
EXTENDABLE = ("constant", "warm_restarts")  # schedules that do not depend on the number of epochs
WARMING = ("cosine", "poly", "step", "constant")  # schedules that may begin with a warm-up
SAMPLERS = ("shuffled", "balanced")
LATER = {"sampler": SAMPLERS[0], "restarts": (), "ema": 0.0, "warmup_epochs": 0}  # earlier versions had none of them
LATER_CHANGES = {"mixup": 0.0, "turns": ()}  # likewise, of `Augment`


@checked("training")
@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training.

    Args:
        epochs: Passes over the training samples, at least 1.
        batch_size: Samples per step over all processes, at least 2.
        optimizer: "adamw", "adam" or "sgd" (Nesterov, with `momentum`).
        lr: Maximum learning rate of the schedule, above 0.
        weight_decay: At least 0.
        momentum: Of SGD, in [0, 1).
        schedule: "onecycle", "cosine" (to 0), "step" (a factor of 0.1 at 1/2 and 3/4 of the steps), "poly" (to 0 by
            (1 - t / T)^0.9, as nnU-Net), "constant" or "warm_restarts" (a cosine to 0 that starts again after each of
            `restarts`; Loshchilov and Hutter, SGDR, ICLR 2017, arXiv 1608.03983, equation 5). With the last two, more
            epochs continue a shorter training.
        precision: "bf16" (autocast; weights and optimiser stay fp32), "fp32", or "auto": bf16 if the device supports
            it natively.
        grad_clip: Maximum norm of the gradient; 0 disables clipping.
        patience: Epochs without a better validation score before the training stops; 0 disables early stopping.
        validate_every: Epochs between two validations. The last epoch is always validated. The best epoch is one of
            the validated ones.
        compile: If True, use torch.compile, which is faster in long trainings only; on a CPU with fp32 only.
        channels_last: If True, activations and weights have the memory layout (B, D, H, W, C).
        augment: Augmentation of training batches, or None.
        sampler: "shuffled" sees each sample once per epoch. "balanced" draws as many samples from each class: rare
            classes several times, of frequent ones not all; for classification only.
        restarts: Epochs at whose end the rate of "warm_restarts" starts again, ascending, for example the budgets of a
            multi-fidelity search. Cycles after the last one have its length. These epochs are always validated.
        ema: Decay of an exponential moving average of the weights, updated after each step, in [0, 1); it rises from 0
            in the first updates. Validation, the best epoch and the trained network have the averaged weights. 0
            disables it.
        warmup_epochs: Epochs in which the rate rises linearly from near 0 to `lr`, before the schedule "cosine",
            "poly", "step" or "constant" begins.

    Raises:
        NASError: If a value is out of range.
    """

    epochs: PositiveInt = 50
    batch_size: Annotated[int, Ge(2), Le(MOST), Expected("at least 2 (batch normalisation needs two samples)")] = 32
    optimizer: Annotated[str, OneOf(*OPTIMIZERS)] = "adamw"
    lr: Rate = 2e-3
    weight_decay: Strength = 1e-2
    momentum: Fraction = 0.9
    schedule: Annotated[str, OneOf(*SCHEDULES)] = "onecycle"
    precision: Annotated[str, OneOf(*PRECISIONS)] = "auto"
    grad_clip: NonNegativeFloat = 1.0
    patience: Count = 0
    validate_every: PositiveInt = 1
    compile: bool = False
    channels_last: bool = True
    augment: Augment | None = None
    sampler: Annotated[str, OneOf(*SAMPLERS)] = "shuffled"
    restarts: Sequence[PositiveInt] = ()
    ema: Fraction = 0.0
    warmup_epochs: Count = 0

    def __post_init__(self) -> None:
        if 0 < self.patience < self.validate_every:
            raise NASError(
                f"training.patience={self.patience} with training.validate_every={self.validate_every}",
                "0, or at least validate_every",
                f"set training.patience to {self.validate_every} or more",
            )
        object.__setattr__(self, "restarts", tuple(self.restarts))
        if list(self.restarts) != sorted(set(self.restarts)):
            raise NASError(f"training.restarts={list(self.restarts)}", "ascending epochs", "sort them")
        if bool(self.restarts) != (self.schedule == "warm_restarts"):
            raise NASError(
                f"training.restarts={list(self.restarts)} with training.schedule={self.schedule}",
                "epochs of restarts with training.schedule=warm_restarts, and none with another schedule",
                "training.restarts=[]" if self.restarts else "set training.restarts to the budgets, such as [9,27]",
            )
        if self.warmup_epochs and self.schedule not in WARMING:
            raise NASError(
                f"training.warmup_epochs={self.warmup_epochs} with training.schedule={self.schedule}",
                f"a schedule without a rise of its own: {', '.join(WARMING)}",
                "set training.warmup_epochs to 0",
            )
        if self.warmup_epochs >= self.epochs and self.schedule != "constant" and self.warmup_epochs:
            raise NASError(
                f"training.warmup_epochs={self.warmup_epochs} of {self.epochs} epochs",
                "fewer epochs of warm-up than of training",
                f"set training.warmup_epochs to {self.epochs - 1} or less",
            )

    @property
    def mixup(self) -> float:
        """Strength of mixup, 0 without it."""
        return self.augment.mixup if self.augment is not None else 0.0

    @property
    def identity(self) -> Mapping[str, Any]:
        """Facts that a study records; a setting of later versions counts only if it is not the default."""
        return without_later_defaults(described(self))

    @property
    def extendable(self) -> bool:
        """True if more epochs only append steps; other schedules depend on the number of epochs."""
        return self.schedule in EXTENDABLE

    def uses_bf16(self, device: torch.device) -> bool:
        """Resolve the precision for a device.

        Args:
            device: Device of the training.

        Returns:
            True for bf16, False for fp32.

        Raises:
            NASError: For a compiled bf16 training on the CPU (see `nas.training.precision`).
        """
        compiled_on_cpu = self.compile and device.type == "cpu"
        if self.precision == "auto" and compiled_on_cpu:
            return False
        if self.precision == "bf16" and compiled_on_cpu:
            raise NASError(
                "training.compile=true with training.precision=bf16 on the CPU",
                "only one of the two",
                "set training.precision to fp32",
            )
        return uses_bf16(self.precision, device)


def without_later_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings that earlier versions did not have, unless they differ from the default.

    Args:
        values: Settings by name.

    Returns:
        The settings by which studies and checkpoints are recognised.
    """
    kept = _changed(values, LATER)
    if isinstance(changes := kept.get("augment"), Mapping):
        kept["augment"] = _changed(changes, LATER_CHANGES)
    return kept


def _changed(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return {name: value for name, value in values.items() if name not in later or plain[name] != later[name]}
