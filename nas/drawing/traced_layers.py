"""The layers of any network in the order in which they run, as stages of equal output shape."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture
from nas.errors import NASError
from nas.network_traits import takes_target
from nas.space import SearchSpace
from nas.task_spec import TaskSpec

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
SIDES = (64, 96, 128, 32, 160, 256)  # voxels, tried in turn: networks refuse sides that are too small or no multiple


@dataclass(frozen=True, slots=True)
class Stage:
    """Layers in a row whose outputs have one shape.

    Attributes:
        kind: Kind of the layers, for example "conv 3³".
        count: Number of layers.
        channels: Channels of the output.
        scale: Size of the output relative to the input of the network.
        joined: Number of an earlier stage whose output is concatenated to the input, if the channels show it; else
            None.
    """

    kind: str
    count: int
    channels: int
    scale: float
    joined: int | None = None


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    inputs: int
    channels: int
    sides: tuple[int, ...]


def stages_of(
    space: SearchSpace, arch: Architecture, task: TaskSpec | None = None, input_size: tuple[int, ...] | None = None
) -> list[Stage] | None:
    """Run a network without data and group its convolutions and linear layers.

    Args:
        space: Space of the architecture.
        arch: The architecture.
        task: Task that the network is built for. If None, the space's own.
        input_size: (D, H, W), in 2D (H, W). If None, one that the network accepts.

    Returns:
        The stages, or None if the network cannot be run this way, or has no more than two of them.
    """
    possible = [task.dims] if task else [space.spatial_dims, 5 - space.spatial_dims]  # 2D and 3D
    sizes = [input_size] if input_size else [(side,) * dims for dims in possible for side in SIDES]
    for size in sizes:
        layers = _layers(space, arch, task, size)
        if layers:
            stages = _grouped(layers, size[-1])
            return stages if len(stages) > 2 else None
    return None


def _layers(space: SearchSpace, arch: Architecture, task: TaskSpec | None, sides: Sequence[int]) -> list[_Layer] | None:
    """Layers in the order of their calls, or None if the network refuses the sides."""
    layers: list[_Layer] = []

    def record(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, nn.Linear):
            layers.append(_Layer("linear", module.in_features, module.out_features, ()))
        else:
            own: Any = module
            layers.append(_Layer(_kind(own), own.in_channels, own.out_channels, tuple(output.shape[2:])))

    try:
        with torch.device("meta"):
            network = copy.deepcopy(space.build(arch, task)).to("meta").eval()
            drawn = [layer for layer in network.modules() if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear))]
            if not drawn:
                return None
            for layer in drawn:
                layer.register_forward_hook(record)
            channels = next((layer.in_channels for layer in drawn if not isinstance(layer, nn.Linear)), 1)
            image = torch.zeros(2, int(channels), *sides)
            with torch.no_grad():
                if takes_target(network):
                    network(image, torch.zeros(2, dtype=torch.long))
                else:
                    network(image)
    except (NASError, RuntimeError, ValueError, TypeError, NotImplementedError, AttributeError, IndexError):
        return None  # of this size, or a network that does not run without data
    return layers


def _kind(layer: Any) -> str:
    sides = layer.kernel_size
    size = f"{sides[0]}{'³' if len(sides) == 3 else '²'}" if len(set(sides)) == 1 else "×".join(map(str, sides))
    return f"{'up' if isinstance(layer, TRANSPOSED) else 'conv'} {size}"


def _grouped(layers: Sequence[_Layer], side: int) -> list[Stage]:
    stages: list[Stage] = []
    before: _Layer | None = None
    for layer in layers:
        scale = layer.sides[-1] / side if layer.sides else 0.0
        joined = None
        if before is not None and layer.sides and layer.inputs > before.channels:
            joined = _joined(stages, layer.inputs - before.channels, scale)
        same = before is not None and (layer.kind, layer.channels, layer.sides) == (
            before.kind,
            before.channels,
            before.sides,
        )
        if same and joined is None:
            stages[-1] = Stage(layer.kind, stages[-1].count + 1, layer.channels, scale, stages[-1].joined)
        else:
            stages.append(Stage(layer.kind, 1, layer.channels, scale, joined))
        before = layer
    return stages


def _joined(stages: Sequence[Stage], channels: int, scale: float) -> int | None:
    """Return the latest stage, but the one before, of this resolution and number of channels."""
    for number in reversed(range(len(stages) - 1)):
        if stages[number].channels == channels and stages[number].scale == scale:
            return number
    return None
