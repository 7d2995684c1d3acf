"""Settings of the architecture parameters of a supernet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.errors import NASError


@dataclass(frozen=True)
class ArchitectureSettings:
    """Settings of the training of architecture parameters.

    Args:
        warm_up: Fraction of the epochs that train weights only, in [0, 1).
        lr: Learning rate of Adam, above 0.
        betas: Betas of Adam, in [0, 1).
        regularisers: Final weights of the supernet's terms by name, at least 0; missing ones are the supernet's
            defaults. Weights rise linearly from 0 at the end of the warm-up.
        target: Desired expected cost in the study's cost unit. If None, the cost is not part of the loss.
        stiffness: Twice the penalty of a deviation from the target by 100 %.
        budget: Maximum cost of the decoded architecture. If None, there is no limit.
        validate_every: Epochs between two validations.
        checkpointing: If True, activations are recomputed in the backward pass.

    Raises:
        NASError: If a value is out of range.
    """

    warm_up: float = 0.5
    lr: float = 0.01
    betas: tuple[float, float] = (0.5, 0.999)
    regularisers: Mapping[str, float] = field(default_factory=dict)
    target: float | None = None
    stiffness: float = 20.0
    budget: float | None = None
    validate_every: int = 1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        rules = {
            "warm_up": (0 <= self.warm_up < 1, "a share in [0, 1)"),
            "lr": (self.lr > 0, "above 0"),
            "betas": (len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)"),
            "regularisers": (all(value >= 0 for value in self.regularisers.values()), "weights of at least 0"),
            "target": (self.target is None or self.target > 0, "above 0, or null"),
            "stiffness": (self.stiffness > 0, "above 0"),
            "budget": (self.budget is None or self.budget > 0, "above 0, or null"),
            "validate_every": (self.validate_every >= 1, "at least 1 epoch"),
        }
        for name, (holds, expected) in rules.items():
            if not holds:
                raise NASError(
                    f"strategy.{name}={getattr(self, name)}", expected, f"set strategy.{name} to a value in this range"
                )
