"""FROC and CPM against a reckoning by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NASError
from nas.metrics.froc import RATES, Findings, froc
from tests.scans import SCORES, drawn_scans

CENTRES = np.array([[0.0, 0, 0], [50, 0, 0], [100, 0, 0]])
RADII = np.array([5.0, 5, 5])


def test_a_scan_reckoned_by_hand() -> None:
    """Scores 9 and 7 hit the first nodule, 8 is false, 6 hits the second, 5 the excluded third, 4 is false."""
    candidates = np.array([[1.0, 0, 0], [4.9, 0, 0], [25, 0, 0], [50, 4, 0], [100, 0, 1], [0, 5, 0]])
    scores = np.array([9.0, 7, 8, 6, 5, 4])
    one = Findings(candidates, scores, CENTRES, RADII, np.array([False, False, True]))
    empty = Findings(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(0))
    curve = froc([one, empty])
    assert curve.nodules == 2
    assert curve.never_hit == 0
    assert list(zip(curve.false_positives, curve.sensitivity, strict=True)) == [
        (0, 0.5),  # at 9
        (0.5, 0.5),  # at 8: one false in two scans
        (0.5, 1.0),  # at 6
        (1.0, 1.0),  # at 4
    ]
    assert [curve.at(rate) for rate in (0, 0.49, 0.5)] == [0.5, 0.5, 1.0]
    assert curve.cpm == pytest.approx((0.5 + 0.5 + 5 * 1.0) / 7)


def test_nothing_found_and_everything_found() -> None:
    nothing = froc([Findings(np.zeros((0, 3)), np.zeros(0), CENTRES, RADII)])
    assert (nothing.cpm, nothing.never_hit) == (0.0, 3)
    assert froc([Findings(CENTRES, np.ones(3), CENTRES, RADII)]).cpm == 1.0
    with pytest.raises(NASError, match="no nodule"):
        froc([Findings(CENTRES, np.ones(3), np.zeros((0, 3)), np.zeros(0))])
    with pytest.raises(NASError, match="not finite"):
        froc([Findings(CENTRES, np.full(3, np.nan), CENTRES, RADII)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_agrees_with_counting_at_every_threshold(seed: int) -> None:
    scans = drawn_scans(seed)
    curve = froc(scans)
    points = [(0.0, 0.0)]
    for threshold in range(SCORES, -1, -1):
        caught = alarms = nodules = 0
        for scan in scans:
            kept = [point for point, score in zip(scan.candidates_N3, scan.scores_N, strict=True) if score >= threshold]
            assert scan.excluded_M is not None
            pairs = list(zip(scan.centres_M3, scan.radii_M, scan.excluded_M, strict=True))
            for centre, radius, excluded in pairs:
                nodules += not excluded
                caught += not excluded and any(np.linalg.norm(point - centre) < radius for point in kept)
            alarms += sum(all(np.linalg.norm(point - c) >= r for c, r, _ in pairs) for point in kept)
        points.append((alarms / len(scans), caught / nodules))
    for rate in RATES:
        assert curve.at(rate) == pytest.approx(np.interp(rate, *zip(*points, strict=True)))
