"""Networks of the literature as points of a space, with the counts that their sources state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FACTORS = {"": 1.0, "M": 1e6, "G": 1e9, "MB": 1e6}  # of units


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """One count of a network as its source states it.

    Args:
        quantity: "params", "macs" (multiply-accumulates), "flops" (two per multiply-accumulate) or "size" of a file.
        value: The number in `unit`.
        unit: "", "M", "G" or "MB".
        source: Where it is stated.
        note: How its definition differs from ours, if it does.
    """

    quantity: Literal["params", "macs", "flops", "size"]
    value: float
    unit: Literal["", "M", "G", "MB"]
    source: str
    note: str = ""

    @property
    def number(self) -> float:
        """The count without its unit; of a file, bytes."""
        return self.value * FACTORS[self.unit]

    def __str__(self) -> str:
        return f"{self.value:,} {self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Published:
    """Network of the literature as a point of a space.

    Args:
        genes: One index per gene.
        arguments: Arguments of the space.
        source: Publication.
        input_shape: (C, D, H, W), in 2D (C, H, W), of the image on which multiply-accumulates are counted; empty if
            the source states none.
        outputs: Outputs with which the network is counted; 0 for the space's own number.
        counts: Counts that the literature states.
    """

    genes: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    input_shape: tuple[int, ...] = ()
    outputs: int = 0
    counts: tuple[PublishedCount, ...] = ()
