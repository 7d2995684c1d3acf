"""The parts of a DiNTS network: stems, edges (a change of resolution, then a cell operation) and the head.

Source: He et al., CVPR 2021 (arXiv 2103.15954), section 3.1; details as in MONAI 1.6 (`monai.networks.nets.DiNTS`), to
which the networks are equal. Every normalisation is an instance normalisation with scale and shift; convolutions have
no bias, but for the last one. Shapes are written for 3D; in 2D the axis D is missing.
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
FIRST_WIDTH = 32  # channels at full resolution where channel_mul is 1

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
    """The sizes that all networks of a space share. widths: channels at 1, 1/2, 1/4 ... of the resolution.
    operations: of the edges, by name. deep_supervision: levels of the head have a classifier of their own, used in
    training only."""

    dims: int
    depths: int
    widths: tuple[int, ...]
    use_downsample: bool
    in_channels: int
    outputs: int
    operations: tuple[str, ...]
    deep_supervision: bool = False

    def width(self, level: int) -> int:
        """Channels of a level of the lattice, whose finest level has half the resolution after a downsampling stem."""
        return self.widths[level + int(self.use_downsample)]

    @property
    def divisor(self) -> int:
        """What the sides of an input are multiples of, so that every level halves the one above it."""
        return int(2 ** (self.depths - 1 + int(self.use_downsample)))

    def require_sides(self, sides: tuple[int, ...]) -> None:
        """Raises NASError for sides that cannot be halved, or leave one voxel, which cannot be normalised."""
        small = all(side == self.divisor for side in sides)
        if len(sides) != self.dims or any(side % self.divisor for side in sides) or small:
            raise NASError(
                f"an image of {' x '.join(map(str, sides))} for {self.depths} levels",
                f"{self.dims} sides that are multiples of {self.divisor}, one of them at least {2 * self.divisor}",
                "crop or pad the data (`data.size`), a fitting `task.window`, or a smaller space.num_depths",
            )


def convolution(dims: int, inputs: int, outputs: int, kernel: tuple[int, ...], stride: int = 1) -> nn.Module:
    padding = tuple(length // 2 for length in kernel)
    return LAYERS[dims][0](inputs, outputs, kernel, stride=stride, padding=padding, bias=False)


def norm(dims: int, channels: int) -> nn.Module:
    return LAYERS[dims][1](channels, affine=True)


class Stem(nn.Module):
    """Image (B, in_channels, D, H, W) -> the map of a level (B, C, ...): shrunk, then convolved.

    With a downsampling stem: one convolution at the level's full resolution, one that halves it.
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
        sides = tuple(side // 2**self.level for side in x_BCDHW.shape[2:])
        return self.layers(resize(x_BCDHW, sides))


class Up(nn.Module):
    """(B, inputs, D, H, W) -> (B, outputs, 2D, 2H, 2W): doubled, ReLU, 1x1x1 convolution, normalised."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution, self.norm = convolution(dims, inputs, outputs, (1,) * dims), norm(dims, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        sides = tuple(2 * side for side in x_BCDHW.shape[2:])
        return self.norm(self.convolution(resize(x_BCDHW, sides).relu()))


class Down(nn.Module):
    """(B, inputs, 2D, 2H, 2W) -> (B, outputs, D, H, W): the even voxels give one half of the channels and the odd ones
    (on all axes) the other, each by a 1x1x1 convolution; then normalised."""

    def __init__(self, dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = convolution(dims, inputs, outputs // 2, (1,) * dims)
        self.odd = convolution(dims, inputs, outputs - outputs // 2, (1,) * dims)
        self.norm = norm(dims, outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        every = (slice(None), slice(None))
        # the few voxels are taken before the ReLU, which then keeps no copy of the others
        even, odd = (x_BCDHW[every + (slice(first, None, 2),) * (x_BCDHW.ndim - 2)].relu() for first in (0, 1))
        return self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))


def resolution_change(plan: Plan, source: int, target: int) -> nn.Module:
    """From a level to the same one (the identity) or a neighbouring one."""
    if source == target:
        return nn.Identity()
    make = Up if source > target else Down
    return make(plan.dims, plan.width(source), plan.width(target))


def operation(dims: int, kernels: tuple[tuple[int, ...], ...], channels: int) -> nn.Module:
    """A cell operation (B, C, D, H, W) -> the same shape; no non-linearity between factorised convolutions."""
    if not kernels:
        return nn.Identity()
    convolutions = [convolution(dims, channels, channels, kernel) for kernel in kernels]
    return nn.Sequential(nn.ReLU(), *convolutions, norm(dims, channels))


def edge(plan: Plan, source: int, target: int, name: str) -> nn.Sequential:
    """One edge of an architecture with the named operation."""
    kernels = OPERATIONS[plan.dims][name]
    return nn.Sequential(resolution_change(plan, source, target), operation(plan.dims, kernels, plan.width(target)))


class HeadLevel(nn.Module):
    """The map of a level (B, C, D, H, W) -> what is added to the next finer one, or goes to the final layers.

    coarse: with deep supervision, the classifier of the map itself; `forward` does not use it.
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
        y_BCDHW = self.layers(x_BCDHW)
        return resize(y_BCDHW, tuple(self.factor * side for side in y_BCDHW.shape[2:]))


def classifier(plan: Plan, width: int) -> nn.Module:
    """A 1x1x1 convolution with bias, to logits."""
    return LAYERS[plan.dims][0](width, plan.outputs, 1)


def final_layers(plan: Plan) -> nn.Sequential:
    """The map at full resolution (B, widths[0], D, H, W) -> logits (B, outputs, D, H, W)."""
    dims, width = plan.dims, plan.widths[0]
    return nn.Sequential(
        nn.ReLU(), convolution(dims, width, width, (3,) * dims), norm(dims, width), classifier(plan, width)
    )
