"""A ReLU read by several operations that is recomputed in the backward pass instead of stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

View = tuple[torch.Size, tuple[int, ...], int | torch.SymInt]  # sizes, strides and offset


def rectified(x: torch.Tensor) -> torch.Tensor:
    """Compute ReLU, storing its argument for the backward pass instead of its result as `torch.relu` does.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the same shape.
    """
    return F.threshold(x, 0.0, 0.0)


@contextmanager
def computed_again(x: torch.Tensor, relu: torch.Tensor) -> Iterator[None]:
    """Recompute the rectified x in the backward pass instead of storing it.

    Operations in the context store nothing when they would store `relu` or a view of it. In the backward pass the
    result lives until the last of them has read it.

    Args:
        x: Argument of `rectified`.
        relu: Its result.

    Yields:
        None.
    """
    hooks = _Hooks(x.detach(), relu.untyped_storage().data_ptr())
    with torch.autograd.graph.saved_tensors_hooks(hooks.pack, hooks.unpack):
        yield


class _Hooks:
    """Replace saved tensors at one address by views, and the views by x rectified once more."""

    def __init__(self, x: torch.Tensor, address: int) -> None:
        self.x, self.address = x, address
        self.readers = 0
        self.result: torch.Tensor | None = None

    def pack(self, saved: torch.Tensor) -> torch.Tensor | View:
        if saved.untyped_storage().data_ptr() != self.address:
            return saved
        self.readers += 1
        return saved.size(), saved.stride(), saved.storage_offset()

    def unpack(self, saved: torch.Tensor | View) -> torch.Tensor:
        if isinstance(saved, torch.Tensor):
            return saved
        result = rectified(self.x) if self.result is None else self.result
        self.readers -= 1
        self.result = result if self.readers > 0 else None
        return result.as_strided(*saved)
