"""Patches with a stated share around the foreground."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.sources.msd import Msd
from nas.data.transforms.patches import LOCATED, Patches, bounds, draw
from nas.errors import NASError


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 99), st.integers(1, 30))
def test_a_share_of_the_patches_holds_foreground(share: float, seed: int, per_volume: int) -> None:
    """Also of every batch; classes of a volume are equally probable, and the others lie anywhere in the volume."""
    located = np.full((3, 3, LOCATED), 0, dtype=np.int32)
    located[0, 1], located[0, 2], located[1, 2] = 13, 21, 42  # volume 1 lacks class 1, volume 2 all of them
    located[1, 1] = located[2, 1:] = -1
    shape, extents = (4, 4, 4), np.array([[4, 4, 4], [4, 4, 4], [2, 4, 4]])
    drawn = draw(Patches((2, 2, 2), per_volume, share), shape, extents, located, torch.Generator().manual_seed(seed))
    forced = drawn.classes_P >= 0
    assert not forced[drawn.rows_P == 2].any()
    assert (drawn.classes_P[drawn.rows_P == 1] != 1).all()
    assert (drawn.classes_P != 0).all()
    for size in (4, 3 * per_volume):
        for first in range(0, len(forced), size):
            batch = slice(first, first + size)
            able = drawn.rows_P[batch] < 2
            assert forced[batch].sum() <= np.ceil(share * len(able)) + 1
            assert forced[batch].sum() >= np.floor(share * len(able)) - 1 - (~able).sum()
    for row, number, corner in zip(drawn.rows_P, drawn.classes_P, drawn.corners_P3, strict=True):
        if number >= 0:
            centre = np.unravel_index(located[row, number, 0], shape)
            assert ((corner <= centre) & (centre < corner + 2)).all()
    low_N3, high_N3 = bounds(shape, extents)
    assert (drawn.corners_P3 >= low_N3[drawn.rows_P]).all()
    assert (drawn.corners_P3 + 2 <= high_N3[drawn.rows_P]).all()


def test_patches_without_a_share_are_described_as_by_earlier_versions() -> None:
    assert str(Patches((2, 2, 2), 3)) == "Patches(size_DHW=(2, 2, 2), per_volume=3)"
    assert set(Patches((2, 2, 2)).identity) == {"class", "size_DHW", "per_volume"}
    chosen = Patches((2, 2, 2), 3, 0.33)
    assert str(chosen) == "Patches(size_DHW=(2, 2, 2), per_volume=3, foreground=0.33)"
    assert chosen.identity["foreground"] == 0.33
    everywhere = draw(
        Patches((1, 1, 1), 4000, 0.0),
        (2, 2, 2),
        np.full((1, 3), 2),
        np.zeros((1, 2, LOCATED), np.int32),
        torch.Generator().manual_seed(0),
    )
    counts = np.unique(everywhere.corners_P3, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert counts.min() > 400
    with pytest.raises(NASError, match=r"data.foreground=0.33 without data.patch"):
        Msd("data", foreground=0.33)
