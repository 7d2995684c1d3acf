"""Exact sizes of networks for tables: parameters, operations in two conventions, files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from nas.artifact import import_space
from nas.cost.profile import profile
from search_spaces import NASLungSpace

BYTES = 4  # of a number in fp32


def network(
    space: str, name: str, shape: Sequence[int], expected: Mapping[str, float] | None = None, tolerance: float = 0.0
) -> dict[str, Any]:
    """Count a published network.

    Args:
        space: Class path of its space.
        name: Its name there.
        shape: (C, D, H, W) or (C, H, W) of an input.
        expected: Published values by the names of the result, to be compared with.
        tolerance: Relative difference that counts as equal.

    Returns:
        params, macs (multiply-accumulates of convolutions and matrix products), flops (2 x macs), bytes (weights and
        buffers in fp32), `old_thop` (macs, biases of convolutions and 4 operations per element of a batch
        normalisation: the rules of thop up to 0.0.31), and `agrees` if something is expected.

    Raises:
        NASError: If there is no such network, or it does not take the shape.
    """
    its_space, arch = import_space(space).from_name(name)
    with torch.device("meta"):
        model = its_space.build(arch)
    sizes = profile(model, (1, *shape))
    found: dict[str, Any] = {
        "params": sizes.params,
        "macs": sizes.macs,
        "flops": sizes.flops,
        "bytes": sizes.bytes,
        "old_thop": sizes.macs + _thop_extras(model, (1, *shape)),
    }
    if expected:
        found["agrees"] = "; ".join(_comparison(key, found[key], value, tolerance) for key, value in expected.items())
    return found


def _comparison(key: str, found: float, expected: float, tolerance: float) -> str:
    if found == expected:
        return f"{key}: exactly"
    apart = found / expected - 1
    if abs(apart) <= tolerance:
        return f"{key}: {100 * apart:+.3f} %"
    return f"{key}: no, {found:,} here"


def _thop_extras(model: nn.Module, shape: Sequence[int]) -> int:
    """Operations beside MACs that thop counted until 2019: biases, 4 per element of batch normalisation."""
    total = 0

    def of_layer(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and layer.bias is not None:
            total += output.numel()
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            total += 4 * inputs[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * output.numel()  # 2 x in x out: additions count too

    hooks = [layer.register_forward_hook(of_layer) for layer in model.modules()]
    try:
        with torch.no_grad():
            model.eval()(torch.empty(tuple(shape), device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def naslung(name: str, authors: int | None = None, readme: float | None = None) -> dict[str, Any]:
    """Count a published network of NAS-Lung in every unit that its authors' tables use.

    Args:
        name: Its name in `NASLungSpace`.
        authors: Parameters of the authors' own module.
        readme: Figure of a README, to be compared with the megabytes of the weights.

    Returns:
        params (counted), closed_form (the same by formula), megabytes (4 bytes a parameter, 10^6 bytes), file (MB of a
        file of the weights as this torch writes it), agrees.
    """
    space, arch = NASLungSpace.from_name(name)
    assert isinstance(space, NASLungSpace)
    model = space.build(arch)
    params = sum(parameter.numel() for parameter in model.parameters())
    formula = closed_form(space, arch)
    written = io.BytesIO()
    torch.save(model.state_dict(), written)
    megabytes = BYTES * params / 1e6
    notes = ["formula" if formula == params else f"formula: no, {formula:,}"]
    if authors is not None:
        notes.append("authors' code" if authors == params else f"authors' code: no, {authors - params:+,}")
    if readme is not None:
        notes.append("README, in MB" if round(megabytes, 2) == readme else f"README: no, {megabytes:.2f} MB here")
    return {
        "params": params,
        "closed_form": formula,
        "megabytes": megabytes,
        "file": written.getbuffer().nbytes / 1e6,
        "agrees": "; ".join(notes),
    }


def closed_form(space: NASLungSpace, arch: Any) -> int:
    """Count the parameters of a NAS-Lung network by formula, without building it.

    A convolution L to C of side k has k^3 L C weights, its bias and batch normalisation 3 C (without bias 2 C); a block
    has two of side 3 and a projection of side 1. An attention has 2 C floor(C / 4) + 54.

    Args:
        space: The space.
        arch: Architecture of it.

    Returns:
        Number of parameters.
    """

    def attention(width: int) -> int:
        return 0 if space.cbam == "none" else 2 * width * (width // 4) + 54

    first, last = space.stem
    total = 27 * space.in_channels * first + 3 * first + 27 * first * last + 3 * last + attention(last)
    for widths in space.stages(arch):
        total += 27 * last * last + 2 * last
        for width in widths:
            total += 27 * last * width + 27 * width * width + last * width + 9 * width
            last = width
        total += attention(last)
    return total + 2 * last + (2 if space.head == "softmax" else 0)


def nearest_naslung(figure: float) -> dict[str, Any]:
    """Look for a figure among the sizes of the 42 published networks of NAS-Lung.

    Args:
        figure: A figure of the README, in an unknown unit.

    Returns:
        params and megabytes of the network whose parameters in millions are nearest, and `agrees`: whether some network
        has this figure in millions of parameters or in MB of weights.
    """
    sizes = {}
    for name in NASLungSpace.published:
        space, arch = NASLungSpace.from_name(name)
        assert isinstance(space, NASLungSpace)
        sizes[name] = closed_form(space, arch)
    params = min(sizes.values(), key=lambda count: abs(count / 1e6 - figure))
    hits = [name for name, count in sizes.items() if figure in (round(count / 1e6, 2), round(BYTES * count / 1e6, 2))]
    agrees = f"of {', '.join(hits)}" if hits else f"of none of the {len(sizes)} networks, in M or in MB"
    return {"params": params, "megabytes": BYTES * params / 1e6, "agrees": agrees}


def dints_supernet(channel_mul: float, classes: int, expected: int | None = None) -> dict[str, Any]:
    """Count the supernet of DiNTS with 12 blocks and 4 depths.

    Args:
        channel_mul: Width, 0.25, 0.5 or 1.
        classes: Number of classes.
        expected: Parameters of MONAI's supernet.

    Returns:
        params (with the 720 probabilities of edges and operations) and agrees.
    """
    from search_spaces import DiNTSSpace

    with torch.device("meta"):
        net = DiNTSSpace(12, 4, channel_mul, out_channels=classes).supernet()
    params = sum(parameter.numel() for parameter in net.parameters())
    return {"params": params} | ({"agrees": _comparison("params", params, expected, 0.0)} if expected else {})
