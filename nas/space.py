"""Base class of search spaces. A new space defines `genes` and `build`; all other members have defaults."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.priors import HasPriors, draw_choice
from nas.published import Published
from nas.recipes import HasRecipe
from nas.task_spec import TaskSpec
from nas.utils.identity import arguments_of

if TYPE_CHECKING:
    from torch import nn

ENUMERATE_LIMIT = 1_000_000  # maximum number of gene vectors that the default `enumerate` tries


@dataclass(frozen=True, slots=True)
class Block:
    """Block of a network; the cost of a network is the sum over its blocks.

    Args:
        key: Unique name within the space.
        build: Makes the block.
        input_shape: (C, D, H, W), without the batch.
    """

    key: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]


class SearchSpace(HasPriors, HasRecipe):
    """Set of networks, each encoded as a vector of indices into the choices of `genes`.

    Every constructor argument is stored in an attribute of the same name, as in scikit-learn; the fingerprint of the
    space and `arch.json` are written from them.
    """

    genes: tuple[Gene, ...]
    kind: ClassVar[str] = "classification"  # kind of task, as in TaskSpec.kind
    spatial_dims: int = 3  # spatial axes of the images: 2 or 3
    published: ClassVar[Mapping[str, Published]] = {}
    # networks of the literature that are no points here, because their architecture is not published or not included
    not_included: ClassVar[Mapping[str, Published]] = {}
    # the recorded class path; a class that moves to another module states its first one
    path: ClassVar[str] = ""
    # constructor arguments that arch.json files of earlier versions lack: recorded only if they differ from the default
    later_arguments: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task of the network. If None, the space's own numbers of channels and outputs are used.

        Returns:
            A network (B, C, D, H, W) -> output of the task.
        """

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network without its head, as the backbone of a detector (search_spaces/detector.py).

        Args:
            arch: Architecture of this space.
            in_channels: Number of input channels.

        Returns:
            A network (B, in_channels, D, H, W) -> list of feature maps, the finest first, each with half the size of
            the previous one. Its attribute `channels` has their numbers of channels.

        Raises:
            NASError: If the space has no feature maps.
        """
        raise NASError(
            f"{type(self).__name__} as a backbone",
            "a space with feature maps",
            "define `features`, or use UNetSpace or NASLungSpace",
        )

    @classmethod
    def from_name(cls, name: str) -> tuple[SearchSpace, Architecture]:
        """Return a published network with its space.

        Args:
            name: Key of `published`.

        Returns:
            The space and the architecture.

        Raises:
            NASError: If the name is unknown.
        """
        if name not in cls.published:
            raise NASError(
                f"name={name!r}",
                f"one of {', '.join(cls.published) or 'none'}",
                f"set the name to a published network of {cls.__name__}",
            )
        point = cls.published[name]
        space = cls(**point.arguments)
        return space, space.architecture(point.genes)

    def is_for(self, task: TaskSpec) -> bool:
        """Check whether the networks are for a kind of task.

        Args:
            task: Task of the search.

        Returns:
            True if they are.
        """
        return task.kind == self.kind

    def require_kind(self, task: TaskSpec) -> None:
        """Check that the networks are for a kind of task.

        Args:
            task: Task of the search.

        Raises:
            NASError: If the task is of another kind.
        """
        if not self.is_for(task):
            raise NASError(
                f"a task of {task.kind} with {type(self).__name__}, a space for {self.kind}",
                "space and task of the same kind",
                f"set task={self.kind}, or use another space",
            )

    def output_channels(self, task: TaskSpec) -> int:
        """Return the channels of a network's output (B, channels, ...).

        Args:
            task: Task that the networks are for.

        Returns:
            By default the outputs of the task, for example its classes.
        """
        return task.outputs

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values, without `later_arguments` that have their default."""
        arguments = json.loads(json.dumps(arguments_of(self)))
        parameters = inspect.signature(type(self).__init__).parameters
        for name in self.later_arguments:
            if arguments[name] == json.loads(json.dumps(parameters[name].default)):
                del arguments[name]
        return arguments

    @property
    def class_path(self) -> str:
        """Dotted path that arch.json and the fingerprint record."""
        return self.path or f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def fingerprint(self) -> str:
        """Class name with a hash of class path, arguments and genes, equal for equal spaces."""
        cached = self.__dict__.get("_fingerprint")
        if cached is None:
            content = [self.class_path, self.arguments, [(g.name, g.choices, g.ordered) for g in self.genes]]
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            cached = self.__dict__["_fingerprint"] = f"{type(self).__name__}-{digest[:12]}"
        return cached

    @property
    def ordered(self) -> np.ndarray:
        """(G,) bool, True for columns of `encode` with the partial order <=, False for ==."""
        return np.array([gene.ordered for gene in self.genes], dtype=bool)

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Return the nearest valid architecture. Repair is total and idempotent.

        Args:
            genes: Any G integers.

        Returns:
            An architecture of this space.
        """
        sizes = [len(gene.choices) for gene in self.genes]
        return self._issue([min(max(int(g), 0), n - 1) for g, n in zip(genes, sizes, strict=True)])

    def architecture(self, genes: Sequence[int]) -> Architecture:
        """Make an architecture of valid genes.

        Args:
            genes: One index per gene.

        Returns:
            The architecture.

        Raises:
            NASError: If `repair` would change the genes.
        """
        whole = all(isinstance(gene, int | np.integer) and not isinstance(gene, bool) for gene in genes)
        if not whole or len(genes) != len(self.genes):
            raise NASError(
                f"genes={list(genes)}",
                f"{len(self.genes)} integers",
                "set the genes to those of an unedited arch.json",
            )
        repaired = self.repair(genes)
        if repaired.genes != tuple(int(gene) for gene in genes):
            raise NASError(
                f"genes={list(genes)}",
                f"genes of {type(self).__name__} (the nearest are {list(repaired.genes)})",
                "use `space.repair(genes)` or an unedited arch.json",
            )
        return repaired

    def values(self, arch: Architecture) -> tuple[int | float | str | bool, ...]:
        """Return the chosen value of every gene.

        Args:
            arch: Architecture of this space.

        Returns:
            G values.
        """
        return tuple(gene.choices[index] for gene, index in zip(self.genes, arch.genes, strict=True))

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw each gene by its prior, then repair.

        Args:
            rng: Source of randomness.

        Returns:
            An architecture.
        """
        return self.repair([draw_choice(gene, rng) for gene in self.genes])

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw one gene again by its prior, then repair.

        Args:
            arch: Architecture of this space.
            rng: Source of randomness.

        Returns:
            Another architecture; after 50 repairs to the same one, a random sample.
        """
        for _ in range(50):
            genes = list(arch.genes)
            index = int(rng.integers(len(genes)))
            genes[index] = draw_choice(self.genes[index], rng)
            child = self.repair(genes)
            if child.genes != arch.genes:
                return child
        return self.sample(rng)

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw each gene from one of two parents with equal probability, then repair.

        Args:
            a: First parent.
            b: Second parent.
            rng: Source of randomness.

        Returns:
            An architecture.
        """
        return self.repair([x if rng.random() < 0.5 else y for x, y in zip(a.genes, b.genes, strict=True)])

    def encode(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Encode architectures as a matrix.

        In the partial order, x <= m if all ordered columns are <= and all other columns are ==.

        Args:
            archs: N architectures of this space.

        Returns:
            (N, G) int16.
        """
        return np.array([arch.genes for arch in archs], dtype=np.int16).reshape(len(archs), len(self.genes))

    def descriptors(self, archs: Sequence[Architecture]) -> np.ndarray:
        """Describe architectures by numbers from which models predict their quality.

        Args:
            archs: N architectures of this space.

        Returns:
            (N, F) float64. By default the columns of `encode`, with one column for each choice of a gene without order.
        """
        columns_NG = self.encode(archs).astype(np.float64)
        if columns_NG.shape[1] != len(self.genes):
            return columns_NG
        parts = [
            columns_NG[:, [i]] if gene.ordered else columns_NG[:, [i]] == np.arange(len(gene.choices))
            for i, gene in enumerate(self.genes)
        ]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts], axis=1)

    def enumerate(self) -> np.ndarray | None:
        """Enumerate all architectures.

        Returns:
            (N, G) gene matrix, or None if the space is too large.
        """
        total = 1
        for gene in self.genes:
            total *= len(gene.choices)
        if total > ENUMERATE_LIMIT:
            return None
        vectors = itertools.product(*(range(len(gene.choices)) for gene in self.genes))
        return np.array([genes for genes in vectors if self.repair(genes).genes == genes], dtype=np.int16)

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray] | None:
        """Decompose networks into blocks, which makes costs of many networks cheap and latency tables possible.

        Args:
            genes_NG: (N, G) gene indices.
            input_size: (D, H, W).
            task: Task of the networks. If None, the space's own numbers of channels and outputs are used.

        Returns:
            A vocabulary of blocks and indices (N, K) into it, -1 for no block. By default None: networks are profiled
            as a whole.
        """
        return None

    @property
    def has_blocks(self) -> bool:
        """Whether the space decomposes networks into blocks."""
        return type(self).blocks is not SearchSpace.blocks

    def describe(self, arch: Architecture) -> str:
        """Return a multi-line text description.

        Args:
            arch: Architecture of this space.

        Returns:
            One line per gene by default.
        """
        width = max(len(gene.name) for gene in self.genes)
        pairs = zip(self.genes, self.values(arch), strict=True)
        return "\n".join(f"{gene.name:<{width}}  {value}" for gene, value in pairs)

    def picture(self, arch: Architecture) -> str | None:
        """Draw an architecture.

        Args:
            arch: Architecture of this space.

        Returns:
            An SVG element. By default None: it is drawn as a chain of its blocks.
        """
        return None

    def _issue(self, genes: Sequence[int]) -> Architecture:
        return Architecture(self.fingerprint, tuple(genes))
