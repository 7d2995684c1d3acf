"""The cascade space: exact counts of the published network, outputs of every scale, order of the genes, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.cost.profile import profile
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.testing import check_space
from search_spaces.cascade import CascadeSpace
from search_spaces.cascade_network import Cascade, ModalityUNet, Residual

SPACE = CascadeSpace(widths=(1, 2, 4), depths=(1, 2, 3), levels=(1, 2, 3))


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("brats2018-f1", 600_720, {64: 432_357_376, 96: 1_459_206_144}),
        ("brats2018-f2", 2_393_808, {64: 1_648_033_792, 96: 5_562_114_048}),
        ("brats2018-f4", 9_557_124, {64: 6_429_343_744, 96: 21_699_035_136}),
        ("brats2018", 38_192_316, {64: 25_391_792_128, 96: 85_697_298_432, 128: 203_134_337_024}),
    ],
)
def test_the_published_network_has_the_published_costs(name: str, params: int, macs: dict[int, int]) -> None:
    space, arch = CascadeSpace.from_name(name)
    for side, expected in macs.items():
        with torch.device("meta"):
            found = profile(space.build(arch), (1, 4, side, side, side))
        assert (found.params, found.macs) == (params, expected), side
        if side == 128:
            assert found.flops == pytest.approx(409.996e9, rel=0.01)  # published with element-wise operations


def test_the_parts_of_the_published_network_have_their_counts() -> None:
    """By hand from its description: the networks at 1/4, 1/2 and 1/1, and no bias in transposed convolutions."""
    space, arch = CascadeSpace.from_name("brats2018")
    with torch.device("meta"):
        model = space.build(arch)
    assert isinstance(model, Cascade)
    counts = [sum(p.numel() for p in network.parameters()) for network in model.networks]
    assert counts == [1_822_420, 7_278_244, 29_091_652]
    kinds = {kind: [m for m in model.modules() if isinstance(m, kind)] for kind in (nn.ConvTranspose3d, nn.Conv3d)}
    assert len(list(model.parameters())) == 225
    assert all(layer.bias is None for layer in kinds[nn.ConvTranspose3d])
    assert all(layer.bias is not None for layer in kinds[nn.Conv3d])
    assert {m.eps for m in model.modules() if isinstance(m, nn.InstanceNorm3d)} == {1e-3}


def test_conformance_with_four_modalities() -> None:
    check_space(CascadeSpace(widths=(1, 2), depths=(1, 2), levels=(1, 2)), (4, 16, 16, 16), outputs=4)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_in_training_every_scale_has_its_output(levels: int) -> None:
    model = Cascade(1, 3, width=1, depth=levels, levels=levels, blocks=1, growth=2, fusion="mean")
    sides = (64, 64, 64) if levels == 3 else (16, 16, 24)
    x = torch.rand(1, 1, *sides)
    outputs = model(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert [tuple(out.shape) for out in outputs] == [(1, 3, *(s // 2**step for s in sides)) for step in range(levels)]
    outputs[0].square().mean().backward()  # the finest output depends on every network
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert isinstance(model.eval()(x), torch.Tensor)
    model.train()
    model.deep_supervision = False
    assert isinstance(model(x), torch.Tensor)


def test_modalities_are_encoded_apart_and_meet_in_their_maximum() -> None:
    """Exchanging two modalities together with their encoders leaves the output as it is."""
    torch.manual_seed(0)
    model = ModalityUNet(2, 2, width=2, depth=1, blocks=1, fusion="max", guides=0, dropout=0.0).eval()
    x = torch.rand(1, 2, 8, 8, 8)
    with torch.no_grad():
        before = model(x, [])
        assert not torch.allclose(before, model(x.flip(1), []), atol=1e-4)
        for layer in [model.stem, *model.halve.modules(), *model.encode.modules()]:
            if isinstance(layer, nn.Conv3d | nn.InstanceNorm3d):
                for parameter in layer.parameters():
                    parameter.copy_(parameter.unflatten(0, (2, -1)).flip(0).flatten(0, 1))
        torch.testing.assert_close(model(x.flip(1), []), before)
    assert {layer.groups for layer in model.encode.modules() if isinstance(layer, nn.Conv3d)} == {2}
    early = ModalityUNet(2, 2, width=2, depth=1, blocks=1, fusion="early", guides=0, dropout=0.0)
    assert {layer.groups for layer in early.modules() if isinstance(layer, nn.Conv3d)} == {1}


def test_a_coarser_network_guides_by_its_probabilities() -> None:
    torch.manual_seed(0)
    model = Cascade(1, 2, width=1, depth=2, levels=2, blocks=1, growth=1, fusion="max").eval()
    x, seen = torch.rand(1, 1, 16, 16, 16), []
    model.networks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    with torch.no_grad():
        model(x)
        image, (guide,) = seen[0]
        assert image is x
        coarse = model.networks[1](torch.nn.functional.avg_pool3d(x, 2), [])
        torch.testing.assert_close(guide, coarse.softmax(dim=1))


def test_a_residual_block_adds_to_what_it_got() -> None:
    block, x = Residual(4, 2), torch.rand(1, 4, 4, 4, 4)
    with torch.no_grad():
        block.layers[-1].weight.zero_()
        block.layers[-1].bias.zero_()
        torch.testing.assert_close(block(x), x)


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_an_ordered_gene_never_makes_a_network_smaller(data: st.DataObject) -> None:
    """One step up, where that is an architecture of its own: more of every cost."""
    arch = SPACE.repair([data.draw(st.integers(0, len(gene.choices) - 1)) for gene in SPACE.genes])
    steps = [
        [gene + (i == place) for i, gene in enumerate(arch.genes)]
        for place, gene in enumerate(SPACE.genes)
        if gene.ordered and arch.genes[place] + 1 < len(gene.choices)
    ]
    larger = [genes for genes in steps if SPACE.repair(genes).genes == tuple(genes)]
    if not larger:
        return
    costs = []
    for genes in (arch.genes, data.draw(st.sampled_from(larger))):
        with torch.device("meta"):
            costs.append(profile(SPACE.build(SPACE.architecture(genes)), (1, 4, 64, 64, 64)))
    assert costs[0].params < costs[1].params
    assert costs[0].macs < costs[1].macs


def test_no_more_networks_than_halvings_and_no_growth_of_one() -> None:
    values = [SPACE.values(SPACE.repair(genes)) for genes in ((0, 0, 2, 0, 1, 0), (0, 1, 2, 0, 1, 0))]
    assert [value[1:5] for value in values] == [(1, 1, 1, 1), (2, 2, 1, 2)]
    every = SPACE.enumerate()
    assert every is not None
    assert len(every) == 3 * 2 * 3 * (1 + (1 + 2) + (1 + 2 + 2))  # width, blocks, fusion; levels and growth by depth


@pytest.mark.parametrize("sides", [(24, 32, 32), (16, 32, 32)])
def test_sides_that_cannot_be_halved(sides: tuple[int, ...]) -> None:
    model = Cascade(1, 2, width=1, depth=3, levels=2, blocks=1, growth=1, fusion="max")
    with pytest.raises(NASError, match="multiples of 16, at least 32"):
        model(torch.rand(1, 1, *sides))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", ()),
        ("depths", (0, 1)),
        ("levels", (2, 1)),
        ("block_counts", (0,)),
        ("growths", (1, 1)),
        ("fusions", ("sum",)),
        ("in_channels", 0),
        ("out_channels", 1),
        ("dropout", 1.0),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=f"space.{name}"):
        CascadeSpace(**{name: value})


def test_more_networks_than_any_depth_has_room_for() -> None:
    with pytest.raises(NASError, match="levels <= depth"):
        CascadeSpace(depths=(2, 3), levels=(3,))


def test_slices_are_refused() -> None:
    with pytest.raises(NASError, match="2 dimensions for a space of 3"):
        SPACE.build(SPACE.repair([0] * 6), TaskSpec("segmentation", 2))
