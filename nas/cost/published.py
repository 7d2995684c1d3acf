"""Counts of published networks: ours, and those that the literature states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from nas.cost.profile import profile
from nas.published import Published
from nas.space import SearchSpace
from nas.task_spec import TaskSpec

BYTES = 4  # of a parameter in single precision


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """One published network with its counts.

    Attributes:
        name: `<space>/<network>`, as `arch=` takes it.
        published: Its source and the counts that are stated there.
        params: Number of parameters; None if the architecture is not part of the space.
        macs: Multiply-accumulates of convolutions and matrix products at `published.input_shape`; None without one.
    """

    name: str
    published: Published
    params: int | None = None
    macs: int | None = None

    @property
    def flops(self) -> int | None:
        """Floating-point operations, two per multiply-accumulate."""
        return None if self.macs is None else 2 * self.macs

    @property
    def size(self) -> int | None:
        """Bytes of the parameters in single precision."""
        return None if self.params is None else BYTES * self.params

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values.

        Returns:
            name, params, macs, flops, bytes, input_shape, source, and published: a list of the stated counts.
        """
        stated = [
            {"quantity": one.quantity, "value": one.value, "unit": one.unit, "source": one.source, "note": one.note}
            for one in self.published.counts
        ]
        ours = {"params": self.params, "macs": self.macs, "flops": self.flops, "bytes": self.size}
        shape, source = list(self.published.input_shape), self.published.source
        return {"name": self.name, **ours, "input_shape": shape, "source": source, "published": stated}


def counts_of(name: str, space: type[SearchSpace]) -> Iterator[NetworkCounts]:
    """Count the published networks of a space, without memory for their weights.

    Args:
        name: Name of the space in conf/space.
        space: Its class.

    Yields:
        Every published network, then those of the literature whose architecture is not part of the space.
    """
    for network, published in space.published.items():
        home, arch = space.from_name(network)
        shape = published.input_shape
        task = None
        if published.outputs:
            task = TaskSpec(home.kind, len(shape) - 1, shape[0], published.outputs)
        with torch.device("meta"):
            model = home.build(arch, task)
        params = sum(parameter.numel() for parameter in model.parameters())
        macs = profile(model, (1, *shape)).macs if shape else None
        yield NetworkCounts(f"{name}/{network}", published, params, macs)
    for network, published in space.not_included.items():
        yield NetworkCounts(f"{name}/{network}", published)
