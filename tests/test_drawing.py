"""The drawing of a network as a chain of blocks."""

from __future__ import annotations

from xml.etree import ElementTree

from nas.architecture_svg import chain_of, draw
from search_spaces.naslung import NASLungSpace
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
