"""Canonical encoding of architectures: indices into the choices of ordered and unordered genes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gene:
    """One decision of a search space.

    ordered: a later choice is never smaller (wider, deeper, more often); this is what the partial order reads.
    """

    name: str
    choices: tuple[int | float | str | bool, ...]
    ordered: bool = False


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
