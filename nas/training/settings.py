"""Every choice of one training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from nas.data.transforms.augment import Augment
from nas.errors import NASError
from nas.utils.checked import Count, Expected, Fraction, NonNegativeFloat, OneOf, PositiveFloat, PositiveInt, checked

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("onecycle", "cosine", "step", "constant")
PRECISIONS = ("auto", "bf16", "fp32")


@checked("training")
@dataclass(frozen=True)
class TrainingSettings:
    """epochs: passes over the training part. batch_size: samples of one step over all processes together.

    optimizer: adamw, adam or sgd (Nesterov, with `momentum`). lr: the largest learning rate of the schedule.
    schedule: onecycle, cosine (to 0), step (a tenth at 1/2 and at 3/4 of the steps) or constant.
    precision: bf16 (autocast; weights and optimiser stay fp32), fp32, or auto: bf16 where the device computes in it.
    grad_clip: largest norm of the gradient, 0 = none. patience: epochs without a better validation score before the
    training stops, 0 = off. validate_every: epochs between two validations; the last epoch is always validated, and
    the best epoch is one of those. compile: torch.compile, which pays only in long trainings (on a CPU in fp32 only:
    what keeps bf16 right there cannot be compiled).
    channels_last: memory layout (B, D, H, W, C) of activations and weights.
    Raises NASError for a value out of range.
    """

    epochs: PositiveInt = 50
    batch_size: Annotated[int, Ge(2), Expected("at least 2 (batch normalisation needs two samples)")] = 32
    optimizer: Annotated[str, OneOf(*OPTIMIZERS)] = "adamw"
    lr: PositiveFloat = 2e-3
    weight_decay: NonNegativeFloat = 1e-2
    momentum: Fraction = 0.9
    schedule: Annotated[str, OneOf(*SCHEDULES)] = "onecycle"
    precision: Annotated[str, OneOf(*PRECISIONS)] = "auto"
    grad_clip: NonNegativeFloat = 1.0
    patience: Count = 0
    validate_every: PositiveInt = 1
    compile: bool = False
    channels_last: bool = True
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if 0 < self.patience < self.validate_every:
            raise NASError(
                f"training.patience={self.patience} with training.validate_every={self.validate_every}",
                "0, or at least validate_every",
                f"set training.patience to {self.validate_every} or more",
            )

    @property
    def extendable(self) -> bool:
        """More epochs only append steps: with any other schedule the epochs decide every learning rate."""
        return self.schedule == "constant"

    def uses_bf16(self, device: torch.device) -> bool:
        """Raises NASError for a compiled bf16 training on the CPU (see nas/training/precision.py)."""
        compiled_on_cpu = self.compile and device.type == "cpu"
        if self.precision == "auto":
            return has_fast_bf16(device) and not compiled_on_cpu
        if self.precision == "bf16" and compiled_on_cpu:
            raise NASError("training.compile=true in bf16 on the CPU", "one of the two", "training.precision=fp32")
        return self.precision == "bf16"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16; a CPU without AVX512-BF16 only emulates it, far slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
