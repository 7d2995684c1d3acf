"""Modules of a DiNTS network: stems, edges (a change of resolution, then a cell operation) and the head.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.1; details as in MONAI 1.6 (`monai.networks.nets.DiNTS`), to
which the networks are equal. Every normalisation is an instance normalisation with scale and shift; convolutions have
no bias, except the last one. Shapes are written for 3D; in 2D the axis D is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from nas.errors import NASError
from search_spaces.layers.convolution import Conv3d
from search_spaces.layers.instance_norm import InstanceNorm2d, InstanceNorm3d
from search_spaces.layers.resize import resize

LAYERS: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    2: (nn.Conv2d, InstanceNorm2d),
    3: (Conv3d, InstanceNorm3d),
}
FIRST_WIDTH = 32  # channels at full resolution if channel_mul is 1

SKIP = "skip"
# A cell operation is a ReLU, these convolutions in a row, and a normalisation; without kernels it is the identity.
# The second kernel of a factorised ("P3D") operation covers the axis that the first one left out.
OPERATIONS: dict[int, dict[str, tuple[tuple[int, ...], ...]]] = {
    2: {SKIP: (), "3x3": ((3, 3),)},
    3: {
        SKIP: (),
        "3x3x3": ((3, 3, 3),),
        "3x3x1": ((3, 3, 1), (1, 1, 3)),
        "3x1x3": ((3, 1, 3), (1, 3, 1)),
        "1x3x3": ((1, 3, 3), (3, 1, 1)),
    },
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes that all networks of a space share.

    Attributes:
        dims: Spatial dimensions, 2 or 3.
        depths: Levels of the lattice.
        widths: Channels at 1, 1/2, 1/4 ... of the resolution, depths + 1 numbers.
        use_downsample: Whether a stem halves the image, so that the finest level has half the resolution.
        in_channels: Channels of an image.
        outputs: Classes with the background.
        operations: Names of the operations of an edge.
        deep_supervision: Whether each level of the head has a classifier of its own, used in training only.
    """

    dims: int
    depths: int
    widths: tuple[int, ...]
    use_downsample: bool
    in_channels: int
    outputs: int
    operations: tuple[str, ...]
    deep_supervision: bool = False

    def width(self, level: int) -> int:
        """Return the channels of a level of the lattice.

        Args:
            level: 0 (finest) to depths - 1; with a downsampling stem level 0 has half the resolution.

        Returns:
            Number of channels.
        """
        return self.widths[level + int(self.use_downsample)]

    @property
    def divisor(self) -> int:
        """Divisor of the sides of an input, so that every level halves the one above it."""
        return int(2 ** (self.depths - 1 + int(self.use_downsample)))

    def require_sides(self, sides: tuple[int, ...]) -> None:
        """Check the sides of an input.

        Args:
            sides: Sides in voxels.

        Raises:
            NASError: If their number is not `dims`, if one is not a multiple of `divisor`, or if all are equal to it:
                one voxel would be left, which cannot be normalised.
        """
        small = all(side == self.divisor for side in sides)
        if len(sides) != self.dims or any(side % self.divisor for side in sides) or small:
            raise NASError(
                f"an image of {' x '.join(map(str, sides))} for {self.depths} levels",
                f"{self.dims} sides that are multiples of {self.divisor}, one of them at least {2 * self.divisor}",
                "crop or pad the data (`data.size`), change `task.window`, or set a smaller space.num_depths",
            )


def convolution(dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: int = 1) -> nn.Module:
    """Make a padded convolution without bias.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Sides of the kernel, odd.
        stride: Stride on all axes.

    Returns:
        The layer; at stride 1 it keeps the sides.
    """
    padding = tuple(length // 2 for length in kernel)
    return LAYERS[dims][0](inputs, outputs, kernel, stride=stride, padding=padding, bias=False)


def norm(dims: int, channels: int) -> nn.Module:
    """Make an instance normalisation with scale and shift.

    Args:
        dims: Spatial dimensions, 2 or 3.
        channels: Channels of the map.

    Returns:
        The layer.
    """
    return LAYERS[dims][1](channels, affine=True)


class Stem(nn.Module):
    """Stem of a level: resizes the image, then convolves it.

    With `use_downsample` there is one convolution at twice the level's resolution and one that halves it.

    Args:
        plan: Sizes of the networks.
        level: Level of the lattice.
    """

    def __init__(self, plan: Plan, level: int) -> None:
        super().__init__()
        self.level = level
        dims, width, kernel = plan.dims, plan.widths[level], (3,) * plan.dims
        layers = [convolution(dims, plan.in_channels, width, kernel), norm(dims, width)]
        if plan.use_downsample:
            wider = plan.widths[level + 1]
            layers += [nn.ReLU(), convolution(dims, width, wider, kernel, stride=2), norm(dims, wider)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the map of the level.

        Args:
            x_BCDHW: Image (B, in_channels, D, H, W).

        Returns:
            Map (B, plan.width(level), ...).
        """
        sides = tuple(side // 2**self.level for side in x_BCDHW.shape[2:])
        return self.layers(resize(x_BCDHW, sides))


class Up(nn.Module):
    """Change to the next finer level: linear interpolation, ReLU, 1x1x1 convolution, normalisation.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution, self.norm = convolution(dims, inputs, outputs, (1,) * dims), norm(dims, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Double the sides of a map.

        Args:
            x_BCDHW: Map (B, inputs, D, H, W).

        Returns:
            Map (B, outputs, 2D, 2H, 2W).
        """
        sides = tuple(2 * side for side in x_BCDHW.shape[2:])
        return self.norm(self.convolution(resize(x_BCDHW, sides).relu()))


class Down(nn.Module):
    """Change to the next coarser level.

    The voxels with even indices on all axes give one half of the channels and those with odd indices the other half,
    each by a 1x1x1 convolution after a ReLU; then they are normalised.

    Args:
        dims: Spatial dimensions, 2 or 3.
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = convolution(dims, inputs, outputs // 2, (1,) * dims)
        self.odd = convolution(dims, inputs, outputs - outputs // 2, (1,) * dims)
        self.norm = norm(dims, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Halve the sides of a map.

        Args:
            x_BCDHW: Map (B, inputs, 2D, 2H, 2W).

        Returns:
            Map (B, outputs, D, H, W).
        """
        every = (slice(None), slice(None))
        # voxels are selected before the ReLU, which then stores only these for the backward pass
        even, odd = (x_BCDHW[every + (slice(first, None, 2),) * (x_BCDHW.ndim - 2)].relu() for first in (0, 1))
        return self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))


def resolution_change(plan: Plan, source: int, target: int) -> nn.Module:
    """Make the change of resolution of an edge.

    Args:
        plan: Sizes of the networks.
        source: Level that the edge reads.
        target: Level that it writes, at most one away from the source.

    Returns:
        `Up`, `Down`, or the identity if the levels are the same.
    """
    if source == target:
        return nn.Identity()
    make = Up if source > target else Down
    return make(plan.dims, plan.width(source), plan.width(target))


def operation(dims: int, kernels: tuple[tuple[int, ...], ...], channels: int) -> nn.Module:
    """Make a cell operation, without non-linearity between factorised convolutions.

    Args:
        dims: Spatial dimensions, 2 or 3.
        kernels: Kernels of the consecutive convolutions, a value of `OPERATIONS`; empty for the skip.
        channels: Channels of the map.

    Returns:
        Layer that keeps the shape of a map.
    """
    if not kernels:
        return nn.Identity()
    convolutions = [convolution(dims, channels, channels, kernel) for kernel in kernels]
    return nn.Sequential(nn.ReLU(), *convolutions, norm(dims, channels))


def edge(plan: Plan, source: int, target: int, name: str) -> nn.Sequential:
    """Make an edge of an architecture.

    Args:
        plan: Sizes of the networks.
        source: Level that the edge reads.
        target: Level that it writes.
        name: Name of its operation, a key of `OPERATIONS`.

    Returns:
        Change of resolution, then the operation.
    """
    kernels = OPERATIONS[plan.dims][name]
    return nn.Sequential(resolution_change(plan, source, target), operation(plan.dims, kernels, plan.width(target)))


class HeadLevel(nn.Module):
    """A level of the head.

    Args:
        plan: Sizes of the networks.
        level: Level of the lattice.

    Attributes:
        coarse: With deep supervision the classifier of the level's own map, which `forward` does not use, else None.
    """

    def __init__(self, plan: Plan, level: int) -> None:
        super().__init__()
        finer = level if plan.use_downsample else max(level - 1, 0)
        self.factor = 2 if plan.use_downsample or level else 1
        dims, width = plan.dims, plan.widths[finer]
        self.layers = nn.Sequential(
            nn.ReLU(), convolution(dims, plan.width(level), width, (3,) * dims), norm(dims, width)
        )
        self.coarse = classifier(plan, plan.width(level)) if plan.deep_supervision else None

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        """Compute the summand of the next finer level.

        Args:
            x_BCDHW: Map of the level (B, C, D, H, W).

        Returns:
            Map with the channels and sides of the next finer level, or of the final layers.
        """
        y_BCDHW = self.layers(x_BCDHW)
        return resize(y_BCDHW, tuple(self.factor * side for side in y_BCDHW.shape[2:]))


def classifier(plan: Plan, width: int) -> nn.Module:
    """Make a 1x1x1 convolution with bias.

    Args:
        plan: Sizes of the networks.
        width: Channels of the input.

    Returns:
        Layer (B, width, D, H, W) -> logits (B, outputs, D, H, W).
    """
    return LAYERS[plan.dims][0](width, plan.outputs, 1)


def final_layers(plan: Plan) -> nn.Sequential:
    """Make the layers after the head, at full resolution.

    Args:
        plan: Sizes of the networks.

    Returns:
        Layers (B, widths[0], D, H, W) -> logits (B, outputs, D, H, W).
    """
    dims, width = plan.dims, plan.widths[0]
    return nn.Sequential(
        nn.ReLU(), convolution(dims, width, width, (3,) * dims), norm(dims, width), classifier(plan, width)
    )
