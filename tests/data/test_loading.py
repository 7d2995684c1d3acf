"""Batches of a part of a store: which rows are read, in which order, and that both ways of reading agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.loading import VolumeSet, plan_batches
from nas.data.store import VolumeStore
from nas.errors import NASError
from tests.training.blobs import blob_store


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return blob_store(tmp_path / "blobs.h5", 20)


class Watched(VolumeStore):
    """The real store, which also remembers the rows it was asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: set[int] = set()

    def read(self, indices):  # type: ignore[no-untyped-def]
        self.asked |= set(map(int, indices))
        return super().read(indices)


@pytest.mark.parametrize(("n", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (9, 4), (955, 32)])
def test_batches_are_even_few_and_complete(n: int, size: int) -> None:
    plan = plan_batches(n, size)
    lengths = [len(rows) for rows in plan]
    assert np.concatenate([np.empty(0, int), *plan]).tolist() == list(range(n))
    assert len(plan) == -(-n // size)
    assert all(length <= size for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_in_order_values_are_scaled_and_exact(store: VolumeStore, max_resident_mb: float) -> None:
    rows = [3, 19, 0, 7, 11]
    part = VolumeSet(store, rows, "cpu", max_resident_mb)
    assert part.resident == (max_resident_mb > 0)
    x, y = (torch.cat(column) for column in zip(*part.batches(2), strict=True))
    expected = store.read(rows).astype(np.float32) * np.float32(store.scale) + np.float32(store.offset)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(y.numpy(), store.labels[rows])
    np.testing.assert_array_equal(part.labels, store.labels[rows])
    assert part.shape == (1, 8, 8, 8)
    assert len(part) == 5


def test_shuffled_batches_hold_every_sample_once_and_repeat_with_the_seed(store: VolumeStore) -> None:
    resident, streamed = (VolumeSet(store, range(20), "cpu", limit) for limit in (2048, 0))

    def volumes(part: VolumeSet, seed: int) -> torch.Tensor:
        return torch.cat([x for x, _ in part.batches(6, generator=torch.Generator().manual_seed(seed))])

    first = volumes(resident, 1)
    assert torch.equal(first, volumes(streamed, 1))
    assert not torch.equal(first, volumes(resident, 2))
    in_order = torch.cat([x for x, _ in resident.batches(6)])
    assert torch.equal(first.flatten(1).sum(1).sort().values, in_order.flatten(1).sum(1).sort().values)
    assert not torch.equal(first, in_order)


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_ranks_share_every_batch(store: VolumeStore, max_resident_mb: float) -> None:
    part = VolumeSet(store, range(20), "cpu", max_resident_mb)
    whole = list(part.batches(6, generator=torch.Generator().manual_seed(1)))
    shares = [list(part.batches(6, generator=torch.Generator().manual_seed(1), rank=r, world=2)) for r in (0, 1)]
    for (x, y), (x0, y0), (x1, y1) in zip(whole, *shares, strict=True):
        assert torch.equal(x[0::2], x0)
        assert torch.equal(x[1::2], x1)
        assert torch.equal(torch.cat([y[0::2], y[1::2]]), torch.cat([y0, y1]))


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_only_the_named_rows_are_read(store: VolumeStore, max_resident_mb: float) -> None:
    watched = Watched(store.path)
    part = VolumeSet(watched, [2, 5, 8], "cpu", max_resident_mb)
    assert [len(y) for _, y in part.batches(2)] == [2, 1]
    assert watched.asked <= {2, 5, 8}


def test_a_stopped_pass_leaves_no_thread_behind(store: VolumeStore) -> None:
    import threading

    batches = VolumeSet(store, range(20), "cpu", 0).batches(4)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("volumes")]


def test_an_empty_part_has_no_batches(store: VolumeStore) -> None:
    assert list(VolumeSet(store, [], "cpu").batches(4)) == []


@pytest.mark.parametrize("rows", [[20], [-1]])
def test_a_row_outside_the_store_is_reported(store: VolumeStore, rows: list[int]) -> None:
    with pytest.raises(NASError, match="rows 0 to 19"):
        VolumeSet(store, rows, "cpu")
