"""Every choice of one training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.data.transforms.augment import Augment
from nas.errors import NASError

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("onecycle", "cosine", "step", "constant")
PRECISIONS = ("auto", "bf16", "fp32")


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

    epochs: int = 50
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    schedule: str = "onecycle"
    precision: str = "auto"
    grad_clip: float = 1.0
    patience: int = 0
    validate_every: int = 1
    compile: bool = False
    channels_last: bool = True
    augment: Augment | None = None

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2 (batch normalisation needs two samples)"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            "lr": (self.lr > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "momentum": (0 <= self.momentum < 1, "in [0, 1)"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "precision": (self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            "grad_clip": (self.grad_clip >= 0, "at least 0"),
            "patience": (self.patience == 0 or self.patience >= self.validate_every, "0, or at least validate_every"),
            "validate_every": (self.validate_every >= 1, "at least 1 epoch"),
        }
        for name, (holds, expected) in rules.items():
            if not holds:
                raise NASError(f"training.{name}={getattr(self, name)}", expected, f"mend training.{name}")

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
