"""Settings of a training."""

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
    """Settings of a training.

    Args:
        epochs: Passes over the training samples, at least 1.
        batch_size: Samples per step over all processes, at least 2.
        optimizer: "adamw", "adam" or "sgd" (Nesterov, with `momentum`).
        lr: Maximum learning rate of the schedule, above 0.
        weight_decay: At least 0.
        momentum: Of SGD, in [0, 1).
        schedule: "onecycle", "cosine" (to 0), "step" (a factor of 0.1 at 1/2 and 3/4 of the steps) or "constant".
        precision: "bf16" (autocast; weights and optimiser stay fp32), "fp32", or "auto": bf16 if the device supports
            it natively.
        grad_clip: Maximum norm of the gradient; 0 disables clipping.
        patience: Epochs without a better validation score before the training stops; 0 disables early stopping.
        validate_every: Epochs between two validations. The last epoch is always validated. The best epoch is one of
            the validated ones.
        compile: If True, use torch.compile, which is faster in long trainings only; on a CPU with fp32 only.
        channels_last: If True, activations and weights have the memory layout (B, D, H, W, C).
        augment: Augmentation of training batches, or None.

    Raises:
        NASError: If a value is out of range.
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
                raise NASError(
                    f"training.{name}={getattr(self, name)}", expected, f"set training.{name} to a value in this range"
                )

    @property
    def extendable(self) -> bool:
        """True if more epochs only append steps; other schedules depend on the number of epochs."""
        return self.schedule == "constant"

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
        if self.precision == "auto":
            return has_fast_bf16(device) and not compiled_on_cpu
        if self.precision == "bf16" and compiled_on_cpu:
            raise NASError(
                "training.compile=true with training.precision=bf16 on the CPU",
                "only one of the two",
                "set training.precision to fp32",
            )
        return self.precision == "bf16"


def has_fast_bf16(device: torch.device) -> bool:
    """Check whether a device has bf16 arithmetic; CPUs without AVX512-BF16 emulate it, far slower than fp32.

    Args:
        device: Device of the training.

    Returns:
        True if bf16 is faster than fp32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
