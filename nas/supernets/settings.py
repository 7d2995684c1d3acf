"""How the probabilities of a supernet are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.errors import NASError


@dataclass(frozen=True)
class ArchitectureSettings:
    """warm_up: share of the epochs in which only weights are trained. lr, betas: of Adam on the probabilities.

    regularisers: weights of the supernet's terms by name; where none is said its own, else 1. They rise from 0 after
    the warm-up to these values at the end, in any precision alike. target: the expected cost that the search is to
    reach, in the study's cost unit; None: cost plays no part. stiffness: half of it is the penalty of a deviation by
    100 %. budget: a hard limit on the decoded architecture's cost. validate_every: epochs between two validations.
    checkpointing: activations are computed again in the backward pass instead of kept.
    Raises NASError for a value out of range.
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
                raise NASError(f"strategy.{name}={getattr(self, name)}", expected, f"mend strategy.{name}")
