"""bf16 autocast on the CPU: same gradients every time, close to fp32, also where the library itself is wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nas.training.precision import autocast

CPU = torch.device("cpu")


def spoil_free_memory() -> None:
    """Freed blocks full of NaN, which a kernel that reads uninitialised memory then meets."""
    blocks = [torch.full((2**power,), float("nan"), dtype=torch.bfloat16) for power in range(5, 16) for _ in range(8)]
    del blocks


@pytest.mark.parametrize(("side", "kernel"), [(2, 3), (3, 3), (4, 3), (8, 3), (2, 7), (4, 7), (8, 7), (2, 1)])
@pytest.mark.parametrize("channels", [(2, 1), (4, 4), (16, 16)])
def test_weight_gradients_are_those_of_fp32(side: int, kernel: int, channels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(15, channels[0], side, side, side).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(channels[1], channels[0], kernel, kernel, kernel) / kernel**3
    weight = weight.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    gradients = []
    for bf16 in (False, True, True, True):
        spoil_free_memory()
        with autocast(CPU, bf16):
            out = F.conv3d(x, weight, padding=kernel // 2)
        spoil_free_memory()
        gradients.append(torch.autograd.grad(out.float().square().sum(), weight)[0])
    scale = float(gradients[0].abs().max())
    for gradient in gradients[1:]:
        assert torch.equal(gradient, gradients[1])
        torch.testing.assert_close(gradient / scale, gradients[0] / scale, rtol=0, atol=0.03)


def test_only_the_convolutions_at_risk_leave_bf16() -> None:
    layer = torch.nn.Conv3d(4, 4, 3, padding=1)
    with autocast(CPU, bf16=True):
        assert layer(torch.rand(2, 4, 8, 8, 8)).dtype == torch.bfloat16
        assert layer(torch.rand(2, 4, 2, 8, 8)).dtype == torch.float32
    with autocast(CPU, bf16=False):
        assert layer(torch.rand(2, 4, 8, 8, 8)).dtype == torch.float32
