"""What a search space is. A new space writes two members, `genes` and `build`; the rest has defaults."""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.architecture import Architecture, Gene
from nas.errors import NASError
from nas.task_spec import TaskSpec

if TYPE_CHECKING:
    from torch import nn

    from nas.supernets.base import Supernet

ENUMERATE_LIMIT = 1_000_000  # gene vectors that the default `enumerate` is willing to try one by one


@dataclass(frozen=True, slots=True)
class Published:
    """A network of the literature as a point of a space: its genes and the space arguments it lives under."""

    genes: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a network whose costs add up to the whole. input_shape: (C, D, H, W), without the batch."""

    key: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]


class SearchSpace(ABC):
    """A set of networks, each a vector of indices into the choices of `genes`.

    By convention every constructor argument is kept as an attribute of the same name (as in scikit-learn): that is
    how the space's fingerprint and `arch.json` know what to write.
    """

    genes: tuple[Gene, ...]
    kind: ClassVar[str] = "classification"  # the task that its networks are for, as in TaskSpec.kind
    published: ClassVar[Mapping[str, Published]] = {}

    @abstractmethod
    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """A network (B, C, D, H, W) -> what the task asks for; None: the space's own channels and outputs."""

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """The network without its head, for a detector (search_spaces/detector.py): (B, in_channels, D, H, W) -> a list
        of feature maps, finest first, each with half the sides of the one before; its attribute `channels` are
        theirs. Raises NASError where the space offers none."""
        raise NASError(
            f"{type(self).__name__} as a backbone",
            "a space whose networks give feature maps",
            "write `features` for it, or take UNetSpace or NASLungSpace",
        )

    @classmethod
    def from_name(cls, name: str) -> tuple[SearchSpace, Architecture]:
        """A published network and the space it lives in. Raises NASError for a name that is not in `published`."""
        if name not in cls.published:
            raise NASError(
                f"the name {name!r}",
                f"one of {', '.join(cls.published) or 'none'}",
                f"pick a network of {cls.__name__}",
            )
        point = cls.published[name]
        space = cls(**point.arguments)
        return space, space.architecture(point.genes)

    def require_kind(self, task: TaskSpec) -> None:
        """Raises NASError where its networks are for another kind of task."""
        if task.kind != self.kind:
            raise NASError(
                f"{type(self).__name__}, whose networks are for {self.kind}, with a task of {task.kind}",
                "a space and a task of one kind",
                f"task={self.kind}, or another space",
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise NASError(
                f"{type(self).__name__} without the attribute {missing[0]!r}",
                "every constructor argument kept as an attribute of the same name",
                f"write self.{missing[0]} = {missing[0]} in __init__",
            )
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))

    @property
    def class_path(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def fingerprint(self) -> str:
        """Class name and a hash of class path, arguments and genes: two spaces with one fingerprint mean the same."""
        cached = self.__dict__.get("_fingerprint")
        if cached is None:
            content = [self.class_path, self.arguments, [(g.name, g.choices, g.ordered) for g in self.genes]]
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            cached = self.__dict__["_fingerprint"] = f"{type(self).__name__}-{digest[:12]}"
        return cached

    @property
    def ordered(self) -> np.ndarray:
        """(G,) bool: the columns of `encode` on which the partial order is <= (elsewhere it is ==)."""
        return np.array([gene.ordered for gene in self.genes], dtype=bool)

    def repair(self, genes: Sequence[int]) -> Architecture:
        """Any integer vector of length G -> the nearest valid architecture. Total and idempotent."""
        sizes = [len(gene.choices) for gene in self.genes]
        return self._issue([min(max(int(g), 0), n - 1) for g, n in zip(genes, sizes, strict=True)])

    def architecture(self, genes: Sequence[int]) -> Architecture:
        """A valid gene vector as an Architecture. Raises NASError where `repair` would change it."""
        whole = all(isinstance(gene, int | np.integer) and not isinstance(gene, bool) for gene in genes)
        if not whole or len(genes) != len(self.genes):
            raise NASError(
                f"the genes {list(genes)}",
                f"{len(self.genes)} whole numbers",
                "take the genes from an unedited arch.json",
            )
        repaired = self.repair(genes)
        if repaired.genes != tuple(int(gene) for gene in genes):
            raise NASError(
                f"the genes {list(genes)}, which are no point of {type(self).__name__}",
                f"a valid point (the nearest is {list(repaired.genes)})",
                "use `space.repair(genes)` or an unedited arch.json",
            )
        return repaired

    def values(self, arch: Architecture) -> tuple[int | float | str | bool, ...]:
        """The chosen value of every gene."""
        return tuple(gene.choices[index] for gene, index in zip(self.genes, arch.genes, strict=True))

    def sample(self, rng: np.random.Generator) -> Architecture:
        return self.repair([int(rng.integers(len(gene.choices))) for gene in self.genes])

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """One gene moved to another choice, then repaired; another architecture wherever 50 tries find one."""
        for _ in range(50):
            genes = list(arch.genes)
            index = int(rng.integers(len(genes)))
            genes[index] = int(rng.integers(len(self.genes[index].choices)))
            child = self.repair(genes)
            if child.genes != arch.genes:
                return child
        return self.sample(rng)

    def crossover(self, a: Architecture, b: Architecture, rng: np.random.Generator) -> Architecture:
        """Each gene from one of the two parents with equal chance, then repaired."""
        return self.repair([x if rng.random() < 0.5 else y for x, y in zip(a.genes, b.genes, strict=True)])

    def encode(self, archs: Sequence[Architecture]) -> np.ndarray:
        """(N, G) int16. The partial order: x <= m iff <= on the ordered columns and == on the others."""
        return np.array([arch.genes for arch in archs], dtype=np.int16).reshape(len(archs), len(self.genes))

    def enumerate(self) -> np.ndarray | None:
        """All architectures as a gene matrix (N, G), or None where the space is too large to list."""
        total = 1
        for gene in self.genes:
            total *= len(gene.choices)
        if total > ENUMERATE_LIMIT:
            return None
        every = itertools.product(*(range(len(gene.choices)) for gene in self.genes))
        return np.array([genes for genes in every if self.repair(genes).genes == genes], dtype=np.int16)

    def blocks(
        self, genes_NG: np.ndarray, input_size: tuple[int, ...], task: TaskSpec | None = None
    ) -> tuple[tuple[Block, ...], np.ndarray] | None:
        """The networks as sums of blocks: a vocabulary and, per network, indices (N, K) into it (-1: nothing).

        A space that offers this gets costs of many networks at once and a latency table; None: each network is
        built and measured whole. input_size: (D, H, W).
        """
        return None

    def supernet(self, task: TaskSpec | None = None) -> Supernet:
        """All networks at once, for a differentiable search: by default weights shared by name and shape."""
        from nas.supernets.shared import SharedSupernet  # which imports this file

        return SharedSupernet(self, task)

    def describe(self, arch: Architecture) -> str:
        """A picture of the architecture in text."""
        width = max(len(gene.name) for gene in self.genes)
        pairs = zip(self.genes, self.values(arch), strict=True)
        return "\n".join(f"{gene.name:<{width}}  {value}" for gene, value in pairs)

    def picture(self, arch: Architecture) -> str | None:
        """The architecture as an SVG element; None: it is drawn as a chain of its blocks."""
        return None

    def _issue(self, genes: Sequence[int]) -> Architecture:
        return Architecture(self.fingerprint, tuple(genes))
