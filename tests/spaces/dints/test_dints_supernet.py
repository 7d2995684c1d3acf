"""The supernet: parameter counts, equality with MONAI's for output and all gradients, memory options, inheritance."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.multiprocessing.reductions import StorageWeakRef

from nas.errors import NASError
from search_spaces.dints import DiNTSSpace, node
from search_spaces.dints.rectified import computed_again, rectified
from tests.spaces.dints.oracle import gradient, ours_from_monai, pair

TINY = 1 / 16
SHAPES = {
    "3d-cube": ({"num_blocks": 3, "num_depths": 3, "channel_mul": TINY}, (2, 1, 16, 16, 16)),
    "3d-batch-1": ({"num_blocks": 2, "num_depths": 4, "channel_mul": TINY}, (1, 1, 32, 32, 32)),
    "3d-anisotropic": ({"num_blocks": 2, "num_depths": 3, "channel_mul": 0.125, "in_channels": 3}, (1, 3, 8, 16, 24)),
    "3d-full-resolution": (
        {"num_blocks": 2, "num_depths": 3, "channel_mul": TINY, "use_downsample": False},
        (2, 1, 8, 12, 16),
    ),
    "3d-one-level": ({"num_blocks": 2, "num_depths": 1, "channel_mul": TINY}, (2, 1, 8, 8, 8)),
    "3d-above-the-dispatch-rule": ({"num_blocks": 1, "num_depths": 2, "channel_mul": 0.5}, (1, 1, 64, 64, 8)),
    "2d": (
        {"num_blocks": 4, "num_depths": 4, "channel_mul": 0.125, "spatial_dims": 2, "in_channels": 2},
        (2, 2, 48, 32),
    ),
    "2d-full-resolution": (
        {"num_blocks": 3, "num_depths": 3, "channel_mul": TINY, "spatial_dims": 2, "use_downsample": False},
        (1, 1, 24, 16),
    ),
}


@pytest.mark.parametrize(("channel_mul", "count"), [(0.5, 150_612_467), (0.25, 37_687_459)])
def test_parameters_of_the_published_supernet(channel_mul: float, count: int) -> None:
    supernet = DiNTSSpace(12, 4, channel_mul, out_channels=3).supernet()
    assert sum(parameter.numel() for parameter in supernet.parameters()) == count
    assert sum(parameter.numel() for parameter in supernet.weight_parameters()) == count - 720


@pytest.mark.parametrize("at_once", [True, False], ids=["grouped", "each-alone"])
@pytest.mark.parametrize("name", SHAPES)
def test_equal_to_monai_in_output_and_all_gradients(name: str, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By both routes of a convolution, whichever is the faster one here."""
    monkeypatch.setattr(node, "at_once", lambda x: at_once)
    arguments, shape = SHAPES[name]
    torch.manual_seed(0)
    ours, theirs = pair(DiNTSSpace(out_channels=3, **arguments))
    x, x_too = (torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    outputs = [model(image.requires_grad_()) for model, image in ((ours, x), (theirs, x_too))]
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    for out in outputs:
        (out.sin() * out).mean().backward()
    torch.testing.assert_close(x.grad, x_too.grad, rtol=1e-10, atol=1e-10)
    expected = ours_from_monai(ours, theirs, gradient)
    found = {name: gradient(parameter) for name, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    for parameter, grad in found.items():
        torch.testing.assert_close(grad, expected[parameter], rtol=1e-10, atol=1e-10, msg=lambda m, p=parameter: p + m)


def test_fp32_of_either_convolution_route_agrees_with_float64() -> None:
    torch.manual_seed(0)
    supernet = DiNTSSpace(2, 2, 0.25).supernet()
    for shape in ((1, 1, 16, 16, 16), (1, 1, 48, 48, 8), (2, 1, 16, 16, 16)):
        x = torch.randn(shape)
        out, exact = supernet.float()(x), supernet.double()(x.double())
        torch.testing.assert_close(out, exact.float(), rtol=1e-4, atol=1e-4)


def test_checkpointing_changes_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # hooks see what is kept only where there are no others further in
    monkeypatch.setattr("search_spaces.dints.node.computed_again", lambda *_: nullcontext())
    torch.manual_seed(0)
    supernet = DiNTSSpace(3, 3, TINY).supernet().double()
    x = torch.randn(1, 1, 16, 16, 16, dtype=torch.float64)
    gradients, kept = [], []
    for supernet.checkpointing in (False, True):
        supernet.zero_grad()
        saved = [0]

        def pack(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved[0] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = supernet(x).square().mean()
        out.backward()
        gradients.append([gradient(parameter).clone() for parameter in supernet.parameters()])
        kept.append(saved[0])
    torch.testing.assert_close(*gradients)
    assert kept[1] < 0.5 * kept[0]


def test_a_rectified_map_is_not_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, 2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    gradients, gone = [], []
    for lean in (True, False):
        relu = rectified(x)
        memory = StorageWeakRef(relu.untyped_storage())
        with computed_again(x, relu) if lean else nullcontext():
            parts = [F.conv3d(part, weight) for part, weight in zip(relu.chunk(2, dim=1), weights, strict=True)]
            out = torch.cat(parts).square().mean()
        del relu
        gone.append(memory.expired())
        gradients.append(torch.autograd.grad(out, [x, weights]))
    assert gone == [True, False]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_bf16_trains() -> None:
    torch.manual_seed(0)
    supernet = DiNTSSpace(2, 2, 0.125).supernet()
    with torch.no_grad():
        for alpha in supernet.relaxation.parameters():
            alpha.normal_(0, 3)
    shares = []
    node = supernet.rows[1][0]
    node.register_forward_pre_hook(lambda module, arguments: shares.append(arguments[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = supernet(torch.randn(1, 1, 16, 16, 16))
    out.float().square().mean().backward()
    assert all(gradient(parameter).isfinite().all() for parameter in supernet.parameters())
    # probabilities are those of the regularisers and of decode, not rounded to 8 bits
    now = supernet.relaxation.marginals()
    own_BEK = now.edge_probs()[:, :, None] * now.operation_BEK
    torch.testing.assert_close(shares[0], own_BEK[1, : len(shares[0])], rtol=0, atol=0)


@pytest.mark.slow
def test_nothing_waits_for_the_device() -> None:
    """On the meta device a value that is asked for raises."""
    with torch.device("meta"):
        out = DiNTSSpace().supernet()(torch.empty(1, 1, 64, 64, 64))
    assert out.shape == (1, 2, 64, 64, 64)


@pytest.mark.slow
def test_the_graph_is_whole() -> None:
    """A full graph leaves nothing to Python."""
    torch.manual_seed(0)
    supernet = DiNTSSpace(2, 2, TINY).supernet()
    x = torch.randn(1, 1, 8, 8, 8)
    compiled = torch.compile(supernet, backend="aot_eager", fullgraph=True)
    gradients = []
    for network in (compiled, supernet):
        out = network(x)
        gradients.append(torch.autograd.grad(out.square().mean(), list(supernet.parameters()), allow_unused=True))
        torch.testing.assert_close(out, supernet(x))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_downsample", [True, False])
@pytest.mark.parametrize("few", [True, False])
def test_a_sharp_supernet_is_its_subnetwork(dims: int, use_downsample: bool, few: bool) -> None:
    operations = (("skip",) if dims == 2 else ("skip", "3x3x1", "1x3x3")) if few else None
    space = DiNTSSpace(3, 3, TINY, spatial_dims=dims, use_downsample=use_downsample, operations=operations)
    rng = np.random.default_rng(3)
    sampled = (space.sample(rng) for _ in range(50))
    # the head of the supernet adds shifts of levels below the deepest map, which a network does not have
    arch = next(arch for arch in sampled if (space.table(arch.genes)[-1, -2:] >= 0).any())
    torch.manual_seed(0)
    supernet = space.supernet().double()
    with torch.no_grad():
        for parameter in supernet.weight_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        operations_BE = torch.from_numpy(space.table(arch.genes))
        supernet.relaxation.alpha_edges_BE.copy_(torch.where(operations_BE >= 0, 100.0, -100.0))
        chosen = torch.nn.functional.one_hot(operations_BE.clamp(min=0), len(space.operations))
        supernet.relaxation.alpha_operations_BEK.copy_(200.0 * chosen)
        x = torch.randn(2, 1, *(16,) * dims, dtype=torch.float64)
        torch.testing.assert_close(supernet.subnetwork(arch)(x), supernet(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sides", [(20, 16, 16), (8, 8, 8), (16, 16)])
def test_sides_that_do_not_fit(sides: tuple[int, ...]) -> None:
    supernet = DiNTSSpace(1, 3, TINY).supernet()
    with pytest.raises(NASError, match="multiples of 8, one of them at least 16"):
        supernet(torch.zeros(1, 1, *sides))
