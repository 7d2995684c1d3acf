"""Limits of networks, and the nearest smaller network that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from nas.architecture import Architecture
from nas.artifact import Artifact
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.space import SearchSpace
from nas.task_spec import TaskSpec


@dataclass(frozen=True)
class Most:
    """A limit of networks.

    Args:
        option: The option that sets it.
        value: The largest value.
        cost: Value of an architecture.
    """

    option: str
    value: float
    cost: Callable[[Architecture], float]


def small_enough(network: Artifact, limits: Sequence[Most]) -> Artifact:
    """Make a reference network smaller until it keeps limits.

    One gene at a time is lowered by one choice, the one that lowers the cost most.

    Args:
        network: The network.
        limits: The limits.

    Returns:
        The network, or a smaller one of its space.

    Raises:
        NASError: If no network on the way to the smallest one keeps a limit.
    """
    space, arch = network.space, network.arch
    while (limit := next((one for one in limits if one.cost(arch) > one.value), None)) is not None:
        lower = _lowered(space, arch, limit.cost)
        if lower is None:
            raise NASError(
                f"{limit.option} {limit.value:g}",
                f"at least {limit.cost(arch):.6g}, as the smallest planned network",
                f"raise {limit.option}, or write a smaller space into plan.yaml",
            )
        arch = lower
    return network if arch == network.arch else replace(network, arch=arch)


def params_of(space: SearchSpace, arch: Architecture, task: TaskSpec) -> int:
    """Count the parameters of a network.

    Args:
        space: Its space.
        arch: The architecture.
        task: Its task.

    Returns:
        Their number.
    """
    with torch.device("meta"):
        return sum(one.numel() for one in space.build(arch, task).parameters())


def limits_of(network: Artifact, max_params: float | None, max_ms: float | None, ms: CostModel | None) -> list[Most]:
    """Return the limits of an option each.

    Args:
        network: The reference network.
        max_params: Most parameters; None for no limit.
        max_ms: Longest latency in ms; None for no limit.
        ms: Latency of a network of the space; None if it is not known.

    Returns:
        At most two limits.
    """
    found = []
    if max_params is not None:
        found.append(Most("--max-params", max_params, lambda arch: params_of(network.space, arch, network.task)))
    if max_ms is not None and ms is not None:
        found.append(Most("--max-latency-ms", max_ms, ms.of))
    return found


def _lowered(space: SearchSpace, arch: Architecture, cost: Callable[[Architecture], float]) -> Architecture | None:
    """Return the neighbour with one lower gene that has the lowest cost; None if no gene lowers it."""
    here, found = cost(arch), list[tuple[float, Architecture]]()
    for number, index in enumerate(arch.genes):
        if index:
            other = space.repair([*arch.genes[:number], index - 1, *arch.genes[number + 1 :]])
            if (value := cost(other)) < here:
                found.append((value, other))
    return min(found, key=lambda one: one[0])[1] if found else None
