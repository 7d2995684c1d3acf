"""The recipe of a network of a joint search, unless the command line names other settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.train.search_defaults import shown, typed
from nas.artifact import Artifact


def over_recipes(overrides: Sequence[str], networks: Sequence[Artifact]) -> tuple[str, ...]:
    """Return the settings of the command line that replace settings of the networks' recipes.

    Args:
        overrides: The settings of the command line.
        networks: The networks.

    Returns:
        Keys as typed: a group (`training`), a setting (`training.lr`), or settings above those of a recipe
        (`training.augment`).
    """
    keys = {key for network in networks for key in network.recipe}
    return tuple(name for name in typed(overrides) if any(_covers(name, key) for key in keys))


def kept_recipe(network: Artifact, over: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a network's recipe that the command line does not replace.

    Args:
        network: The network.
        over: From `over_recipes`.

    Returns:
        Dotted key -> value; empty for networks without a recipe.
    """
    return {key: value for key, value in network.recipe.items() if not any(_covers(name, key) for name in over)}


def announcement(networks: Sequence[Artifact], over: Sequence[str]) -> list[str]:
    """Describe the recipes by which networks are trained.

    Args:
        networks: The networks.
        over: From `over_recipes`.

    Returns:
        One line for each network with a recipe.
    """
    lines = []
    for network in (one for one in networks if one.recipe):
        kept, recipe = kept_recipe(network, over), network.recipe
        listed = ", ".join(f"{key}={shown(value)}" for key, value in kept.items())
        line = f"recipe from arch.json ({network.arch.id}): {listed or 'nothing is left of it'}"
        replaced = [f"{key} (the recipe has {shown(value)})" for key, value in recipe.items() if key not in kept]
        lines.append(line + (f"; set by the command line: {', '.join(replaced)}" if replaced else ""))
    return lines


def _covers(name: str, key: str) -> bool:
    """Whether a key of the command line decides a setting of a recipe: itself, a part above it or below it."""
    return name == key or key.startswith(f"{name}.") or name.startswith(f"{key}.")
