"""Joint search: the networks of any space together with the recipe of their training."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from nas.architecture import Architecture
from nas.errors import NASError
from nas.priors import draw_choice
from nas.space import ENUMERATE_LIMIT, Block, SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.checked import check_arguments, checked
from nas.utils.locate import locate
from search_spaces.recipe_conditions import Conditions
from search_spaces.recipe_genes import read_recipe

SHARED = ("in_channels", "deep_supervision")  # attributes of the networks' space that other parts read
SPACES = "search_spaces"  # the package whose spaces a file may name; those of plug-ins are trusted too


@checked("space")
class JointSpace(SearchSpace):
    """The networks of a space, each with every recipe: settings of the training that are searched with the network.

    The genes of the space come first, then one gene for each entry of the recipe. Genes of the recipe have no order in
    the partial order: pruning compares only networks with the same recipe. A gene with `when` is used if the genes
    named there have one of the given choices; otherwise `repair` sets it to its first choice, and the recipe leaves its
    settings out.

    Source: Zela et al., AutoML workshop at ICML 2018 (arXiv 1807.06906); Becktepe et al. (arXiv 2505.16561).

    Args:
        space: The space of the networks, or its class path and arguments as `arguments` records them.
        recipe: Settings with their choices, see `search_spaces.recipe_genes.read_recipe`. Keys begin with `training.`,
            `task.`, `data.` (patch and patches_per_volume), or `space.` for arguments of the space that keep its genes,
            such as space.deep_supervision.

    Raises:
        NASError: If an entry has another form, or names a gene or an argument that does not exist.
    """

    def __init__(
        self, space: SearchSpace | Mapping[str, Any], recipe: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> None:
        self.space = space if isinstance(space, SearchSpace) else _build(space)
        if self.space.has_recipe:
            raise NASError(
                f"space.space={type(self.space).__name__}, which has a recipe",
                "a space of networks",
                "put all settings into one recipe",
            )
        self._recipe = read_recipe(recipe)
        self.genes = (*self.space.genes, *(one.gene for one in self._recipe))
        self.stated_priors = {one.gene.name: one.gene.prior for one in self._recipe if one.gene.prior is not None}
        self._conditions = Conditions(self.space.genes, self._recipe)
        self._variants: dict[str, SearchSpace] = {}
        self._require_variants()
        vars(self).update({name: value for name, value in vars(self.space).items() if name in SHARED})
        self.kind: str = self.space.kind  # type: ignore[misc]
        self.spatial_dims = self.space.spatial_dims

    @property
    def arguments(self) -> dict[str, Any]:
        """The space by class path and arguments, and the recipe without priors."""
        space = {"class": self.space.class_path, "arguments": self.space.arguments}
        return {"space": space, "recipe": [one.recorded for one in self._recipe]}

    @property
    def network_arguments(self) -> tuple[str, ...]:
        """Names of the arguments of the networks' space."""
        return self.space.network_arguments

    def with_arguments(self, changes: Mapping[str, Any]) -> JointSpace:
        """Return the joint space with other arguments, or with other arguments of the networks' space.

        Args:
            changes: `space` and `recipe` as recorded, or arguments of the networks' space.

        Returns:
            The joint space with the same recipe.

        Raises:
            NASError: If a value is out of range.
        """
        recorded = self.arguments["recipe"]
        if set(changes) == {"space", "recipe"}:
            space, recorded = changes["space"], changes["recipe"]
            if isinstance(space, Mapping) and space.get("class") == self.space.class_path:
                space = self.space.with_arguments(space["arguments"])
            return JointSpace(space, recorded)
        return JointSpace(self.space.with_arguments(changes), recorded)

    def with_prior(self, prior: Mapping[str, Any]) -> JointSpace:
        """Return the space with an expert's belief on genes of networks and recipe.

        Args:
            prior: Name of a gene -> its best value, a weight for each choice, or None for no prior.

        Returns:
            A copy with the same fingerprint.

        Raises:
            NASError: If there is no such gene or choice.
        """
        found = super().with_prior(prior)
        own = {gene.name for gene in self.space.genes}
        found.space = self.space.with_prior({name: belief for name, belief in prior.items() if name in own})
        return found

    def recipe(self, arch: Architecture) -> Mapping[str, Any]:
        """Return the settings of the training that belong to an architecture.

        Args:
            arch: Architecture of this space.

        Returns:
            Dotted key of a setting of `training`, `task` or `data` -> its value, without genes that are not used.
        """
        return {
            key: value
            for key, value in self._conditions.settings(arch.genes).items()
            if key.partition(".")[0] != "space"
        }

    def recipe_examples(self) -> Sequence[Architecture]:
        """Return one architecture for each choice of the recipe, with the genes on which it depends set.

        Returns:
            Architectures of this space.
        """
        return tuple(dict.fromkeys(map(self.repair, self._conditions.examples())))

    def space_of(self, arch: Architecture) -> SearchSpace:
        """Return the networks' space with the arguments that the recipe of an architecture decides.

        Args:
            arch: Architecture of this space.

        Returns:
            The space of its network.
        """
        settings = self._conditions.settings(arch.genes) if any(one.changes_network for one in self._recipe) else {}
        return self._with({key: value for key, value in settings.items() if key.startswith("space.")})

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network, with the arguments of its space that the recipe decides.

        Args:
            arch: Architecture of this space.
            task: Task of the network.

        Returns:
            The network.
        """
        space = self.space_of(arch)
        return space.build(self._of_network(arch.genes, space), task)

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network without its head.

        Args:
            arch: Architecture of this space.
            in_channels: Number of input channels.

        Returns:
            A network that gives feature maps.
        """
        space = self.space_of(arch)
        return space.features(self._of_network(arch.genes, space), in_channels)

    def is_for(self, task: TaskSpec) -> bool:
        """Check whether the networks are for a kind of task.

        Args:
            task: Task of the search.

        Returns:
            True if they are.
        """
        return self.space.is_for(task)

    def output_channels(self, task: TaskSpec) -> int:
        """Return the channels of a network's output.

        Args:
            task: Task that the networks are for.
        """
        return self.space.output_channels(task)

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Repair the network by its space, clip the recipe, and set genes that are not used to their first choice.

        Args:
            genes: Any G integers.

        Returns:
            An architecture of this space.
        """
        count = len(self.space.genes)
        limits = [len(gene.choices) - 1 for gene in self.genes[count:]]
        clipped = [min(max(int(index), 0), limit) for index, limit in zip(genes[count:], limits, strict=True)]
        repaired = [*self.space.repair(genes[:count]).genes, *clipped]
        for position, used in enumerate(self._conditions.used(repaired), start=count):
            repaired[position] *= used
        return self._issue(repaired)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a network as its space does, and the recipe by its prior.

        Args:
            rng: Source of randomness.

        Returns:
            An architecture.
        """
        network = self.space.sample(rng).genes
        return self.repair([*network, *(draw_choice(gene, rng) for gene in self.genes[len(network) :])])

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Change the network as its space does, or one gene of the recipe; each gene is as probable.

        Args:
            arch: Architecture of this space.
            rng: Source of randomness.

        Returns:
            Another architecture; after 50 repairs to the same one, a random sample.
        """
        count = len(self.space.genes)
        for _ in range(50):
            genes, index = list(arch.genes), int(rng.integers(len(self.genes)))
            if index < count:
                genes[:count] = self.space.mutate(self._of_network(arch.genes, self.space), rng).genes
            else:
                genes[index] = draw_choice(self.genes[index], rng)
            child = self.repair(genes)
            if child.genes != arch.genes:
                return child
        return self.sample(rng)

    def descriptors(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Describe architectures by the numbers of the networks' space, and the genes of the recipe.

        Args:
            archs: N architectures of this space.

        Returns:
            (N, F) float64; a gene of the recipe is one column if neighbouring choices are alike, else one per choice.
        """
        parts = [self.space.descriptors([self._of_network(arch.genes, self.space) for arch in archs])]
        columns_NG = self.encode(archs)[:, len(self.space.genes) :]
        for column_N, one in zip(columns_NG.T, self._recipe, strict=True):
            choices = np.arange(len(one.gene.choices))
            parts.append(column_N[:, None] if one.gene.is_scale else column_N[:, None] == choices)
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts], axis=1)

    def enumerate(self) -> np.ndarray | None:
        """Enumerate all networks with all recipes.

        Returns:
            (N, G) gene matrix, or None if there are more than `ENUMERATE_LIMIT` combinations.
        """
        combinations = np.prod([len(one.gene.choices) for one in self._recipe], dtype=float)
        networks = None if combinations > ENUMERATE_LIMIT else self.space.enumerate()
        if networks is None or len(networks) * combinations > ENUMERATE_LIMIT:
            return None
        recipes = np.array(
            list(itertools.product(*(range(len(one.gene.choices)) for one in self._recipe))), dtype=np.int16
        )
        whole = np.hstack(
            [np.repeat(networks.astype(np.int16), len(recipes), axis=0), np.tile(recipes, (len(networks), 1))]
        )
        kept_N = np.ones(len(whole), dtype=bool)
        used = self._conditions.used(whole.T)
        for position, used_N in enumerate(used, start=len(self.space.genes)):
            kept_N &= (whole[:, position] == 0) | used_N
        return whole[kept_N]

    def network_genes(self, genes_NG: np.ndarray) -> np.ndarray:
        """Return genes with the first choice of everything that changes no network.

        Args:
            genes_NG: (N, G) gene indices.

        Returns:
            (N, G) gene indices of architectures that build the same networks.
        """
        needed = self._conditions.of_network()
        found_NG = np.array(genes_NG)
        for position in range(len(self.space.genes), len(self.genes)):
            if position not in needed:
                found_NG[:, position] = 0
        return found_NG

    @property
    def has_blocks(self) -> bool:
        """Whether the networks' space decomposes networks into blocks."""
        return self.space.has_blocks

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray] | None:
        """Decompose the networks into the blocks of their space.

        Args:
            genes_NG: (N, G) gene indices.
            input_size: (D, H, W).
            task: Task of the networks.

        Returns:
            A vocabulary of blocks and indices (N, K) into it; None if the space has none, or the recipe has arguments
            of the space.
        """
        if any(one.changes_network for one in self._recipe):
            return None
        return self.space.blocks(np.asarray(genes_NG)[:, : len(self.space.genes)], input_size, task)

    def describe(self, arch: Architecture) -> str:
        """Describe network and recipe.

        Args:
            arch: Architecture of this space.

        Returns:
            The text of the networks' space, and a line for each setting.
        """
        settings = self._conditions.settings(arch.genes)
        width = max(map(len, settings), default=0)
        lines = [f"  {key:<{width}}  {value}" for key, value in settings.items()]
        return "\n".join([self.space.describe(self._of_network(arch.genes, self.space)), "recipe", *lines])

    def picture(self, arch: Architecture) -> str | None:
        """Draw the network.

        Args:
            arch: Architecture of this space.

        Returns:
            The picture of the networks' space.
        """
        return self.space.picture(self._of_network(arch.genes, self.space))

    def _with(self, settings: Mapping[str, Any]) -> SearchSpace:
        if not settings:
            return self.space
        key = json.dumps(settings, sort_keys=True)
        if key not in self._variants:
            changes = {name.partition(".")[2]: value for name, value in settings.items()}
            self._variants[key] = self.space.with_arguments(changes)
        return self._variants[key]

    def _require_variants(self) -> None:
        """Check the arguments of the networks' space among the choices: each has to keep its genes."""
        if len({gene.name for gene in self.genes}) < len(self.genes):
            raise NASError("a recipe with the name of a gene of the space", "other names", "rename its entry")
        for one in self._recipe:
            for settings in one.settings:
                own = {key: value for key, value in settings.items() if key.startswith("space.")}
                unknown = [key for key in own if key.partition(".")[2] not in self.space.network_arguments]
                if unknown:
                    known = ", ".join(self.space.network_arguments)
                    raise NASError(f"recipe.{unknown[0]}", f"one of {known}", "name such an argument")
                if self._with(own).genes != self.space.genes:
                    raise NASError(
                        f"recipe.{one.gene.name}, which changes the genes of {type(self.space).__name__}",
                        "arguments that keep them, such as space.deep_supervision",
                        f"leave out recipe.{one.gene.name}",
                    )

    def _of_network(self, genes: Sequence[int], space: SearchSpace) -> Architecture:
        return Architecture(space.fingerprint, tuple(genes[: len(space.genes)]))


def _build(recorded: Mapping[str, Any]) -> SearchSpace:
    """Build a space from its recorded class and arguments; no package that is not trusted is imported."""
    if set(recorded) != {"class", "arguments"}:
        raise NASError(
            f"space.space with {', '.join(map(str, recorded))}",
            "a space, or its class and arguments",
            "take an unedited file",
        )
    space = locate(str(recorded["class"]), SearchSpace, packages=(SPACES,))
    return space(**check_arguments(space, recorded["arguments"], "space.space"))
