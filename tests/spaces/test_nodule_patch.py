"""The space of patch classifiers: exact counts of the published network, both dimensions, the order, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cost.profile import profile
from nas.errors import NASError
from nas.task_spec import TaskSpec
from nas.testing import check_space
from search_spaces.nodule_patch import NodulePatchSpace

SPACE = NodulePatchSpace()
FEW_SETTINGS = settings(max_examples=15, deadline=None)


def test_the_published_network_has_the_published_costs() -> None:
    space, arch = NodulePatchSpace.from_name("lung-screening")
    with torch.device("meta"):
        found = profile(space.build(arch), (1, 1, 64, 64))
    assert found.params == 50_162
    assert found.macs == 2_721_768


def test_the_published_network_gives_logits_of_both_classes() -> None:
    """It is no sigmoid that it ends in: the loss takes logits, and a second sigmoid would flatten them."""
    space, arch = NodulePatchSpace.from_name("lung-screening")
    out = space.build(arch).eval()(100 * torch.randn(4, 1, 64, 64))
    assert out.shape == (4, 2)
    assert (out < 0).any() or (out > 1).any()


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 16, 16, 16), (3, 24, 31)])
def test_conformance_in_two_and_three_dimensions(shape: tuple[int, ...]) -> None:
    check_space(SPACE, shape, outputs=3)


@FEW_SETTINGS
@given(st.data())
def test_an_ordered_gene_never_makes_a_network_smaller(data: st.DataObject) -> None:
    """One step up: no less of parameters and MACs, whatever the other genes and the padding are."""
    space = NodulePatchSpace(padding=data.draw(st.sampled_from(["same", "valid"])))
    genes = [data.draw(st.integers(0, len(gene.choices) - 1)) for gene in space.genes]
    steps = [i for i, gene in enumerate(space.genes) if gene.ordered and genes[i] + 1 < len(gene.choices)]
    if not steps:
        return
    chosen = data.draw(st.sampled_from(steps))
    costs = []
    for vector in (genes, [gene + (i == chosen) for i, gene in enumerate(genes)]):
        with torch.device("meta"):
            costs.append(profile(space.build(space.architecture(vector)), (1, 1, 64, 64)))
    assert costs[0].params <= costs[1].params
    assert costs[0].macs <= costs[1].macs


def test_a_patch_that_the_stages_use_up() -> None:
    space, arch = NodulePatchSpace.from_name("lung-screening")
    with pytest.raises(NASError, match="a patch of 16x16 for 3 stages"):
        space.build(arch)(torch.zeros(2, 1, 16, 16))
    with pytest.raises(NASError, match="task=classification"):
        space.require_kind(TaskSpec("segmentation", 2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depths", ()),
        ("depths", (1, 2)),
        ("stems", (6, 4)),
        ("widths", (0,)),
        ("kernels", (4,)),
        ("hidden", (1,)),
        ("norms", ("group",)),
        ("padding", "half"),
        ("dropout", 1.0),
        ("in_channels", 0),
        ("outputs", 1),
    ],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=f"space.{name}"):
        NodulePatchSpace(**{name: value})
