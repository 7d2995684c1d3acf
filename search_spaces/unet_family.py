"""Shared parts of spaces of U-Nets: networks, backbones, and weights that are slices of one set."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import nn

from nas.architecture import Architecture
from nas.space import SearchSpace
from nas.supernets.elastic import Share
from nas.task_spec import TaskSpec, channels_of
from search_spaces.layers.features import Features
from search_spaces.unet_network import UNet
from search_spaces.unet_shares import share_of


class UNetFamily(SearchSpace):
    """Base class of spaces whose networks are `UNet`s; among its genes are "depth" and "norm".

    Attributes:
        in_channels: Channels of an image without a task.
        out_channels: Classes with the background without a task.
        strides: Factor of each axis for each halving, or None.
        flat_axes: Axes along which the kernels of each level have one voxel, or None.
    """

    kind: ClassVar[str] = "segmentation"
    in_channels: int
    out_channels: int
    strides: tuple[tuple[int, ...], ...] | None
    flat_axes: tuple[tuple[int, ...], ...] | None

    @abstractmethod
    def _network(self, arch: Architecture, in_channels: int, out_channels: int) -> UNet:
        """Build the network for these numbers of channels."""

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        """Build the network of an architecture.

        Args:
            arch: Architecture of this space.
            task: Task that sets the numbers of channels and outputs; if None, the space's own are used.

        Returns:
            A `UNet`.

        Raises:
            NASError: If the task has other spatial dimensions.
        """
        return self._network(arch, *channels_of(task, self.spatial_dims, (self.in_channels, self.out_channels)))

    def features(self, arch: Architecture, in_channels: int) -> nn.Module:
        """Build the network of an architecture as a backbone.

        Args:
            arch: Architecture of this space.
            in_channels: Channels of the image.

        Returns:
            Network (B, in_channels, ...) -> list of feature maps, finest first, each with half the sides of the one
            before. Its attribute `channels` holds their numbers of channels.
        """
        network = self._network(arch, in_channels, self.out_channels)
        return Features(network, network.widths)

    def share(self, arch: Architecture, name: str) -> Share:
        """Return the shared weight of a weight, see `share_of`.

        Args:
            arch: Architecture of this space.
            name: Name of a parameter or a buffer of its network.

        Returns:
            Its shared weight.
        """
        value = self._by_name(arch)
        return share_of(name, int(value["depth"]), str(value["norm"]))

    def _by_name(self, arch: Architecture) -> dict[str, Any]:
        """Return the chosen value of every gene by its name."""
        return {gene.name: choice for gene, choice in zip(self.genes, self.values(arch), strict=True)}
