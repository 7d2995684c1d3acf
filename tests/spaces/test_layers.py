"""Attention and the angular head against their definitions, written out in the test; faster routes against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from search_spaces.layers.cbam import PublishedCBAM3D, WooCBAM3D
from search_spaces.layers.convolution import Conv3d, slow_alone
from search_spaces.layers.instance_norm import InstanceNorm2d, InstanceNorm3d
from search_spaces.layers.resize import MODES, resize
from search_spaces.layers.sphereface import AngularHead, annealed_lambda, phi


def test_published_attention_by_its_formula() -> None:
    torch.manual_seed(0)
    layer, x = PublishedCBAM3D(8), torch.randn(2, 8, 4, 4, 4)
    u, v = layer.excite.weight, layer.squeeze.weight
    average, largest = x.mean((2, 3, 4)), x.flatten(2).max(2).values
    gate = torch.softmax(average @ v.T @ u.T + largest @ v.T @ u.T, dim=1)
    q = gate[..., None, None, None] * x
    pair = torch.stack([q.max(1).values, q.mean(1)], dim=1)
    spatial = torch.sigmoid(F.conv3d(pair, layer.spatial.weight, padding=1))
    torch.testing.assert_close(layer(x), x + spatial * x)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 8 * 2 + 54


def test_original_attention_by_its_formula() -> None:
    torch.manual_seed(0)
    layer, x = WooCBAM3D(32), torch.randn(2, 32, 4, 4, 4)

    def mlp(pooled: torch.Tensor) -> torch.Tensor:
        return F.relu(pooled @ layer.squeeze.weight.T) @ layer.excite.weight.T

    refined = torch.sigmoid(mlp(x.mean((2, 3, 4))) + mlp(x.flatten(2).max(2).values))[..., None, None, None] * x
    pair = torch.stack([refined.mean(1), refined.max(1).values], dim=1)
    expected = torch.sigmoid(F.conv3d(pair, layer.spatial.weight, padding=3)) * refined
    torch.testing.assert_close(layer(x), expected)
    assert layer.squeeze.weight.shape == (2, 32)


def test_lambda_schedule() -> None:
    steps = torch.tensor([1.0, 10.0, 100.0, 1000.0, 2990.0, 10_000.0])
    expected = torch.tensor([1363.636, 750.0, 136.364, 14.851, 5.0, 5.0])
    torch.testing.assert_close(annealed_lambda(steps), expected, rtol=1e-4, atol=1e-4)


def test_phi_continues_the_cosine_and_falls_all_the_way() -> None:
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    value = phi(theta.cos())
    first = theta <= math.pi / 4
    torch.testing.assert_close(value[first], torch.cos(4 * theta[first]))
    assert value[0].item() == pytest.approx(1)
    assert value[-1].item() == pytest.approx(-7)
    assert (value.diff() <= 1e-12).all()
    assert value.diff().abs().max() < 0.01


def head_with_step(step: int) -> AngularHead:
    torch.manual_seed(0)
    head = AngularHead(8, 3)
    head.steps.fill_(step)
    return head


def reference_logits(head: AngularHead, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SphereFace written per sample and class."""
    lam = max(5.0, 1500 / (1 + 0.1 * (head.steps.item() + 1)))
    out = torch.empty(len(x), 3)
    for i, feature in enumerate(x):
        for k in range(3):
            w = head.weight[k] / head.weight[k].norm()
            cosine = float((feature @ w / feature.norm()).detach())
            theta = math.acos(max(-1.0, min(1.0, cosine)))
            sector = min(3, int(4 * theta / math.pi))
            margin = (-1) ** sector * math.cos(4 * theta) - 2 * sector
            out[i, k] = feature.norm() * ((lam * cosine + margin) / (1 + lam) if k == y[i] else cosine)
    return out


@pytest.mark.parametrize("step", [0, 100, 5000])
def test_margin_is_really_applied(step: int) -> None:
    head = head_with_step(step)
    x, y = torch.randn(16, 8), torch.randint(3, (16,))
    expected = reference_logits(head, x, y)
    plain = head(x)
    with_margin = head(x, y)
    torch.testing.assert_close(with_margin, expected.detach(), rtol=1e-4, atol=1e-4)
    assert F.cross_entropy(with_margin, y) > F.cross_entropy(plain, y)
    assert head.steps.item() == step + 1


def test_no_margin_in_evaluation() -> None:
    head = head_with_step(5000).eval()
    x, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(head(x, y), head(x))
    assert head.steps.item() == 5000


def test_zero_features_keep_finite_gradients() -> None:
    head = head_with_step(0)
    x = torch.zeros(2, 8, requires_grad=True)
    logits = head(x, torch.tensor([0, 1]))
    assert (logits == 0).all()
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()


def test_head_computes_in_full_precision_under_bf16() -> None:
    head = head_with_step(5000)
    x, y = torch.randn(16, 8), torch.randint(3, (16,))
    full = head(x, y)
    head.steps.fill_(5000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(x.bfloat16(), y)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, full, rtol=0.05, atol=0.3)


@given(
    sides=st.lists(st.integers(1, 7), min_size=2, max_size=3),
    wanted=st.lists(st.integers(1, 14), min_size=3, max_size=3),
    seed=st.integers(0, 99),
)
def test_resized_maps_and_gradients_are_those_of_pytorch(sides: list[int], wanted: list[int], seed: int) -> None:
    shape, target = tuple(sides), tuple(wanted[: len(sides)])
    x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = resize(mine, target)
    expected = F.interpolate(theirs, size=target, mode=MODES[len(target)], align_corners=True)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-11)
    for out in (y, expected):
        if out.requires_grad:
            out.square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-10)


def test_resizing_keeps_the_type_under_autocast() -> None:
    x = torch.randn(1, 2, 4, 4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = resize(x, (8, 8, 8))
    assert y.dtype is torch.bfloat16
    expected = F.interpolate(x.float(), size=(8, 8, 8), mode="trilinear", align_corners=True)
    torch.testing.assert_close(y, expected.bfloat16(), rtol=0, atol=0.02)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_instance_normalisation_is_that_of_pytorch(dims: int, channels_last: bool) -> None:
    own, plain = {2: (InstanceNorm2d, nn.InstanceNorm2d), 3: (InstanceNorm3d, nn.InstanceNorm3d)}[dims]
    layers = [kind(5, affine=True).double() for kind in (own, plain)]
    with torch.no_grad():
        layers[0].weight.normal_()
        layers[0].bias.normal_()
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(2, 5, *(3, 4, 6)[:dims], dtype=torch.float64) * 3 + 1
    if channels_last:
        x = x.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[dims])
    inputs = [x.clone().requires_grad_() for _ in layers]
    outputs = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    for out in outputs:
        out.pow(3).sum().backward()
    for tensors in (inputs, *zip(*(layer.parameters() for layer in layers), strict=True)):
        torch.testing.assert_close(tensors[0].grad, tensors[1].grad, rtol=1e-12, atol=1e-9)


def test_a_map_of_one_voxel_cannot_be_normalised() -> None:
    with pytest.raises(ValueError, match="nothing to normalise"):
        InstanceNorm3d(2)(torch.ones(2, 2, 1, 1, 1))


@pytest.mark.parametrize("inputs", [1, 3, 4, 16])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (3, 3, 1), (3, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("change", [{}, {"stride": 2}, {"bias": False}, {"groups": 1, "dilation": 2}])
def test_a_convolution_of_one_volume_is_that_of_pytorch(
    inputs: int, kernel: tuple[int, ...], change: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    layer = Conv3d(inputs, 6, kernel, padding=tuple(length // 2 for length in kernel), **change)
    x = torch.randn(1, inputs, 6, 8, 10)
    assert slow_alone(x)
    got, weight = x.clone().requires_grad_(), layer.weight.detach().clone().requires_grad_()
    y = layer(got)
    two = torch.cat([x, x]).requires_grad_()  # a batch of two takes the fast routine
    expected = F.conv3d(two, weight, layer.bias, layer.stride, layer.padding, layer.dilation)[:1]
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(got.grad, two.grad[:1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.weight.grad, weight.grad, rtol=1e-4, atol=1e-3)
