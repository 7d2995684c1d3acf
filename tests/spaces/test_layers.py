"""Attention and the angular head against their definitions, written out in the test."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from search_spaces.layers.cbam import PublishedCBAM3D, WooCBAM3D
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
