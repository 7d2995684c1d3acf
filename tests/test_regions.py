"""Regions that are unions of classes: MONAI's Dice and distances, and the three rules for an empty region."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_hausdorff_distance

from nas.data.sources.brats import REGIONS
from nas.errors import NASError
from nas.metrics.regions import region_metrics

MM = (2.0, 1.0, 0.5)
volumes = arrays(np.uint8, (6, 7, 5), elements=st.integers(0, 3))


@settings(max_examples=25, deadline=None)
@given(volumes, volumes)
def test_unions_are_measured_as_monai_does(guess: np.ndarray, truth: np.ndarray) -> None:
    guess[0, 0, 0] = truth[-1, -1, -1] = 3  # of every region there is something
    found = region_metrics(guess, truth, REGIONS, MM)
    for name, labels in {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}.items():
        pair = [torch.from_numpy(np.isin(volume, list(labels)))[None, None].float() for volume in (guess, truth)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            distance = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=MM)
        assert found[name]["dice"] == pytest.approx(float(compute_dice(*pair)), abs=1e-6)
        assert found[name]["hd95"] == pytest.approx(float(distance), rel=1e-5)


def test_necrosis_counts_for_the_core_and_oedema_does_not() -> None:
    truth, guess = (np.zeros((4, 4, 4), dtype=np.uint8) for _ in range(2))
    truth[0], truth[1], truth[2] = 1, 2, 3
    guess[0], guess[1], guess[2] = 3, 2, 1  # the core's classes exchanged
    found = region_metrics(guess, truth, REGIONS, MM)
    assert [found[name]["dice"] for name in ("WT", "TC", "ET")] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("empty", "expected"), [("one", (1.0, 0.0)), ("zero", (0.0, 373.13)), ("skip", (np.nan, np.nan))]
)
def test_a_region_neither_there_nor_predicted(empty: str, expected: tuple[float, float]) -> None:
    truth = np.zeros((155, 240, 240), dtype=np.uint8)
    truth[50:53, 100:103, 100:103] = 2
    found = region_metrics(truth, truth, REGIONS, (1, 1, 1), empty)
    assert (found["WT"]["dice"], found["WT"]["hd95"]) == (1.0, 0.0)
    for name in ("TC", "ET"):
        np.testing.assert_allclose((found[name]["dice"], found[name]["hd95"]), expected, atol=0.005)


@pytest.mark.parametrize("empty", ["one", "zero", "skip"])
def test_a_region_only_there_or_only_predicted_is_wrong_under_every_rule(empty: str) -> None:
    truth = np.zeros((6, 7, 5), dtype=np.uint8)
    guess = truth.copy()
    guess[3, 3, 3] = 3
    diagonal = float(np.linalg.norm(np.multiply((6, 7, 5), MM)))
    for pair in ((guess, truth), (truth, guess)):
        found = region_metrics(*pair, REGIONS, MM, empty)
        assert found["ET"] == {"dice": 0.0, "hd95": pytest.approx(diagonal), "surface_dice": 0.0}


def test_another_rule_and_another_shape() -> None:
    volume = np.zeros((2, 2, 2), dtype=np.uint8)
    with pytest.raises(NASError, match="one, zero, skip"):
        region_metrics(volume, volume, REGIONS, MM, "ignore")
    with pytest.raises(NASError, match="one shape"):
        region_metrics(volume, volume[1:], REGIONS, MM)
