"""Elastic supernet: every network is a slice of one set of weights.

Sources: Yu et al., slimmable networks (ICLR 2019, arXiv 1812.08928), leading channels; Cai et al., Once-for-All (ICLR
2020, arXiv 1908.09791), centres of kernels and leading blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.func import functional_call

from nas.architecture import Architecture
from nas.errors import NASError
from nas.network_traits import announce_length, depends_on_length, takes_target
from nas.space import SearchSpace
from nas.supernets.base import SharedWeights
from nas.task_spec import TaskSpec

CACHED = 64  # networks without weights


@dataclass(frozen=True, slots=True)
class Share:
    """The shared weight that a weight of a network is a slice of.

    Args:
        name: Name of the shared weight.
        parts: Number of maps whose channels are concatenated on the second axis; each part is sliced alone.
    """

    name: str
    parts: int = 1


@runtime_checkable
class HasElasticWeights(Protocol):
    """A search space whose networks can be slices of one set of weights."""

    def share(self, arch: Architecture, name: str) -> Share:
        """Return the shared weight of a weight.

        Args:
            arch: Architecture of the space.
            name: Name of a parameter or a buffer of its network.

        Returns:
            Its shared weight. Weights with the same shared weight have the same number of axes.
        """
        ...

    def covering(self) -> Sequence[Architecture]:
        """Return networks whose largest weights of each name are as large as any of the space.

        Returns:
            Architectures, those first whose initial weights are used.
        """
        ...


def largest_networks(space: SearchSpace, but: Sequence[str] = ()) -> list[Architecture]:
    """Return the largest network for each combination of the genes without an order.

    Args:
        space: Space with ordered genes.
        but: Ordered genes of which each is set to its first choice in one more network of each combination.

    Returns:
        The largest networks first.
    """
    free = [(0,) if gene.ordered else range(len(gene.choices)) for gene in space.genes]
    largest, smaller = [], []
    for chosen in itertools.product(*free):
        genes = [len(g.choices) - 1 if g.ordered else at for g, at in zip(space.genes, chosen, strict=True)]
        largest.append(space.repair(genes))
        for number, gene in enumerate(space.genes):
            if gene.name in but:
                smaller.append(space.repair([*genes[:number], 0, *genes[number + 1 :]]))
    return list(dict.fromkeys([*largest, *smaller]))


class ElasticSupernet(SharedWeights):
    """All networks of a space as slices of one set of weights.

    A convolution has the leading channels of the shared one and the centre of its kernel; a network has the first
    blocks of each level or stage. Choices without an order, such as the kind of normalisation, have weights of their
    own where their layers differ. `forward` computes the network of `path`.

    Args:
        space: A space with elastic weights.
        task: Task that the networks are built for. If None, the space's own.

    Attributes:
        path: Architecture of `forward`; at first the largest network.

    Raises:
        NASError: If the space has no elastic weights.
    """

    recalibrated = True

    def __init__(self, space: SearchSpace, task: TaskSpec | None = None) -> None:
        super().__init__()
        require_elastic(space)
        self.space, self.task = space, task
        self.largest = space.repair([len(gene.choices) - 1 for gene in space.genes])
        self.smallest = space.repair([0] * len(space.genes))
        self.path = self.largest
        self._networks: dict[str, nn.Module] = {}
        self._steps: int | None = None
        self.weights = nn.ParameterDict()
        self._allocate()
        network = self._network(self.largest)
        self.needs_target, self.depends_on_length = takes_target(network), depends_on_length(network)

    def _allocate(self) -> None:
        """Create the shared weights with the initial values of the networks that have them in full size."""
        shapes: dict[str, tuple[int, ...]] = {}
        wanted: list[tuple[Architecture, dict[str, tuple[str, tuple[int, ...]]]]] = []
        for arch in self._elastic.covering():
            found = {
                name: (self._elastic.share(arch, name).name, tuple(value.shape))
                for name, value in _tensors(self._network(arch)).items()
            }
            wanted.append((arch, found))
            for key, shape in found.values():
                shapes[key] = tuple(map(max, shape, shapes.get(key, shape)))
        missing = dict(shapes)
        for arch, found in wanted:
            if not any(missing.get(key) == shape for key, shape in found.values()):
                continue
            full = _tensors(self.space.build(arch, self.task))
            for name, (key, shape) in found.items():
                if missing.get(key) == shape:
                    del missing[key]
                    self._add(key, full[name].detach().clone(), isinstance(full[name], nn.Parameter))
        for key, shape in missing.items():  # the largest on each axis, but in no single network
            weight = torch.empty(shape)
            nn.init.kaiming_uniform_(weight, a=5**0.5)  # the default of PyTorch's convolutions and linear layers
            self._add(key, weight, True)

    def _add(self, key: str, value: torch.Tensor, trained: bool) -> None:
        if trained:
            self.weights[key] = nn.Parameter(value)
        else:
            self.register_buffer(f"state {key}", value)

    @property
    def _elastic(self) -> HasElasticWeights:
        assert isinstance(self.space, HasElasticWeights)  # `require_elastic` looked
        return self.space

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Compute the network of `path`, in the mode of the supernet.

        Args:
            *inputs: Images, and the targets as well if `needs_target`.

        Returns:
            Output of the network.
        """
        network = self._network(self.path).train(self.training)
        slices = {name: self._slice(self.path, name, value) for name, value in _tensors(network).items()}
        return functional_call(network, slices, inputs)

    def subnetwork(self, arch: Architecture) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            network = self.space.build(arch, self.task)
        with torch.no_grad():
            for name, value in _tensors(network).items():
                value.copy_(self._slice(arch, name, value))
        return network.to(next(iter(self.weights.values())).device).train(self.training)

    def set_training_steps(self, steps: int) -> None:
        """Set the length of the training for networks that depend on it.

        Args:
            steps: Number of calls of `forward` in training.
        """
        self._steps = steps
        self._networks.clear()

    def _network(self, arch: Architecture) -> nn.Module:
        """Return a network without weights."""
        if arch.id not in self._networks:
            if len(self._networks) >= CACHED:
                self._networks.clear()
            with torch.device("meta"):
                self._networks[arch.id] = self.space.build(arch, self.task)
            if self._steps is not None:
                announce_length(self._networks[arch.id], self._steps)
        return self._networks[arch.id]

    def _slice(self, arch: Architecture, name: str, like: torch.Tensor) -> torch.Tensor:
        share = self._elastic.share(arch, name)
        shared = self.weights[share.name] if share.name in self.weights else getattr(self, f"state {share.name}")
        return take(shared, like.shape, share.parts)


def take(shared: torch.Tensor, shape: Sequence[int], parts: int = 1) -> torch.Tensor:
    """Slice a shared weight: leading channels on the first two axes, the centre of the kernel on the others.

    Args:
        shared: The shared weight.
        shape: Sides of the slice.
        parts: Number of equal parts of the second axis that are sliced alone.

    Returns:
        The slice, a view where it can be one.
    """
    for axis, (size, largest) in enumerate(zip(shape, shared.shape, strict=True)):
        if axis == 1 and parts > 1 and size < largest:
            pieces = [piece.narrow(1, 0, size // parts) for piece in shared.chunk(parts, dim=1)]
            shared = torch.cat(pieces, dim=1)
        elif size < largest:
            shared = shared.narrow(axis, (largest - size) // 2 if axis > 1 else 0, size)
    return shared


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    found: Mapping[str, torch.Tensor] = dict(network.named_parameters())
    return {**found, **dict(network.named_buffers())}


def require_elastic(space: SearchSpace) -> None:
    """Check that a space has elastic weights.

    Args:
        space: Space of a search.

    Raises:
        NASError: If it has none.
    """
    if not isinstance(space, HasElasticWeights):
        raise NASError(
            f"elastic weights of {type(space).__name__}",
            "a space whose networks are slices of one set of weights (unet, unet_flexible, naslung)",
            "use one of these, or strategy=differentiable",
        )
