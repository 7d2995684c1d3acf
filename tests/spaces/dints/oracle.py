"""MONAI's DiNTS as the oracle: its networks, and its weights as a state of ours."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.monai_code import to_monai
from search_spaces.dints.supernet import DiNTSSupernet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own deprecations
    from monai.networks.nets import dints as monai_dints


def sizes(space: DiNTSSpace) -> dict[str, object]:
    return {
        "channel_mul": space.channel_mul,
        "num_blocks": space.num_blocks,
        "num_depths": space.num_depths,
        "spatial_dims": space.spatial_dims,
        "use_downsample": space.use_downsample,
    }


def whole(space: DiNTSSpace, lattice: nn.Module, node_a: np.ndarray | None = None) -> nn.Module:
    return monai_dints.DiNTS(
        lattice,
        space.in_channels,
        space.out_channels,
        spatial_dims=space.spatial_dims,
        use_downsample=space.use_downsample,
        node_a=node_a,
    )


def monai_supernet(space: DiNTSSpace) -> nn.Module:
    with contextlib.redirect_stdout(io.StringIO()):
        return whole(space, monai_dints.TopologySearch(**sizes(space)))


def monai_network(space: DiNTSSpace, arch: Architecture) -> nn.Module:
    code = {name: tensor.numpy() for name, tensor in to_monai(space, arch).items()}
    with contextlib.redirect_stdout(io.StringIO()):
        topology = monai_dints.TopologyInstance(arch_code=[code["arch_code_a"], code["arch_code_c"]], **sizes(space))
        return whole(space, topology, code["node_a"])


Read = Callable[[nn.Parameter], torch.Tensor]


def value(parameter: nn.Parameter) -> torch.Tensor:
    return parameter.detach()


def gradient(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def ours_from_monai(ours: DiNTSSupernet, theirs: nn.Module, read: Read = value) -> dict[str, torch.Tensor]:
    """The parameters of our supernet by name, with what `read` gives of MONAI's parameters."""
    space = ours.space
    found: dict[str, torch.Tensor] = {}

    def put(prefix: str, module: nn.Module, parameters: list[nn.Parameter]) -> None:
        names = [name for name, _ in module.named_parameters()]
        for name, parameter in zip(names, parameters, strict=True):
            found[f"{prefix}.{name}"] = read(parameter)

    for level in range(space.num_depths):
        put(f"stems.{level}", ours.stems[level], list(theirs.stem_down[str(level)].parameters()))
        put(f"head.levels.{level}", ours.head.levels[level], list(theirs.stem_up[str(level)].parameters()))
    put("head.final", ours.head.final, list(theirs.stem_finals.parameters()))
    for block, level in np.ndindex(space.num_blocks, space.num_depths):
        cells = [theirs.dints_space.cell_tree[str((block, int(e)))] for e in ours.incoming[level]]
        prefix, node = f"rows.{block}.{level}", ours.rows[block][level]
        for position, cell in enumerate(cells):
            put(f"{prefix}.changes.{position}", node.changes[position], list(cell.preprocess.parameters()))
        for k in range(1, len(space.operations)):
            columns = zip(*(cell.op.ops[k].parameters() for cell in cells), strict=True)
            joined = [torch.cat([read(parameter) for parameter in column]) for column in columns]
            *weights, scale, shift = joined
            at = f"{prefix}.operations.{k - 1}"
            found |= {f"{at}.weights.{number}": weight for number, weight in enumerate(weights)}
            found |= {f"{at}.scale": scale, f"{at}.shift": shift}
    found["relaxation.alpha_edges_BE"] = read(theirs.dints_space.log_alpha_a)
    found["relaxation.alpha_operations_BEK"] = read(theirs.dints_space.log_alpha_c)
    return found


def pair(space: DiNTSSpace, spread: float = 1.0) -> tuple[DiNTSSupernet, nn.Module]:
    """Both supernets in float64 with the same weights; alphas, scales and shifts away from their start values."""
    ours, theirs = space.supernet().double(), monai_supernet(space).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(spread * 0.3 * torch.randn_like(parameter))
        theirs.dints_space.log_alpha_a.normal_(0, spread)
        theirs.dints_space.log_alpha_c.normal_(0, spread)
    ours.load_state_dict(ours_from_monai(ours, theirs))
    return ours, theirs
