"""The space of residual classifiers: exact counts, both dimensions, the order of the genes, costs as sums of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cost.model import CostModel, static_costs
from nas.cost.profile import profile
from nas.errors import NASError
from nas.html.architecture_svg import draw
from nas.task_spec import TaskSpec
from nas.testing import check_space
from search_spaces.layers.squeeze_excitation import SqueezeExcitation
from search_spaces.resnet3d import ResNet3DSpace
from search_spaces.resnet3d_network import ResidualBlock

SPACE = ResNet3DSpace()
FEW_SETTINGS = settings(max_examples=8, deadline=None)
GENES = st.tuples(*(st.integers(0, len(gene.choices) - 1) for gene in SPACE.genes))


def built(**genes: int) -> torch.nn.Module:
    """The smallest network of the space with some genes set."""
    return SPACE.build(SPACE.architecture([genes.get(gene.name, 0) for gene in SPACE.genes]))


@pytest.mark.parametrize(("name", "params"), [("resnet-18", 33_140_802), ("resnet-50", 46_138_946)])
def test_a_published_network_has_the_published_parameters(name: str, params: int) -> None:
    """And costs that are sums of its blocks, in 3D and in 2D."""
    space, arch = ResNet3DSpace.from_name(name)
    with torch.device("meta"):
        network = space.build(arch)
    assert sum(parameter.numel() for parameter in network.parameters()) == params
    assert space.published[name].counts[0].number == params
    for shape in ((1, 28, 28, 28), (3, 28, 28)):
        task = TaskSpec("classification", len(shape) - 1, shape[0], 9)
        with torch.device("meta"):
            whole = profile(space.build(arch, task), (1, *shape))
        assert CostModel(space, task, shape).all_of(arch, ()) == {
            "params": whole.params,
            "macs": whole.macs,
            "bytes": whole.bytes,
        }


def test_the_published_networks_have_a_stem_of_stride_1_without_pooling() -> None:
    space, arch = ResNet3DSpace.from_name("resnet-50")
    with torch.device("meta"):
        network = space.build(arch)
        assert network.stem(torch.empty(1, 1, 28, 28, 28)).shape == (1, 64, 28, 28, 28)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 3 + 4 + 6 + 3
    assert network.head.classifier.weight.shape == (2, 2048)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 16, 16, 16), (2, 12, 17, 21)])
def test_conformance_in_two_and_three_dimensions(shape: tuple[int, ...]) -> None:
    check_space(SPACE, shape, outputs=3)


@FEW_SETTINGS
@given(GENES, st.sampled_from([2, 3]), st.integers(1, 3), st.integers(2, 5), st.integers(5, 12))
def test_any_genes_build_and_their_costs_are_sums_of_blocks(
    genes: tuple[int, ...], dims: int, channels: int, outputs: int, side: int
) -> None:
    task = TaskSpec("classification", dims, channels, outputs)
    arch = SPACE.architecture(genes)
    shape = (channels, *(side + n for n in range(dims)))
    assert SPACE.build(arch, task)(torch.rand(2, *shape)).shape == (2, outputs)
    summed = CostModel(SPACE, task, shape).all_of(arch, ())
    whole = static_costs(SPACE, arch, task, shape)
    assert summed == {name: whole[name] for name in summed}


@FEW_SETTINGS
@given(GENES, st.data())
def test_an_ordered_gene_never_makes_a_network_smaller(genes: tuple[int, ...], data: st.DataObject) -> None:
    """One step up: no less of parameters, more MACs."""
    steps = [i for i, gene in enumerate(SPACE.genes) if gene.ordered and genes[i] + 1 < len(gene.choices)]
    if not steps:
        return
    chosen = data.draw(st.sampled_from(steps))
    larger = [gene + (i == chosen) for i, gene in enumerate(genes)]
    low, high = (static_costs(SPACE, SPACE.architecture(one), TaskSpec(), (1, 12, 12, 12)) for one in (genes, larger))
    assert low["params"] <= high["params"]
    assert low["macs"] < high["macs"]


def test_stride_and_squeeze_excitation_change_the_network() -> None:
    x = torch.rand(2, 1, 16, 16, 16)
    assert built(stride=0).stem(x).shape == (2, 4, 8, 8, 8)
    assert built(stride=1).stem(x).shape == (2, 4, 16, 16, 16)
    assert built(stem=1).stem[0][0].weight.shape[2:] == (5, 5, 5)

    def gates(network: torch.nn.Module) -> int:
        return sum(isinstance(module, SqueezeExcitation) for module in network.modules())

    assert (gates(built()), gates(built(se=1)), gates(built(se=1, depth2=1))) == (0, 3, 4)


def test_squeeze_excitation_scales_whole_channels() -> None:
    layer = SqueezeExcitation(4)
    x = torch.rand(2, 4, 3, 5, 6)
    factor = layer(x) / x
    assert torch.allclose(factor, factor[..., :1, :1, :1].expand_as(factor))
    assert ((factor > 0) & (factor < 1)).all()
    mean = x.mean(dim=(2, 3, 4))
    assert torch.allclose(layer(x), x * layer.gate(mean)[:, :, None, None, None])


def test_the_blocks_of_the_space_do_not_depend_on_the_networks_asked_for() -> None:
    """The cost model measures each of them once."""
    every = SPACE.enumerate()
    assert every is not None
    vocabulary, ids_NK = SPACE.blocks(every, (16, 16, 16))
    assert [block.key for block in SPACE.blocks(every[:1], (16, 16, 16))[0]] == [block.key for block in vocabulary]
    assert set(np.unique(ids_NK)) == {-1, *range(len(vocabulary))}


def test_description_and_drawing() -> None:
    arch = SPACE.architecture([len(gene.choices) - 1 for gene in SPACE.genes])
    text = SPACE.describe(arch)
    assert "stage 3  1/4  2 bottleneck block(s) of 256 channels, kernel 5 and squeeze-and-excitation" in text
    picture = draw(SPACE, arch)
    for words in ("stem", "64&gt;128", "se", "head"):
        assert words in picture


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", ()),
        ("widths", (8, 4)),
        ("widths", (1024,)),
        ("depths", ()),
        ("depths", ((),)),
        ("depths", ((0, 1),)),
        ("depths", (1, 2)),
        ("stems", (4,)),
        ("strides", (1, 2)),
        ("strides", (3,)),
        ("kernels", (3, 3)),
        ("se", (True, False)),
        ("block_kinds", ("dense",)),
        ("in_channels", 0),
        ("outputs", 1),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=f"space.{name}"):
        ResNet3DSpace(**{name: value})
