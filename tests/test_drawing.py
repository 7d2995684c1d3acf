"""The drawing of a network as a chain of blocks."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from torch import nn

from nas.architecture import Architecture
from nas.drawing.architecture_svg import chain_of, draw, drawing_of
from nas.drawing.traced_layers import stages_of
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from search_spaces.cascade import CascadeSpace
from search_spaces.detector import DetectorSpace
from search_spaces.dints.space import DiNTSSpace
from search_spaces.naslung import NASLungSpace
from search_spaces.nodule_patch import NodulePatchSpace
from search_spaces.unet import UNetSpace
from tests.report_pages import SVG, ToySpace


def test_drawing_of_a_chain() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    boxes = chain_of(space, arch)
    kinds = [box.words[0] for box in boxes]
    assert kinds == ["stem", *["pool", "residual", "residual", "cbam"] * 3, "head"]
    assert [box.scale for box in boxes] == [1, 1, *[0.5] * 4, *[0.25] * 4, *[0.125] * 4]
    assert [box.channels for box in boxes[-4:]] == [8, 8, 8, 8]
    svg = ElementTree.fromstring(draw(space, arch))
    words = "".join(svg.itertext())
    assert words.count("residual") == 6
    for scale in ("full resolution", "1/2", "1/4", "1/8"):
        assert scale in words


def test_a_long_chain_stays_on_the_page() -> None:
    space = NASLungSpace(max_depth=40)
    arch = space.repair([len(space.widths)] * len(space.genes))
    svg = ElementTree.fromstring(draw(space, arch))
    width, height = (float(svg.attrib[name]) for name in ("width", "height"))
    assert width <= 1010
    for text in svg.iter(f"{SVG}tspan"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    assert "".join(svg.itertext()).count("residual") == 40


def test_drawing_without_blocks_is_the_description() -> None:
    space = ToySpace()
    arch = space.architecture((0, 1, 2))
    assert chain_of(space, arch) is None
    assert "".join(ElementTree.fromstring(draw(space, arch)).itertext()) == "2 <&> 4 <&> 8"


def test_drawing_falls_back_where_the_space_refuses_the_size() -> None:
    space, arch = NASLungSpace.from_name("model-1")
    assert chain_of(space, arch, input_size=(20, 20, 20)) is None
    assert "stage 1" in draw(space, arch, input_size=(20, 20, 20))


@pytest.mark.parametrize(
    "space",
    [UNetSpace(), UNetSpace(spatial_dims=2), CascadeSpace(), DetectorSpace(), NodulePatchSpace(), DiNTSSpace()],
    ids=lambda space: f"{type(space).__name__}-{space.spatial_dims}d",
)
def test_every_space_is_drawn(space: SearchSpace) -> None:
    """Spaces without blocks are drawn from the layers that run in their networks."""
    arch = space.sample(np.random.default_rng(3))
    drawing = drawing_of(space, arch)
    assert not drawing.is_text
    svg = ElementTree.fromstring(drawing.svg)
    assert len(list(svg.iter())) > 20
    assert svg.attrib["aria-label"] or svg.attrib.get("role")


def test_the_layers_of_a_unet_with_their_resolution_and_skip_connections() -> None:
    space = UNetSpace(depths=(2,), widths=(4,), block_counts=(2,), kernels=(3,), norms=("batch",), ups=("transposed",))
    stages = stages_of(space, space.architecture((0,) * 6))
    assert stages is not None
    assert [(stage.kind, stage.count, stage.channels, stage.scale, stage.joined) for stage in stages] == [
        ("conv 3³", 2, 4, 1.0, None),
        ("conv 3³", 2, 8, 0.5, None),
        ("conv 3³", 2, 16, 0.25, None),
        ("up 2³", 1, 8, 0.5, None),
        ("conv 3³", 2, 8, 0.5, 1),
        ("up 2³", 1, 4, 1.0, None),
        ("conv 3³", 2, 4, 1.0, 0),
        ("conv 1³", 1, 2, 1.0, None),
    ]


class Refusing(ToySpace):
    """A plug-in whose network cannot be run without data."""

    def build(self, arch: Architecture, task: TaskSpec | None = None) -> nn.Module:
        raise RuntimeError("no meta device")


def test_a_network_that_cannot_be_run_is_described_in_text() -> None:
    space = Refusing()
    drawing = drawing_of(space, space.architecture((0, 1, 2)))
    assert drawing.is_text
    assert "2 <&> 4 <&> 8" in "".join(ElementTree.fromstring(drawing.svg).itertext())
