"""Networks that a searched one is compared with at its own cost, written as arch.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.search.random_counterpart import random_network_of_equal_cost
from nas.artifact import Artifact, import_space, load
from nas.cost.model import CostModel
from nas.errors import NASError


def equal_cost(
    like: str, folder: Path, shape: Sequence[int], space: str, name: str, widths: Sequence[int], least: bool = False
) -> None:
    """Write the network of a family whose MACs are nearest to those of another network.

    Args:
        like: arch.json of the other network.
        folder: Gets `arch.json`.
        shape: (C, D, H, W) of the image on which MACs are counted.
        space: Class path of the family's space.
        name: A published network of it; the family has its depths, blocks and layers at other widths.
        widths: First and last width, and the step between two.
        least: Take the narrowest network with at least the MACs of the other one.

    Raises:
        NASError: If no width of the family has about these MACs (within a factor of two).
    """
    other = load(like)
    wanted = CostModel(other.space, other.task, shape, "macs").of(other.arch)
    published, arch = import_space(space).from_name(name)
    costs = {}
    for width in range(widths[0], widths[1] + 1, widths[2]):
        member = type(published)(**{**published.arguments, "widths": (width,)})
        cost = CostModel(member, other.task, shape, "macs").of(member.architecture(arch.genes))
        costs[cost] = member
        if cost >= 2 * wanted:
            break
    near = [cost for cost in costs if cost >= wanted or not least]
    cost = min(near, key=lambda cost: abs(cost / wanted - 1)) if near else 0.0
    if not 0.5 * wanted <= cost <= 2 * wanted:
        raise NASError(
            f"no {name} of about {wanted:.3g} MACs with widths {list(widths)}", "a wider range of widths", "set widths"
        )
    chosen = costs[cost]
    Artifact(chosen, chosen.architecture(arch.genes), other.task).save(folder / "arch.json")


def random_equal_cost(like: str, folder: Path, shape: Sequence[int], seed: int) -> None:
    """Write a random network of the space of another one, within 10 % of its MACs.

    Args:
        like: arch.json of the other network.
        folder: Gets `arch.json`.
        shape: (C, D, H, W) of the image on which MACs are counted.
        seed: Seed of the draw.
    """
    other = load(like)
    random_network_of_equal_cost(other, other.task, shape, seed).save(folder / "arch.json")
