"""A ReLU that several operations read, and whose result is not kept for the backward pass but computed again there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

Place = tuple[torch.Size, tuple[int, ...], int | torch.SymInt]  # sizes, strides and offset of a view


def rectified(x: torch.Tensor) -> torch.Tensor:
    """ReLU. Unlike `torch.relu` it keeps its argument for the backward pass, not its result."""
    return F.threshold(x, 0.0, 0.0)


@contextmanager
def computed_again(x: torch.Tensor, relu: torch.Tensor) -> Iterator[None]:
    """Where operations in this block keep `relu`, the rectified x, or a view of it, they keep nothing: x is rectified
    once more in the backward pass, where the result lives until the last of them has read it."""
    again = _Again(x.detach(), relu.untyped_storage().data_ptr())
    with torch.autograd.graph.saved_tensors_hooks(again.pack, again.unpack):
        yield


class _Again:
    def __init__(self, x: torch.Tensor, address: int) -> None:
        self.x, self.address = x, address
        self.readers = 0
        self.result: torch.Tensor | None = None

    def pack(self, kept: torch.Tensor) -> torch.Tensor | Place:
        if kept.untyped_storage().data_ptr() != self.address:
            return kept
        self.readers += 1
        return kept.size(), kept.stride(), kept.storage_offset()

    def unpack(self, kept: torch.Tensor | Place) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        result = rectified(self.x) if self.result is None else self.result
        self.readers -= 1
        self.result = result if self.readers > 0 else None
        return result.as_strided(*kept)
