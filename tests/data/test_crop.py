"""The box in the middle of volumes: what is stored, what is lost, and predictions of new scans."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nas.data.sources.msd import Msd
from nas.data.transforms.preparation import Prepared, middle_box, prepared
from tests.data.written_decathlon import prepared as store_of
from tests.data.written_decathlon import write_decathlon


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=3, max_size=3))
def test_the_box_is_in_the_middle(sides: list[tuple[int, int]]) -> None:
    for (whole, crop), box in zip(sides, middle_box(*zip(*sides, strict=True)), strict=True):
        before, after = box.start, whole - box.stop
        assert box.stop - box.start == min(whole, crop)
        assert 0 <= before <= after <= before + 1


def test_only_the_box_is_stored_and_what_is_lost_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_decathlon(tmp_path)
    whole = store_of(root)
    with caplog.at_level(logging.INFO):
        store = store_of(root, crop=(6, 8, 24))
    assert store.shape == (1, 6, 8, 24)
    labelled = lost = 0
    for row, extent in enumerate(whole.extents_N3.tolist()):
        inner = tuple((side - own) // 2 for side, own in zip(whole.shape[1:], extent, strict=True))
        box = tuple(
            slice(first + part.start, first + part.stop)
            for first, part in zip(inner, middle_box(extent, (6, 8, 24)), strict=True)
        )
        own = tuple(
            slice((side - n) // 2, (side - n) // 2 + n)
            for side, n in zip(store.shape[1:], store.extents_N3[row].tolist(), strict=True)
        )
        assert store.extents_N3[row].tolist() == [6, 8, extent[2]]  # a smaller side is padded
        np.testing.assert_array_equal(
            store.read([row])[0][(slice(None), *own)], whole.read([row])[0][(slice(None), *box)]
        )
        mask = whole.targets([row])[0]
        np.testing.assert_array_equal(store.targets([row])[0][own], mask[box])
        labelled, lost = labelled + (mask > 0).sum(), lost + (mask > 0).sum() - (mask[box] > 0).sum()
    assert lost > 0
    assert f"leaves out {100 * lost / labelled:.2f} % of the labelled voxels" in caplog.text


def test_it_is_part_of_the_identity(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path)
    plain, cropped = Msd(root), Msd(root, crop=8)
    assert plain.arguments()["crop"] is None
    assert "crop" not in plain.preparation()
    assert cropped.arguments()["crop"] == cropped.preparation()["crop"] == (8, 8, 8)
    assert plain.store_path() != cropped.store_path()


@pytest.mark.parametrize("normalise", ["volume", "training"])
def test_a_new_scan_is_cut_as_the_stored_ones(tmp_path: Path, normalise: str) -> None:
    root = write_decathlon(tmp_path)
    source = Msd(root, crop=(6, 8, 24), normalise=normalise, cache_dir=tmp_path / "cache")
    store, path = source.prepare(), sorted((root / "imagesTr").iterdir())[0]
    how = {**source.preparation(), "intensity": {"low_C": [-1e9], "high_C": [1e9], "mean_C": [0.0], "std_C": [1.0]}}
    ready = prepared(path, how)
    stored = store.read([0])[0]
    sides = store.extents_N3[0].tolist()
    own = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(store.shape[1:], sides, strict=True))
    np.testing.assert_allclose(ready.x_CDHW, stored[(slice(None), *own)], atol=1e-5)
    prob = np.zeros((3, *ready.x_CDHW.shape[1:]), dtype=np.float32)
    prob[2] = 1
    whole = ready.on_whole_grid(prob)
    assert whole.shape[1:] == ready.grid.GetSize()[::-1]
    assert (whole.argmax(axis=0) == 2).sum() == prob[2].size
    assert (whole.argmax(axis=0)[ready.box_DHW] == 2).all()
    np.testing.assert_array_equal(whole.sum(axis=0), 1)


def test_without_a_box_nothing_changes() -> None:
    prob = np.ones((2, 3, 3, 3))
    assert (
        Prepared(prob, sitk.Image(3, 3, 3, sitk.sitkFloat32), sitk.Image(3, 3, 3, sitk.sitkFloat32)).on_whole_grid(prob)
        is prob
    )
