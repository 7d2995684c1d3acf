"""Settings of the architecture parameters of a supernet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.utils.annotations import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Rate
from nas.utils.checked import checked


@checked("strategy")
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

    warm_up: Fraction = 0.5
    lr: Rate = 0.01
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    regularisers: Mapping[str, NonNegativeFloat] = field(default_factory=dict)
    target: PositiveFloat | None = None
    stiffness: PositiveFloat = 20.0
    budget: PositiveFloat | None = None
    validate_every: PositiveInt = 1
    checkpointing: bool = False
