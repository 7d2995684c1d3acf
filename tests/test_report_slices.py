"""Example slices: which cases and which slice are shown, and that pictures show what is in the arrays."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from nas.html.slices import COLOURS, Example, chosen_cases, slices_section

CLASSES = ("background", "grey <matter>", "white matter")


def pictures(page: str) -> list[np.ndarray]:
    """(H, W, 3) as floats, with the first row of the data first again."""
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    return [imread(io.BytesIO(base64.b64decode(one)))[::-1, :, :3] for one in found]


@pytest.mark.parametrize(
    ("dice", "chosen"),
    [([0.5, 0.9, 0.1, 0.7, 0.6], [2, 4, 1]), ([0.5, np.nan, 0.2], [2, 0]), ([np.nan], []), ([0.3], [0])],
)
def test_worst_middle_and_best(dice: list[float], chosen: list[int]) -> None:
    assert chosen_cases(np.array(dice)) == chosen


def test_the_slice_with_most_of_the_classes_is_shown_in_colours() -> None:
    image = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    truth = np.zeros((4, 5, 6), dtype=np.uint8)
    truth[1, 0, 0] = 1
    truth[2, :2, 3:] = 2
    guess = np.zeros_like(truth)
    guess[2, 4, 0] = 1
    page = slices_section([Example("block <7>", image, truth, guess, 0.25)], CLASSES)
    assert "block &lt;7&gt;, slice 3 of 4: Dice 0.250" in page
    assert "grey &lt;matter&gt;" in page
    grey, shown_truth, shown_guess = pictures(page)
    np.testing.assert_allclose(grey[..., 0], (image[2] - 60) / 29, atol=1 / 255)
    np.testing.assert_array_equal((shown_truth != grey).any(axis=2), truth[2] > 0)
    np.testing.assert_array_equal((shown_guess != grey).any(axis=2), guess[2] > 0)
    expected = 0.45 * grey[1, 4] + 0.55 * np.array(COLOURS[1]) / 255
    np.testing.assert_allclose(shown_truth[1, 4], expected, atol=1 / 255)


def test_a_slice_of_its_own_and_a_constant_image() -> None:
    mask = np.eye(4, dtype=np.uint8)
    page = slices_section([Example("s", np.full((4, 4), 7.0), mask, mask, 1.0)], CLASSES)
    assert "slice" not in page.split("<table>")[1]
    grey, truth, guess = pictures(page)
    assert (grey == 0).all()
    np.testing.assert_array_equal(truth, guess)
