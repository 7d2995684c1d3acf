"""Recipes: the settings of a training that belong to an architecture of a joint search space."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from nas.architecture import Architecture

S = TypeVar("S", bound="HasRecipe")


class HasRecipe(ABC):
    """The part of a search space that a joint space (`search_spaces.JointSpace`) defines: how networks are trained."""

    def recipe(self, arch: Architecture) -> Mapping[str, Any]:
        """Return the settings of the training that belong to an architecture.

        Args:
            arch: Architecture of this space.

        Returns:
            Dotted key of a setting of `training`, `task` or `data`, such as "training.lr" -> its value. By default
            none: all architectures are trained alike.
        """
        return {}

    @property
    def has_recipe(self) -> bool:
        """Whether architectures may be trained differently."""
        return type(self).recipe is not HasRecipe.recipe

    def space_of(self, arch: Architecture) -> HasRecipe:
        """Return the space with the arguments by which the network of an architecture is built.

        Args:
            arch: Architecture of this space.

        Returns:
            By default this space; of a joint space that of its networks.
        """
        return self

    def recipe_examples(self) -> Sequence[Architecture]:
        """Return architectures by whose recipes the settings can be checked before a search.

        Returns:
            By default none; a joint space returns one for each choice of a setting.
        """
        return ()

    def network_genes(self, genes_NG: np.ndarray) -> np.ndarray:
        """Return genes that are equal for architectures with the same network.

        Args:
            genes_NG: (N, G) gene indices.

        Returns:
            (N, G) gene indices of architectures that build the same networks; by default the same genes.
        """
        return genes_NG

    @property
    def network_arguments(self) -> tuple[str, ...]:
        """Names of the arguments that decide the networks, which a training may change (`space_changes`)."""
        return tuple(inspect.signature(type(self).__init__).parameters)[1:]

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values; the space defines them."""

    def with_arguments(self: S, changes: Mapping[str, Any]) -> S:
        """Return the space with other values of some arguments.

        Args:
            changes: Argument -> value.

        Returns:
            Another space of the same class.

        Raises:
            NASError: If a value is out of range.
        """
        return type(self)(**{**self.arguments, **changes})
