"""Boxes on their way from a source to a batch: the store, its hash, splits, and changes that move them along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.loading import VolumeSet
from nas.data.sample import Sample
from nas.data.sources.prepared import PreparedStore
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.data.transforms.augment import Augment
from nas.errors import NASError


def samples(count: int = 12, depth: int = 1) -> list[Sample]:
    """Patients of two images; the second one of each is without a box, and every third image has two."""
    found = []
    for number in range(count):
        boxes = [[0, 1, 2, depth, 5, 7, number % 4 // 2], [0, 0, 0, depth, 1, 1.5, 0]][: [1, 0, 2][number % 3]]
        volume = np.full((1, depth, 8, 8), number, dtype=np.uint8)
        its = np.array(boxes, dtype=np.float32).reshape(-1, 7)
        found.append(Sample(f"s{number}", volume, 0, f"p{number // 2}", boxes_M7=its))
    return found


def written(path: Path, *args: Sample) -> VolumeStore:
    return write_store(path, args or samples(), name="boxes", classes=("a", "b"), provenance={}, scale=1 / 255)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = written(tmp_path / "s.h5")
    assert (store.kind, store.dims) == ("detection", 2)
    assert store.boxes_NM7 is not None
    assert store.boxes_NM7.shape == (12, 2, 7)
    np.testing.assert_array_equal(store.targets([2, 1])[0], [[1, 2, 5, 7, 1], [0, 0, 1, 1.5, 0]])
    assert (store.targets([1])[0, :, -1] == -1).all()
    store.verify()
    solid = written(tmp_path / "solid.h5", *samples(depth=4))
    np.testing.assert_array_equal(solid.targets([0])[0, 0], [0, 1, 2, 4, 5, 7, 0])
    for row, sample in enumerate(samples()):
        np.testing.assert_array_equal(store.sample(row).boxes_M7, sample.boxes_M7)  # type: ignore[arg-type]


def test_the_hash_knows_the_boxes(tmp_path: Path) -> None:
    store, changed = written(tmp_path / "a.h5"), samples()
    moved = np.array([[0, 1.5, 2.5, 1, 5.5, 7.5, 0]], dtype=np.float32)
    changed[0] = replace(changed[0], boxes_M7=moved)
    assert written(tmp_path / "b.h5", *changed).sha256 != store.sha256
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["boxes"][0, 0, 3] = 0.75
    with pytest.raises(NASError, match="hash"):
        VolumeStore(tmp_path / "a.h5").verify()


@pytest.mark.parametrize(
    "box", [[0, 1, 1, 1, 1, 2, 0], [0, -1, 0, 1, 2, 2, 0], [0, 0, 0, 1, 9, 2, 0], [0, 0, 0, 1, 2, 2, 2]]
)
def test_boxes_that_are_none(tmp_path: Path, box: list[float]) -> None:
    bad = replace(samples()[0], boxes_M7=np.array([box], dtype=np.float32))
    with pytest.raises(NASError, match="the box"):
        written(tmp_path / "s.h5", bad)
    with pytest.raises(NASError, match="without boxes"):
        written(tmp_path / "s.h5", samples()[0], replace(samples()[1], boxes_M7=None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_resident_mb", [2048, 0])
def test_batches_hold_boxes(tmp_path: Path, max_resident_mb: float) -> None:
    store = written(tmp_path / "s.h5")
    part = VolumeSet(store, [3, 0, 2], "cpu", max_resident_mb)
    ((x_BCHW, y),) = part.batches(4)
    assert (x_BCHW.shape, y.shape, y.dtype) == ((3, 1, 8, 8), (3, 2, 5), torch.float32)
    np.testing.assert_array_equal(y.numpy(), part.targets)


def test_splits_by_patient_with_every_class_in_every_fold(tmp_path: Path) -> None:
    store = written(tmp_path / "s.h5", *samples(48))
    split = Split(store, folds=3)
    for part in (split.test, *split.search):
        assert len(part)
    assert not set(store.groups[split.test]) & set(store.groups[np.concatenate(split.search)])
    one = write_store(
        tmp_path / "one.h5",
        [replace(sample, boxes_M7=sample.boxes_M7[:1] * ([1] * 6 + [0])) for sample in samples(48)],  # type: ignore[index]
        name="one",
        classes=("a",),
        provenance={},
    )
    assert len(Split(one, folds=3).test)  # one class of objects is enough
    with pytest.raises(NASError, match="all of a, b, c"):
        Split(write_store(tmp_path / "c.h5", samples(), name="c", classes=("a", "b", "c"), provenance={}))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 3]), st.integers(0, 2**31), st.integers(0, 3), st.sets(st.sampled_from([0, 1, 2])))
def test_boxes_move_with_their_voxels(dims: int, seed: int, shift: int, flip: set[int]) -> None:
    """A solid box in an empty image, mirrored and shifted, is where the moved box says, as far as the image reaches."""
    rng = np.random.default_rng(seed)
    side = 10
    low = rng.integers(3, 6, (2, dims))
    high = low + rng.integers(1, 3, (2, dims))  # never within 2 voxels of the edge, whose values a shift repeats
    x = torch.zeros(2, 1, *(side,) * dims)
    for image, first, last in zip(x, low, high, strict=True):
        image[(0, *(slice(a, b) for a, b in zip(first, last, strict=True)))] = 1
    boxes = torch.from_numpy(np.hstack([low, high, [[0], [1]]])[:, None]).float()
    augment = Augment(flip=tuple(flip), shift=shift)
    generator = torch.Generator().manual_seed(seed)
    moved, y = augment.of_batch(x, boxes, generator)
    plain = augment(x, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(moved, plain)  # an image is changed as it is without boxes
    for image, box in zip(moved, y, strict=True):
        place = torch.nonzero(image[0])
        expected = torch.cat([place.amin(dim=0), place.amax(dim=0) + 1]).float()
        torch.testing.assert_close(box[0, :-1], expected)
    assert y[:, 0, -1].tolist() == [0, 1]


def test_a_box_that_leaves_the_image_is_no_target() -> None:
    x, boxes = torch.zeros(64, 1, 8, 8), torch.tensor([[[0.0, 0, 1, 2, 0], [0.0, 0, 8, 8, 0]]]).expand(64, -1, -1)
    _, y = Augment(shift=3).of_batch(x, boxes, torch.Generator().manual_seed(0))
    gone = y[:, 0, -1] == -1
    assert gone.any()
    assert not gone.all()
    assert (y[:, 1, -1] == 0).all()
    assert (y[..., :-1] >= 0).all()
    assert (y[..., :-1] <= 8).all()
    kept = y[~gone][:, 0]
    assert (kept[:, :2] < kept[:, 2:4]).all()


def test_boxes_cannot_be_turned() -> None:
    for augment in (Augment(rotate=10), Augment(scale=0.1)):
        with pytest.raises(NASError, match=r"training\.augment\.rotate=0"):
            augment.of_batch(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 5), torch.Generator())


def test_a_prepared_store_is_read_where_it_lies(tmp_path: Path) -> None:
    store = written(tmp_path / "s.h5")
    source = PreparedStore(str(store.path), str(tmp_path / "cache"))
    assert source.prepare().sha256 == store.sha256
    assert [one.name for one in source.samples()] == store.names.tolist()
    assert not (tmp_path / "cache").exists()
    with pytest.raises(NASError, match=r"data\.path"):
        PreparedStore(None, str(tmp_path)).prepare()
