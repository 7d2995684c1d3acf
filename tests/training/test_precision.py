"""Autocast on the CPU: the gradients of the definition, the same every time, also where the library is wrong."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nas.training.precision import autocast
from search_spaces.naslung import NASLungSpace

CPU = torch.device("cpu")
CASES = [
    ((2, 2, 2), 3, {"padding": 1}),
    ((1, 2, 2), 3, {"padding": 1}),
    ((1, 1, 1), 3, {"padding": (1, 1, 1)}),
    ((3, 3, 3), 3, {"padding": 1}),
    ((2, 2, 2), 3, {"padding": 1, "stride": 2}),
    ((2, 2, 2), 3, {"padding": "same"}),
    ((2, 2, 2), 3, {"padding": 2, "dilation": 2}),
    ((3, 3, 3), 3, {"padding": 0}),
    ((2, 2, 2), 7, {"padding": 3}),
    ((4, 4, 4), 7, {"padding": 3}),
    ((2, 2, 2), 1, {"padding": 0}),
    ((8, 8, 8), 3, {"padding": 1}),
]


def spoil_free_memory() -> None:
    """Freed blocks full of NaN, which a kernel that reads uninitialised memory then meets."""
    blocks = [torch.full((2**power,), float("nan"), dtype=torch.bfloat16) for power in range(5, 16) for _ in range(8)]
    del blocks


def cases() -> list[Any]:
    """Every case with every number of channels, in fp32 and bf16; by default six, one of each kind of convolution."""
    every = itertools.product(CASES, [(2, 1), (4, 4), (16, 8)], [False, True])
    return [
        pytest.param(*case, channels, bf16, marks=() if number % 13 == 0 else pytest.mark.slow)
        for number, (case, channels, bf16) in enumerate(every)
    ]


@pytest.mark.parametrize(("sides", "kernel", "arguments", "channels", "bf16"), cases(), ids=str)
def test_convolutions_and_their_gradients(
    sides: tuple[int, int, int], kernel: int, arguments: dict[str, Any], channels: tuple[int, int], bf16: bool
) -> None:
    torch.manual_seed(0)
    layout = torch.channels_last_3d
    x = torch.randn(15, channels[0], *sides).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(channels[1], channels[0], kernel, kernel, kernel) / kernel**3
    weight = weight.contiguous(memory_format=layout).requires_grad_()
    bias = torch.randn(channels[1], requires_grad=True)

    def results(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        spoil_free_memory()
        out = F.conv3d(x.to(dtype), weight.to(dtype), bias.to(dtype), **arguments)
        spoil_free_memory()
        return [out.detach().float(), *torch.autograd.grad(out.to(dtype).square().sum(), (x, weight, bias))]

    expected = results(torch.float64)  # which oneDNN does not compute
    found = []
    for _ in range(3):
        with autocast(CPU, bf16):
            found.append(results())
    for again in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, found[0], strict=True))
    for value, reference in zip(found[0], expected, strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(value / scale, reference / scale, rtol=0, atol=0.03 if bf16 else 1e-5)


def test_only_the_convolutions_at_risk_leave_bf16() -> None:
    layer = torch.nn.Conv3d(4, 4, 3, padding=1)
    with autocast(CPU, bf16=True):
        assert layer(torch.rand(2, 4, 8, 8, 8)).dtype == torch.bfloat16
        assert layer(torch.rand(2, 4, 2, 8, 8)).dtype == torch.float32
    with autocast(CPU, bf16=False):
        assert layer(torch.rand(2, 4, 8, 8, 8)).dtype == torch.float32


def test_a_network_of_the_space_gives_what_it_gives_without() -> None:
    """The last stage of a 16^3 input has 2^3 voxels."""
    space, arch = NASLungSpace.from_name("model-1")
    x_BCDHW, y_B = torch.rand(4, 1, 16, 16, 16), torch.tensor([0, 1, 0, 1])
    torch.manual_seed(0)
    model = space.build(arch)
    with autocast(CPU, bf16=False):
        output = model(x_BCDHW, y_B)
    torch.manual_seed(0)
    torch.testing.assert_close(output, space.build(arch)(x_BCDHW, y_B), rtol=1e-4, atol=1e-5)
