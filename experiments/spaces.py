"""The search space of a configuration: its networks, the recipe of their training, and an expert's prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import Container, OmegaConf

from experiments.build import build
from nas.errors import NASError
from nas.space import SearchSpace
from search_spaces.joint import JointSpace
from search_spaces.recipe_genes import read_recipe

PRIOR = "prior"  # of the settings of a space: gene -> best value or weights


def space_of(
    space: Mapping[str, Any], recipe: Mapping[str, Any] | None = None, allow: Sequence[str] | None = None
) -> SearchSpace:
    """Build a space with the recipe and the prior of a configuration.

    Args:
        space: Class and arguments of the networks' space, with `prior` for an expert's belief.
        recipe: Settings of the training that are searched with the network; None for none.
        allow: Packages beside VoxNAS whose classes a file may name, see `experiments.build.build`.

    Returns:
        The space; with a recipe a `JointSpace`.

    Raises:
        NASError: If an argument, an entry of the recipe or the prior is wrong.
    """
    space, recipe = _plain(space), _plain(recipe)
    own = {name: value for name, value in space.items() if name != PRIOR} if isinstance(space, Mapping) else space
    found = build(own, "space", SearchSpace, allow)
    if recipe:
        found = JointSpace(found, recipe)
    return with_prior_of(found, space)


def with_prior_of(found: SearchSpace, space: Mapping[str, Any], recipe: Mapping[str, Any] | None = None) -> SearchSpace:
    """Return a space with the prior of a configuration.

    Args:
        found: The space.
        space: Settings of the space, perhaps with `prior`.
        recipe: Settings of the recipe, perhaps with a `prior` of some entries.

    Returns:
        The space with the prior; the space itself without one.

    Raises:
        NASError: If the prior names no gene or no choice.
    """
    own = space.get(PRIOR) or {}
    if not isinstance(own, Mapping):
        raise NASError(f"space.prior={own!r}", "a mapping from genes to values or weights", "+space.prior.width=8")
    genes = [one.gene for one in read_recipe(recipe)] if recipe else []
    beliefs = {gene.name: gene.prior for gene in genes if gene.prior is not None}
    try:
        return found.with_prior({**beliefs, **own}) if beliefs or own else found
    except NASError as error:
        raise NASError(f"{error.got} in space.prior", error.expected, error.fix) from error


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=True) if isinstance(config, Container) else config
