"""Boxes and labels on a slice."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.lung_detector.service.picture import annotated_png
from tests.service.bright_spots import Spots

EDGE = st.floats(-5, 130, width=32)


def drawn(boxes: list[list[float]], labels: tuple[str, ...], side: int = 128) -> np.ndarray:
    """(side, side, 3) of a black slice."""
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    spots = Spots(np.array(boxes, dtype=np.float32).reshape(-1, 4), scores, labels)
    png = annotated_png(np.zeros((side, side), dtype=np.uint8), spots, ("a", "b"))
    return np.asarray(Image.open(io.BytesIO(png)))


def test_no_box_no_colour() -> None:
    assert not drawn([], ()).any()


def test_classes_have_colours_of_their_own() -> None:
    picture = drawn([[10, 60, 30, 80], [80, 60, 100, 80]], ("a", "b"))
    assert (picture[70, 10] != picture[70, 80]).any()
    assert picture[70, 10].any()
    assert not picture[70, 20].any()


def test_labels_do_not_cover_other_boxes() -> None:
    """The first label would lie on the second box if it stood above its own."""
    picture = drawn([[20, 50, 40, 70], [20, 36, 40, 49]], ("a", "a"))
    assert not picture[38:47, 22:38].any()
    assert picture[70:76, 20:40].any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(EDGE, EDGE, EDGE, EDGE), max_size=6))
def test_any_boxes_can_be_drawn(edges: list[tuple[float, float, float, float]]) -> None:
    boxes = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in edges]
    assert drawn(boxes, ("b",) * len(boxes)).shape == (128, 128, 3)
