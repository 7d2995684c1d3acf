"""How the probabilities of a supernet are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nas.utils.checked import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, checked


@checked("strategy")
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

    warm_up: Fraction = 0.5
    lr: PositiveFloat = 0.01
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    regularisers: Mapping[str, NonNegativeFloat] = field(default_factory=dict)
    target: PositiveFloat | None = None
    stiffness: PositiveFloat = 20.0
    budget: PositiveFloat | None = None
    validate_every: PositiveInt = 1
    checkpointing: bool = False
