"""U-Nets with widths by level: the networks of UNetSpace, conformance in 2D, costs, the order of the genes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cost.model import CostModel
from nas.cost.profile import profile
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.testing import check_space
from search_spaces.unet import UNetSpace
from search_spaces.unet_flexible import FlexibleUNetSpace

SPACE = FlexibleUNetSpace()
TASK = TaskSpec("segmentation", 3, 1, 3)


def point(space: FlexibleUNetSpace, **values: object) -> tuple[int, ...]:
    return tuple(gene.choices.index(values.get(gene.name, gene.choices[0])) for gene in space.genes)  # type: ignore[arg-type]


@pytest.mark.slow
def test_conformance_in_two_dimensions() -> None:
    check_space(FlexibleUNetSpace(spatial_dims=2), (2, 16, 16), outputs=3)


@pytest.mark.parametrize("down", ["pool", "stride"])
@pytest.mark.parametrize("up", ["transposed", "resize"])
def test_doubled_widths_and_equal_sides_are_the_networks_of_the_u_net_space(down: str, up: str) -> None:
    values = {"depth": 2, "width0": 8, "width1": 16, "width2": 32, "encoder_blocks": 2, "decoder_blocks": 2}
    arch = SPACE.architecture(point(SPACE, **values, encoder_kernel=5, decoder_kernel=5, up=up, down=down))
    plain = UNetSpace(depths=(2,), widths=(8,), block_counts=(2,), kernels=(5,), norms=("batch",), ups=(up,), down=down)
    with torch.device("meta"):
        ours, theirs = SPACE.build(arch, TASK), plain.build(plain.architecture((0,) * 6), TASK)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]
    assert repr(ours) == repr(theirs)


def test_an_enumeration_has_each_network_once() -> None:
    space = FlexibleUNetSpace(
        depths=(1, 2),
        widths=((4, 8), (8,), (16, 32)),
        encoder_blocks=(1,),
        decoder_blocks=(1,),
        encoder_kernels=(3,),
        norms=("batch",),
    )
    genes_NG = space.enumerate()
    assert genes_NG is not None
    assert len(genes_NG) == (2 + 4) * 2**4
    with torch.device("meta"):
        networks = {repr(space.build(space.architecture([int(g) for g in genes]))) for genes in genes_NG}
    assert len(networks) == len(genes_NG)


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_an_ordered_gene_never_makes_a_network_smaller(data: st.DataObject) -> None:
    """One step up, in the network itself and in the sum of its blocks."""
    genes = SPACE.repair([data.draw(st.integers(0, len(gene.choices) - 1)) for gene in SPACE.genes]).genes
    steps = []
    for number, gene in enumerate(SPACE.genes):
        larger = tuple(value + (i == number) for i, value in enumerate(genes))
        if gene.ordered and SPACE.repair(larger).genes == larger:
            steps.append(larger)
    if not steps:
        return
    pair = [genes, data.draw(st.sampled_from(steps))]
    with torch.device("meta"):
        costs = [profile(SPACE.build(SPACE.architecture(one), TASK), (1, 1, 16, 32, 16)) for one in pair]
    assert costs[0].params < costs[1].params
    assert costs[0].macs < costs[1].macs
    for metric in ("params", "macs"):
        sums = CostModel(SPACE, TASK, (1, 16, 32, 16), metric)(np.array(pair))
        assert sums.tolist() == [getattr(cost, metric) for cost in costs]


def test_a_residual_level_adds_its_input() -> None:
    """With weights of 0 in the body and normalisation without effect, the shortcut is left."""
    arch = SPACE.architecture(point(SPACE, width0=4, width1=8, encoder_blocks=2, residual=True))
    level = SPACE.build(arch).eval().down[1]  # type: ignore[index, union-attr]
    for module in level.body.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    x = torch.rand(2, 4, 8, 8, 8)
    torch.testing.assert_close(level(x), torch.relu(level.shortcut(x)))
    assert level(x).abs().sum() > 0


def test_widths_of_other_levels_than_the_depths() -> None:
    with pytest.raises(NASError, match="widths of 3 levels"):
        FlexibleUNetSpace(depths=(1, 2))
    with pytest.raises(NASError, match=r"space\.widths"):
        FlexibleUNetSpace(depths=(1,), widths=((4, 8), (8, 6)))
    with pytest.raises(NASError, match=r"space\.encoder_kernels"):
        FlexibleUNetSpace(encoder_kernels=(1, 3))


def test_a_description_has_a_line_for_every_level() -> None:
    arch = SPACE.architecture(point(SPACE, depth=2, width2=64, residual=True))
    assert SPACE.describe(arch).splitlines()[-1] == "    level 2  1/4  64 channels, bottom"


@pytest.mark.parametrize("dims", [2, 3])
def test_deep_supervision_is_for_the_training_only(dims: int) -> None:
    """Logits of every level above the bottom in training, one output else; costs are those of the whole network."""
    space, task = FlexibleUNetSpace(spatial_dims=dims, deep_supervision=True), TaskSpec("segmentation", dims, 1, 3)
    arch = space.architecture(point(space, depth=3, residual=True, decoder_blocks=2))
    network, x = space.build(arch, task), torch.rand(2, 1, *[16] * dims)
    assert [tuple(out.shape) for out in network(x)] == [(2, 3, *[side] * dims) for side in (16, 8, 4)]
    assert network.eval()(x).shape == (2, 3, *[16] * dims)
    plain = FlexibleUNetSpace(spatial_dims=dims)
    for metric, more in (("params", 3 * (8 + 1) + 3 * (16 + 1)), ("macs", 0)):
        costs = [CostModel(one, task, (1, *[16] * dims), metric)(np.array([arch.genes])) for one in (space, plain)]
        assert costs[0] - costs[1] == more
        assert costs[0] == getattr(profile(network, (1, 1, *[16] * dims)), metric)


def test_spaces_without_deep_supervision_have_their_earlier_fingerprint() -> None:
    assert "deep_supervision" not in SPACE.arguments
    assert FlexibleUNetSpace(deep_supervision=True).fingerprint != SPACE.fingerprint
