"""The layers of NAS-Lung that are computed as one function on a CPU give what the plain layers give, with gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nas.training.convolutions import folded_conv3d
from search_spaces.layers import rows
from search_spaces.layers.cbam import PublishedCBAM3D
from search_spaces.layers.norm_relu import norm_relu
from search_spaces.naslung import NASLungSpace

LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def _also_small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LEAST", 0)


def volume(channels: int, side: int, dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(3, channels, side, side + 1, side, dtype=torch.float64).relu()
    return x.to(dtype).contiguous(memory_format=LAST).requires_grad_()


def with_gradients(
    layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, weights: list[nn.Parameter]
) -> list[torch.Tensor]:
    y = layer(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *weights])]


def same(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("channels", "side"), [(4, 6), (7, 4), (12, 5)])
def test_attention(channels: int, side: int, dtype: torch.dtype, tolerance: float) -> None:
    """Also with equal maxima: of the channels of a voxel in which all are 0, and of rounded values."""
    torch.manual_seed(0)
    layer = PublishedCBAM3D(channels).to(dtype)
    x = volume(channels, side, dtype)
    with torch.no_grad():
        x.copy_((4 * x).round() / 4)
    assert "FusedCBAM" in type(layer(x).grad_fn).__name__
    weights = list(layer.parameters())
    same(with_gradients(layer, x, weights), with_gradients(layer.plain, x, weights), tolerance)


def test_attention_of_a_batch_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = PublishedCBAM3D(4).double(), volume(4, 6, torch.float64)
    monkeypatch.setattr("search_spaces.layers.fused_cbam.CACHED", 2 * 4 * 6 * 7 * 6)
    weights = list(layer.parameters())
    same(with_gradients(layer, x, weights), with_gradients(layer.plain, x, weights), 1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.bfloat16, 0.03)])
def test_normalisation_with_relu(dtype: torch.dtype, tolerance: float) -> None:
    """Output, gradients and running statistics."""
    torch.manual_seed(0)
    x = volume(4, 8, dtype)
    plain = nn.BatchNorm3d(4)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    fused = nn.BatchNorm3d(4)
    fused.load_state_dict(plain.state_dict())
    relu = nn.ReLU(inplace=True)
    expected = with_gradients(lambda x: relu(plain(x)), x, list(plain.parameters()))
    found = with_gradients(lambda x: norm_relu(x, fused, relu), x, list(fused.parameters()))
    same(found, expected, tolerance)
    same(list(fused.buffers()), list(plain.buffers()), 1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "outputs", "kernel"), [(1, 4, 3), (4, 4, 3), (2, 1, 5)])
def test_folded_convolutions(channels: int, outputs: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    x, bias = volume(channels, 6, torch.float64), nn.Parameter(torch.randn(outputs, dtype=torch.float64))
    weight = nn.Parameter(torch.randn(outputs, channels, kernel, kernel, kernel, dtype=torch.float64))
    arguments = (weight, bias, stride, kernel // 2)

    def folded(x: torch.Tensor) -> torch.Tensor:
        y = folded_conv3d(x, *arguments)
        assert y is not None
        assert y.is_contiguous(memory_format=LAST)
        return y

    weights = [weight, bias]
    same(with_gradients(folded, x, weights), with_gradients(lambda x: torch.conv3d(x, *arguments), x, weights), 1e-12)


def test_convolutions_that_are_not_folded() -> None:
    x, weight = volume(4, 6, torch.float32), torch.randn(4, 4, 3, 3, 3)
    assert folded_conv3d(x.contiguous(), weight, None, 1, 1) is None  # another layout
    assert folded_conv3d(x, torch.randn(4, 4, 1, 1, 1)) is None  # a matrix product already
    assert folded_conv3d(x, torch.randn(4, 2, 3, 3, 3), None, 1, 1, 1, 2) is None  # groups
    assert folded_conv3d(x, torch.randn(64, 4, 3, 3, 3), None, 1, 1) is None  # wide enough


def test_a_network_gives_the_gradients_of_the_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision: behind ReLUs and maxima, a rounding error may send a gradient to another voxel."""
    space = NASLungSpace(head="softmax")
    found = []
    for least in (0, 2**62):
        monkeypatch.setattr(rows, "LEAST", least)
        torch.manual_seed(0)
        model = space.build(space.from_stages([[4, 4], [8], [8]])).double().to(memory_format=LAST)
        x = torch.rand(4, 1, 16, 16, 16).double().contiguous(memory_format=LAST).requires_grad_()
        found.append(with_gradients(model, x, list(model.parameters())))
    same(*found, tolerance=1e-4)
