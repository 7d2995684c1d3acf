"""Rows of docs/reference/limits.md: a module that reads data states what it reads and refuses in `LIMITS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["read", "corrected", "refused"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One property of input data and how it is treated.

    Attributes:
        topic: Heading under which the row stands, such as "DICOM series".
        case: The property.
        answer: "read" as it is, "corrected" while reading, or "refused" with a message.
        detail: The correction with its limit, or the reason of the refusal and the way out.
    """

    topic: str
    case: str
    answer: Answer
    detail: str
