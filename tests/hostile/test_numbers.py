"""Numbers of files whose checksums a stranger can make as well: tables of latencies and stores of volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nas.cost.latency import LatencyTable
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.errors import NASError


@pytest.mark.parametrize(
    ("check", "median"),
    [({"median_error": "0.1"}, 1.0), ({"median_error": None}, 1.0), (5, 1.0), ({}, "1.0"), ({}, -1.0), ({}, 10**400)],
)
def test_C3_F3_numbers_of_a_latency_table(tmp_path: Path, check: Any, median: Any) -> None:
    table = LatencyTable.of({"batch": 1, "check": check}, {"stem": {"median": median}})  # with the right checksum
    table.save(tmp_path / "t.json")
    with pytest.raises(NASError, match="a file written by `voxnas cost`"):
        LatencyTable.load(tmp_path / "t.json")


@pytest.mark.parametrize("labels", [np.full(4, np.nan), np.full(4, 1.5), np.full(4, b"1")])
def test_C4_labels_of_a_store_that_are_no_whole_numbers(tmp_path: Path, labels: np.ndarray) -> None:
    path = tmp_path / "store.h5"
    samples = [
        Sample(f"s{number}", np.zeros((1, 4, 4, 4), np.float32), number % 2, f"p{number}") for number in range(4)
    ]
    write_store(path, samples, name="drawn", classes=("a", "b"), provenance={})
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = labels
    with pytest.raises(NASError, match="labels of type"):
        VolumeStore(path)
