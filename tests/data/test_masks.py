"""Masks beside volumes: the store, its hashes, batches, slices, splits, and augmentation that moves both alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.data.transforms.augment import Augment
from nas.errors import NASError
from tests.data.test_store import SETTINGS, toy_samples

CLASSES = ("background", "organ", "tumour")


def masked_samples(n: int = 12, sides: tuple[int, int, int] = (4, 5, 6)) -> list[Sample]:
    """The volume is the mask times 100, so that one shows where the other should be."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (n, *sides)).astype(np.uint8)
    return [
        Sample(f"s{i}", 100 * mask[None], 0, f"p{i // 2}", (2.0, 1.0, 0.5), mask_DHW=mask)
        for i, mask in enumerate(masks)
    ]


def store_of(path: Path, samples: list[Sample]) -> VolumeStore:
    return write_store(path, samples, name="organs", classes=CLASSES, provenance={"unit": "scan"}, scale=0.01)


@pytest.fixture
def store(tmp_path: Path) -> VolumeStore:
    return store_of(tmp_path / "organs.h5", masked_samples())


@pytest.fixture
def slices(tmp_path: Path) -> VolumeStore:
    return store_of(tmp_path / "slices.h5", masked_samples(sides=(1, 5, 6)))


def test_masks_come_back_in_the_order_asked_for(store: VolumeStore) -> None:
    samples = masked_samples()
    assert (store.kind, store.dims, store.unit, store.input_shape) == ("segmentation", 3, "scan", (1, 4, 5, 6))
    found = store.targets([7, 0, 7])
    np.testing.assert_array_equal(found, [samples[i].mask_DHW for i in (7, 0, 7)])
    assert store.targets([]).shape == (0, 4, 5, 6)
    assert store.voxels_NK is not None
    np.testing.assert_array_equal(store.voxels_NK[3], np.bincount(samples[3].mask_DHW.ravel()))
    np.testing.assert_array_equal(store.voxel_mm([0, 1]), [[2.0, 1.0, 0.5]] * 2)
    store.verify()
    with pytest.raises(IndexError):
        store.targets([12])


def test_a_store_without_masks_is_what_it_was(tmp_path: Path) -> None:
    """The hash as the first version of the format wrote it."""
    store = write_store(tmp_path / "toy.h5", toy_samples(), **SETTINGS, scale=1 / 255, offset=-0.5)
    assert store.sha256 == "4e4fc461a9fa10712278a12b54f878585b65579c80060305a8c0e76f54763ae4"
    assert (store.kind, store.unit, store.voxels_NK) == ("classification", "patient", None)
    np.testing.assert_array_equal(store.targets([1, 2]), store.labels[[1, 2]])
    unknown = [replace(toy_samples()[0], spacing_mm=(float("nan"),) * 3)]
    assert write_store(tmp_path / "unknown.h5", unknown, **SETTINGS).voxel_mm([0]) is None


def test_the_hash_is_of_the_masks_too(tmp_path: Path, store: VolumeStore) -> None:
    samples = masked_samples()
    changed = samples[5].mask_DHW.copy()
    changed[0, 0, 0] = (changed[0, 0, 0] + 1) % 3
    other = store_of(tmp_path / "other.h5", [*samples[:5], replace(samples[5], mask_DHW=changed), *samples[6:]])
    assert other.sha256 != store.sha256
    with h5py.File(other.path, "r+") as file:
        file["masks"][2] = 0
    with pytest.raises(NASError, match="delete the file"):
        VolumeStore(other.path).verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:, :, :-1], "one grid"),
        (lambda mask: mask.astype(np.float32), "whole numbers"),
        (lambda mask: mask.astype(np.int16) - 1, "classes 0 to 2"),
        (lambda mask: mask + 1, "classes 0 to 2"),
        (lambda mask: None, "a mask for all samples or none"),
    ],
)
def test_masks_that_do_not_fit(tmp_path: Path, change: Callable[[np.ndarray], Any], message: str) -> None:
    samples = masked_samples()
    samples[3] = replace(samples[3], mask_DHW=change(samples[3].mask_DHW))
    with pytest.raises(NASError, match=message):
        store_of(tmp_path / "organs.h5", samples)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_batches_hold_volumes_and_their_masks(store: VolumeStore, max_resident_mb: float) -> None:
    part = VolumeSet(store, [8, 1, 4, 6, 11], "cpu", max_resident_mb)
    batches = list(part.batches(2, generator=torch.Generator().manual_seed(0)))
    for x, y in batches:
        assert x.shape[1:] == (1, 4, 5, 6)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        torch.testing.assert_close(x[:, 0], y.float())
    assert sum(len(y) for _, y in batches) == 5
    np.testing.assert_array_equal(part.targets, store.targets(part.indices))


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_slices_have_two_dimensions(slices: VolumeStore, max_resident_mb: float) -> None:
    assert (slices.dims, slices.shape, slices.input_shape) == (2, (1, 1, 5, 6), (1, 5, 6))
    part = VolumeSet(slices, range(4), "cpu", max_resident_mb)
    assert part.shape == (1, 5, 6)
    ((x, y),) = part.batches(4)
    assert (x.shape, y.shape) == ((4, 1, 5, 6), (4, 5, 6))
    torch.testing.assert_close(x[:, 0], y.float())
    np.testing.assert_array_equal(slices.voxel_mm([0]), [[1.0, 0.5]])


def test_folds_by_group_each_with_every_class(store: VolumeStore, tmp_path: Path) -> None:
    split = Split(store, folds=3)
    assert split.unit == "scan"
    for group in np.unique(store.groups):
        assert len(set(split.fold[store.groups == group])) == 1
    rare = [replace(s, mask_DHW=s.mask_DHW % 2 if i else s.mask_DHW) for i, s in enumerate(masked_samples())]
    with pytest.raises(NASError, match="no tumour in fold"):
        Split(store_of(tmp_path / "rare.h5", rare), folds=3)
    none = [replace(s, mask_DHW=s.mask_DHW % 2) for s in masked_samples()]
    with pytest.raises(NASError, match="tumour"):
        Split(store_of(tmp_path / "none.h5", none), folds=3)
    with pytest.raises(NASError, match="6 scans for 7 folds"):
        Split(store, folds=7)


def batch(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.randint(0, 3, (8, *(6, 7, 8)[-dims:]), generator=torch.Generator().manual_seed(1))
    return mask[:, None].float(), mask


@settings(max_examples=40, deadline=None)
@given(
    dims=st.sampled_from([2, 3]),
    flip=st.sets(st.integers(0, 2)),
    shift=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_flips_and_shifts_move_both_alike(dims: int, flip: set[int], shift: int, seed: int) -> None:
    x, mask = batch(dims)
    augment = Augment(flip=sorted(flip), shift=shift)
    moved, moved_mask = augment.with_mask(x, mask, torch.Generator().manual_seed(seed))
    assert moved_mask.dtype == mask.dtype
    torch.testing.assert_close(moved[:, 0], moved_mask.float(), rtol=0, atol=0)
    torch.testing.assert_close(moved, augment(x, torch.Generator().manual_seed(seed)), rtol=0, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_turned_block_stays_on_its_mask(dims: int) -> None:
    """Trilinear and nearest sampling agree wherever the volume is locally constant; classes stay whole numbers."""
    mask = torch.zeros(16, *(20,) * dims, dtype=torch.int64)
    mask[(slice(None), *(slice(4, 12),) * dims)] = 2
    augment = Augment(rotate=30, scale=0.2)
    moved, moved_mask = augment.with_mask(mask[:, None].float(), mask, torch.Generator().manual_seed(0))
    assert set(moved_mask.unique().tolist()) == {0, 2}
    certain = (moved[:, 0] < 0.01) | (moved[:, 0] > 1.99)
    assert certain.float().mean() > 0.5
    torch.testing.assert_close(moved[:, 0][certain], moved_mask[certain].float(), rtol=0, atol=0.02)
    assert not torch.equal(moved_mask, mask)
    if dims == 2:  # a turn out of the plane would smear the slice
        areas = moved_mask.gt(0).flatten(1).sum(1) / mask.gt(0).flatten(1).sum(1)
        assert ((areas > 0.8**2 * 0.85) & (areas < 1.2**2 * 1.15)).all()


def test_cutout_leaves_masks_alone() -> None:
    x, mask = batch(3)
    moved, moved_mask = Augment(cutout=4).with_mask(x + 1, mask, torch.Generator().manual_seed(0))
    assert torch.equal(moved_mask, mask)
    assert (moved == 0).flatten(1).sum(1).tolist() == [64] * 8
