"""Canonical encoding of architectures: indices into the choices of ordered and unordered genes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision of a search space.

    Args:
        name: Name of the decision.
        choices: The values to choose from.
        ordered: Whether a later choice is never smaller (wider, deeper, more often); the partial order reads this.
        prior: Weight of each choice when architectures are sampled; None for equal weights. Priors are not part of the
            fingerprint of a space.
        ordinal: Whether neighbouring choices are alike, as learning rates are, without an order of the networks.
            Priors around a value and models read this; the partial order does not.
    """

    name: str
    choices: tuple[int | float | str | bool, ...]
    ordered: bool = False
    prior: tuple[float, ...] | None = None
    ordinal: bool = False

    @property
    def is_scale(self) -> bool:
        """Whether neighbouring choices are alike."""
        return self.ordered or self.ordinal


@dataclass(frozen=True, slots=True)
class Architecture:
    """Point of a search space.

    Args:
        space: Fingerprint of the space (`SearchSpace.fingerprint`).
        genes: One index into `Gene.choices` per gene.

    Attributes:
        id: 12 hexadecimal digits, a stable hash of both, equal on every machine and in every version.
    """

    space: str
    genes: tuple[int, ...]
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "genes", tuple(int(gene) for gene in self.genes))
        text = f"{self.space}|{','.join(map(str, self.genes))}"
        object.__setattr__(self, "id", hashlib.blake2s(text.encode(), digest_size=6).hexdigest())
