"""Stores whose samples have a real number each, as a regression needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.errors import NASError

VALUES = (1.5, -2.25, 0.1, 40.0, 3.0, 7.5)


def samples() -> list[Sample]:
    volume = np.zeros((1, 2, 2, 2), dtype=np.float32)
    return [Sample(f"s{n}", volume + n, 0, f"p{n}", value=value) for n, value in enumerate(VALUES)]


def store_of(path: Path, rows: list[Sample]) -> VolumeStore:
    return write_store(path, rows, name="toy", classes=("volume",), provenance={})


def test_numbers_are_targets(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store.h5", samples())
    assert store.kind == "regression"
    np.testing.assert_array_equal(store.targets([3, 1]), np.float32([40.0, -2.25]))
    assert store.sample(2).value == np.float32(0.1)
    store.verify()
    (_, y), *_ = VolumeSet(store, [4, 0], "cpu").batches(2)
    assert y.tolist() == [3.0, 1.5]
    assert len(Split(store, folds=3).test) == 2


def test_numbers_decide_the_hash(tmp_path: Path) -> None:
    rows = samples()
    other = [replace(rows[0], value=1.25), *rows[1:]]
    assert store_of(tmp_path / "a.h5", rows).sha256 != store_of(tmp_path / "b.h5", other).sha256


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_sample_without_a_number(tmp_path: Path, value: float | None) -> None:
    rows = samples()
    with pytest.raises(NASError, match="value"):
        store_of(tmp_path / "store.h5", [*rows[:2], replace(rows[2], value=value)])
