"""The U-Net space: exact counts of the published network, shapes, the order of the genes, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.artifact import Artifact, load
from nas.cost.profile import profile
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.testing import check_space
from search_spaces.unet import UNetSpace
from search_spaces.unet_network import UNet

SPACE = UNetSpace()
FEW_SETTINGS = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize(
    ("side", "macs"), [(512, 261_103_812_608), (128, 16_318_988_288), (64, 4_079_747_072)], ids=str
)
def test_the_published_network_has_the_published_costs(side: int, macs: int) -> None:
    space, arch = UNetSpace.from_name("lung-screening")
    with torch.device("meta"):
        found = profile(space.build(arch), (1, 1, side, side))
    assert found.params == 34_525_954
    assert found.macs == macs


@pytest.mark.parametrize(("dims", "shape"), [(2, (1, 16, 16)), (3, (1, 16, 16, 16)), (3, (2, 16, 32, 48))])
def test_conformance_in_two_and_three_dimensions(dims: int, shape: tuple[int, ...]) -> None:
    check_space(UNetSpace(spatial_dims=dims), shape, outputs=3)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("up", ["transposed", "resize"])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_sides_of_the_input(dims: int, norm: str, up: str, depth: int) -> None:
    model = UNet(dims, 2, 3, depth, width=4, blocks=2, kernel=3, norm=norm, up=up)
    x = torch.rand(2, 2, *(32, 16, 16)[:dims])
    out = model(x)
    assert out.shape == (2, 3, *x.shape[2:])
    out.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@FEW_SETTINGS
@given(st.data())
def test_an_ordered_gene_never_makes_a_network_smaller(data: st.DataObject) -> None:
    """One step up: more of every cost, parameters and MACs, whatever the other genes are."""
    genes = [data.draw(st.integers(0, len(gene.choices) - 1)) for gene in SPACE.genes]
    steps = [i for i, gene in enumerate(SPACE.genes) if gene.ordered and genes[i] + 1 < len(gene.choices)]
    if not steps:
        return
    chosen = data.draw(st.sampled_from(steps))
    larger = [gene + (i == chosen) for i, gene in enumerate(genes)]
    costs = []
    for vector in (genes, larger):
        with torch.device("meta"):
            costs.append(profile(SPACE.build(SPACE.architecture(vector)), (1, 1, 16, 16, 16)))
    assert costs[0].params < costs[1].params
    assert costs[0].macs < costs[1].macs


def test_depth_width_blocks_and_kernel_are_ordered_and_nothing_else() -> None:
    assert {gene.name for gene in SPACE.genes if gene.ordered} == {"depth", "width", "blocks", "kernel"}


@pytest.mark.parametrize("sides", [(12, 16, 16), (8, 16, 16), (17, 17, 17)])
def test_sides_that_cannot_be_halved(sides: tuple[int, ...]) -> None:
    model = UNet(3, 1, 2, depth=3, width=4, blocks=1, kernel=3, norm="instance", up="transposed")
    with pytest.raises(NASError, match="multiples of 8, at least 16"):
        model(torch.rand(2, 1, *sides))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depths", ()),
        ("depths", (0, 1)),
        ("depths", (2, 1)),
        ("widths", (4, 4)),
        ("widths", (4, 6)),
        ("block_counts", (0,)),
        ("kernels", (2,)),
        ("norms", ("layer",)),
        ("norms", ("batch", "batch")),
        ("ups", ("linear",)),
        ("spatial_dims", 1),
        ("in_channels", 0),
        ("out_channels", 1),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=f"space.{name}"):
        UNetSpace(**{name: value})


def test_a_task_of_other_dimensions_or_another_kind() -> None:
    arch = SPACE.architecture((0,) * len(SPACE.genes))
    with pytest.raises(NASError, match="spatial_dims=2"):
        SPACE.build(arch, TaskSpec("segmentation", 2))
    with pytest.raises(NASError, match="task=segmentation"):
        SPACE.require_kind(TaskSpec("classification"))
    SPACE.require_kind(TaskSpec("segmentation"))


def test_arch_json_builds_the_same_network(tmp_path: Path) -> None:
    space = UNetSpace(spatial_dims=2, norms=("group",))
    arch = space.architecture((1, 0, 1, 0, 0, 1))
    Artifact(space, arch, TaskSpec("segmentation", 2, 1, 4)).save(tmp_path / "arch.json")
    loaded = load(tmp_path / "arch.json")
    assert loaded.arch == arch
    assert loaded.build()(torch.rand(2, 1, 16, 16)).shape == (2, 4, 16, 16)
    assert "4 channels" in loaded.space.describe(loaded.arch)
