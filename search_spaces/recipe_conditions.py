"""Conditional genes of a recipe: which of them an architecture uses, and the settings that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.architecture import Gene
from nas.errors import NASError
from nas.priors import index_of
from search_spaces.recipe_genes import RecipeGene


class Conditions:
    """The genes of a recipe with the genes on which they depend.

    Args:
        genes: Genes of the networks' space.
        recipe: Genes of the recipe, which follow them.

    Raises:
        NASError: If a condition names no earlier gene, or none of its choices.
    """

    def __init__(self, genes: Sequence[Gene], recipe: Sequence[RecipeGene]) -> None:
        self.count, self.recipe = len(genes), recipe
        self._genes = (*genes, *(one.gene for one in recipe))
        # for each gene of the recipe: position of an earlier gene -> indices of its choices
        self._needed = [self._indices(number) for number in range(len(recipe))]

    def used(self, columns_G: Any) -> list[Any]:
        """Return which genes of the recipe are used.

        Args:
            columns_G: Genes (G,) of one architecture, or (G, N) of many.

        Returns:
            For each gene of the recipe a boolean, or (N,) booleans.
        """
        used: list[Any] = []
        for needed in self._needed:
            own: Any = True
            for position, allowed in needed.items():
                own = own & np.isin(columns_G[position], allowed)
                if position >= self.count:  # it may be unused itself
                    own = own & used[position - self.count]
            used.append(own)
        return used

    def settings(self, genes: Sequence[int]) -> dict[str, Any]:
        """Return the settings of all genes that an architecture uses.

        Args:
            genes: Genes of the architecture.

        Returns:
            Dotted key -> value.
        """
        found: dict[str, Any] = {}
        for index, one, used in zip(genes[self.count :], self.recipe, self.used(genes), strict=True):
            if used:
                found |= one.settings[index]
        return found

    def examples(self) -> list[list[int]]:
        """Return genes with each choice of the recipe once, and the genes on which it depends set.

        Returns:
            G integers each; all other genes have their first choice.
        """
        found = []
        for number, one in enumerate(self.recipe):
            for choice in range(len(one.gene.choices)):
                genes, pending = [0] * len(self._genes), [(self.count + number, choice)]
                while pending:
                    position, index = pending.pop()
                    genes[position] = index
                    if position >= self.count:
                        pending += [
                            (other, allowed[0]) for other, allowed in self._needed[position - self.count].items()
                        ]
                found.append(genes)
        return found

    def of_network(self) -> set[int]:
        """Return the positions of the genes of the recipe that decide the network, and of those on which they depend.

        Returns:
            Positions among all genes.
        """
        found = {self.count + number for number, one in enumerate(self.recipe) if one.changes_network}
        for number in reversed(range(len(self.recipe))):
            if self.count + number in found:
                found |= set(self._needed[number])
        return found

    def _indices(self, number: int) -> dict[int, tuple[int, ...]]:
        one = self.recipe[number]
        earlier = {gene.name: place for place, gene in enumerate(self._genes[: self.count + number])}
        found = {}
        for name, values in one.when.items():
            if name not in earlier:
                raise NASError(
                    f"recipe.{one.gene.name}.when.{name}",
                    f"a gene that stands before it: {', '.join(earlier)}",
                    "name such a gene, or move the entry below it",
                )
            gene = self._genes[earlier[name]]
            try:
                found[earlier[name]] = tuple(index_of(gene, value) for value in values)
            except NASError as error:
                raise NASError(
                    f"recipe.{one.gene.name}.when.{name}={list(values)}",
                    f"some of {list(gene.choices)}",
                    f"name choices of {name}",
                ) from error
        return found
