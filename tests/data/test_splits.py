"""No patient on both sides, every sample in one fold, the search never sees the test fold; and every bad input."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.data.sample import Sample
from nas.data.sources.lidc_shapes import LidcShapes
from nas.data.splits import Fold, Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.errors import NASError

VOXEL = np.zeros((1, 1, 1, 1), dtype=np.uint8)


def store_of(
    path: Path,
    labels: list[int],
    groups: list[str],
    folds: list[str] | None = None,
    classes: tuple[str, ...] = ("a", "b"),
) -> VolumeStore:
    folds = folds or [""] * len(labels)
    rows = enumerate(zip(labels, groups, folds, strict=True))
    samples = [Sample(f"s{i}", VOXEL, label, group, fold=fold) for i, (label, group, fold) in rows]
    return write_store(path / "store.h5", samples, name="toy", classes=classes, provenance={})


def patients(n: int, each: int = 2) -> tuple[list[int], list[str]]:
    """n patients with `each` samples of both classes in turn."""
    return [i % 2 for i in range(n * each)], [f"p{i // each}" for i in range(n * each)]


def check_round(part: Fold, store: VolumeStore) -> None:
    sides = [part.train, part.valid, part.test]
    assert sorted(np.concatenate(sides).tolist()) == list(range(len(store)))
    for rows in sides:
        assert (np.diff(rows) > 0).all()
        assert set(store.labels[rows]) == set(store.labels)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(store.groups[sides[one]]) & set(store.groups[sides[other]])


def check_split(split: Split, store: VolumeStore) -> None:
    assert split.fold.shape == (len(store),)
    assert set(split.fold) == set(range(split.folds))
    for group in set(store.groups):
        assert len(set(split.fold[store.groups == group])) == 1
    holdout, cross = split.holdout_rounds(), split.cross_validation_rounds()
    for part in (*holdout, *cross):
        check_round(part, store)
    assert len(holdout) == split.folds - 1
    assert len(cross) == split.folds
    assert all(np.array_equal(part.test, split.test) for part in holdout)
    assert sorted(np.concatenate([part.valid for part in holdout]).tolist()) == sorted(
        set(range(len(store))) - set(split.test.tolist())
    )
    assert sorted(np.concatenate([part.test for part in cross]).tolist()) == list(range(len(store)))
    seen = np.concatenate(split.search)
    assert not set(store.groups[seen]) & set(store.groups[split.test])
    assert set(split.fold[split.search[1]]) == {(split.test_fold + 1) % split.folds}
    for names in ([part.name for part in holdout], [part.name for part in cross]):
        assert len(set(names)) == len(names)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_store_is_split_by_patient_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=3, max_size=25))
    groups = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(groups), max_size=len(groups)))
    order = data.draw(st.permutations(range(len(groups))))
    store = store_of(tmp_path, [labels[i] for i in order], [groups[i] for i in order])
    folds = data.draw(st.integers(3, 6))
    test_fold, seed = data.draw(st.integers(0, folds - 1)), data.draw(st.integers(0, 3))
    try:
        split = Split(store, folds, test_fold, seed)
    except NASError:  # too few patients, or a class too rare: anything else would be a traceback here
        return
    check_split(split, store)
    assert Split(store, folds, test_fold, seed).sha256 == split.sha256


@pytest.mark.parametrize("test_fold", range(5))
def test_enough_patients_are_always_split(tmp_path: Path, test_fold: int) -> None:
    store = store_of(tmp_path, *patients(25))
    check_split(Split(store, test_fold=test_fold), store)


def test_the_default_data_set(data_cache: Path) -> None:
    store = LidcShapes(str(data_cache), size=16, spacing_mm=2.0).prepare()
    split = Split(store)
    check_split(split, store)
    counts = np.bincount(split.fold)
    assert counts.min() > 0.85 * len(store) / 5
    assert counts.max() < 1.15 * len(store) / 5
    shares = [store.labels[split.fold == fold].mean() for fold in range(5)]
    assert np.abs(np.array(shares) - store.labels.mean()).max() < 0.05


def test_the_hash_changes_with_the_assignment_and_only_then(tmp_path: Path) -> None:
    store = store_of(tmp_path, *patients(25))
    base = Split(store)
    same, other = Split(store, seed=0), Split(store, seed=1)
    assert np.array_equal(base.fold, same.fold)
    assert base.sha256 == same.sha256
    assert not np.array_equal(base.fold, other.fold)
    hashes = [base.sha256, other.sha256, Split(store, folds=4).sha256, Split(store, test_fold=1).sha256]
    assert len(set(hashes)) == 4
    (tmp_path / "given").mkdir()
    given_same = store_of(tmp_path / "given", *patients(25), folds=[str(fold) for fold in base.fold])
    assert Split(given_same).sha256 == base.sha256  # who made the folds does not matter
    moved = base.fold.copy()
    moved[:2] = (moved[:2] + 1) % 5
    moved_store = store_of(tmp_path / "given", *patients(25), folds=[str(fold) for fold in moved])
    assert Split(moved_store).sha256 != base.sha256


def test_rounds_rotate(tmp_path: Path) -> None:
    split = Split(store_of(tmp_path, *patients(25)), test_fold=3)
    assert [int(split.fold[part.valid[0]]) for part in split.holdout_rounds()] == [4, 0, 1, 2]
    assert [int(split.fold[part.test[0]]) for part in split.cross_validation_rounds()] == [0, 1, 2, 3, 4]
    for before, after in pairwise(split.cross_validation_rounds()):
        np.testing.assert_array_equal(before.valid, after.test)
    first = split.holdout_rounds()[0]
    np.testing.assert_array_equal(split.search[0], first.train)
    np.testing.assert_array_equal(split.search[1], first.valid)


def test_given_folds_are_taken(tmp_path: Path) -> None:
    labels, groups = patients(20)
    folds = [str(int(group[1:]) % 10) for group in groups]
    store = store_of(tmp_path, labels, groups, folds)
    split = Split(store, folds=5, test_fold=9)
    assert split.folds == 10
    assert split.fold.tolist() == [int(fold) for fold in folds]
    check_split(split, store)
    assert Split(store, given=False).folds == 5
    assert Split(store, given=True, test_fold=9).sha256 == split.sha256


def test_an_official_split_is_one_round(tmp_path: Path) -> None:
    labels, groups = patients(20)
    parts = [("train", "train", "val", "test")[int(group[1:]) % 4] for group in groups]
    store = store_of(tmp_path, labels, groups, parts)
    split = Split(store)
    (only,) = split.holdout_rounds()
    check_round(only, store)
    assert set(store.folds[only.train]) == {"train"}
    assert set(store.folds[only.valid]) == {"val"}
    assert set(store.folds[split.test]) == {"test"}
    with pytest.raises(NASError, match="protocol to holdout"):
        split.cross_validation_rounds()
    check_split(Split(store, given=False), store)


def test_folds_of_a_part_of_the_samples_are_not_taken(tmp_path: Path) -> None:
    labels, groups = patients(20)
    store = store_of(tmp_path, labels, groups, [str(int(group[1:]) % 4) if i else "" for i, group in enumerate(groups)])
    split = Split(store)
    assert (split.given, split.folds) == (False, 5)
    check_split(split, store)


def test_the_hash_is_that_of_names_folds_and_test_fold(tmp_path: Path) -> None:
    """Written out: files of earlier versions hold it."""
    labels, groups = patients(3)
    store = store_of(tmp_path, labels, groups, ["train", "train", "val", "val", "test", "test"])
    rows = '[["s0", %d], ["s1", %d], ["s2", %d], ["s3", %d], ["s4", %d], ["s5", %d]]'

    def sha256(content: str) -> str:
        return hashlib.sha256(content.encode()).hexdigest()

    assert Split(store).sha256 == sha256(f"[{rows % (0, 0, 1, 1, 2, 2)}, true, 2]")
    overfit = Split(store, overfit=True)
    assert overfit.sha256 == sha256(f'[{rows % (0, 0, 0, 0, 0, 0)}, false, 0, "overfit"]')
    assert [part.name for part in overfit.holdout_rounds()] == ["overfit"]


def bad(message: str, labels: list[int], groups: list[str], parts: list[str] | None = None, **arguments: object):
    return pytest.param(labels, groups, parts, arguments, message, id=message)


@pytest.mark.parametrize(
    ("labels", "groups", "parts", "arguments", "message"),
    [
        bad("labels of 1 class", [0] * 20, [f"p{i}" for i in range(20)]),
        bad("4 patients for 5 folds", *patients(4)),
        bad("no b in fold", [0] * 19 + [1], [f"p{i}" for i in range(20)]),
        bad("split.test_fold=5", *patients(25), test_fold=5),
        bad("split.test_fold=-1", *patients(25), test_fold=-1),
        bad("split.folds=2", *patients(25), folds=2),
        bad("gives no folds", *patients(25), given=True),
        bad("patient p0 in two folds", *patients(9), ["1", *[str(i // 2 % 3) for i in range(1, 18)]]),
        bad("given folds 0, 2, 3", *patients(9), [str((0, 2, 3)[i // 2 % 3]) for i in range(18)]),
        bad("given folds 0, 1 in", *patients(8), [str(i // 2 % 2) for i in range(16)]),
        bad("given folds 0, train", *patients(8), [("0", "train")[i // 2 % 2] for i in range(16)]),
        bad(
            "patient p0 in two folds",
            *patients(9),
            ["val", *[("train", "val", "test")[i // 2 % 3] for i in range(1, 18)]],
        ),
        bad("in fold 1 of 3", *patients(8), [("train", "test")[i // 2 % 2] for i in range(16)]),
    ],
)
def test_bad_input(
    tmp_path: Path, labels: list[int], groups: list[str], parts: list[str] | None, arguments: dict, message: str
) -> None:
    store = store_of(tmp_path, labels, groups, parts)
    with pytest.raises(NASError) as error:
        Split(store, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_that_no_sample_has(tmp_path: Path) -> None:
    store = store_of(tmp_path, *patients(25), classes=("a", "b", "c"))
    with pytest.raises(NASError, match="labels of 2 class"):
        Split(store)


@pytest.mark.parametrize("n", [1, 5])
def test_overfit_trains_validates_and_tests_on_all(tmp_path: Path, n: int) -> None:
    labels, groups = patients(n)
    store = store_of(tmp_path, labels, groups)
    split = Split(store, overfit=True)
    (part,) = split.holdout_rounds()
    every = np.arange(len(store))
    for rows in (part.train, part.valid, part.test, split.test, *split.search):
        np.testing.assert_array_equal(np.unique(rows), every)
    assert len(part.unseen) == 0
    with pytest.raises(NASError, match="protocol to holdout"):
        split.cross_validation_rounds()
    if n == 5:
        others = Split(store, folds=3)
        assert split.sha256 != others.sha256
        for one in others.holdout_rounds():
            np.testing.assert_array_equal(one.unseen, one.test)


def test_a_single_sample_is_seen_twice(tmp_path: Path) -> None:
    mask = np.ones((1, 1, 1), dtype=np.uint8)
    samples = [Sample("s", VOXEL, 0, "p", mask_DHW=mask)]
    store = write_store(tmp_path / "store.h5", samples, name="toy", classes=("background", "a"), provenance={})
    with pytest.raises(NASError, match="labels of 1 class"):
        Split(store, overfit=True)
    pair = np.zeros((1, 1, 1, 2), dtype=np.uint8)
    samples = [Sample("s", pair, 0, "p", mask_DHW=np.array([[[0, 1]]], dtype=np.uint8))]
    store = write_store(tmp_path / "pair.h5", samples, name="toy", classes=("background", "a"), provenance={})
    (part,) = Split(store, overfit=True).holdout_rounds()
    assert (part.train.tolist(), part.valid.tolist(), part.test.tolist()) == ([0, 0], [0, 0], [0])


@pytest.mark.parametrize("seed", range(20))
def test_G8_a_rare_lesion_is_in_every_fold(tmp_path: Path, seed: int) -> None:
    """A lesion in 6 of 20 patients, in masks: refused for 79 of 100 seeds if folds ignore the masks."""
    store = masks_of(tmp_path, [i % 20 in (1, 4, 7, 11, 13, 19) for i in range(20)])
    split = Split(store, seed=seed)
    for number in range(5):
        assert (store.voxels_NK[split.fold == number] > 0).any(axis=0).all()
    assert np.array_equal(split.fold, Split(store, seed=seed).fold)


@pytest.mark.parametrize(
    ("having", "fix"),
    [(5, None), (4, "split.folds=4"), (3, "split.folds=3"), (2, "more patients with it"), (1, "split.overfit=true")],
)
def test_G8_advice_on_a_rare_class_works(tmp_path: Path, having: int, fix: str | None) -> None:
    store = masks_of(tmp_path, [i < having for i in range(20)])
    if fix is None:
        assert Split(store).folds == 5
        return
    with pytest.raises(NASError, match=f"{having} of 20 patients have it.*fix: .*{fix}") as refused:
        Split(store)
    if fix.startswith("split.folds="):
        assert Split(store, folds=int(refused.value.fix.partition("=")[2])).folds == having


@pytest.mark.parametrize(
    ("n", "fix"), [(1, "more patients, or split.overfit=true"), (2, "more patients"), (3, "=3"), (4, "=4")]
)
def test_G8_advice_on_few_patients_works(tmp_path: Path, n: int, fix: str) -> None:
    store = store_of(tmp_path, *patients(n))
    with pytest.raises(NASError, match=f"{n} patients for 5 folds.*fix: .*{fix}"):
        Split(store)
    assert Split(store, overfit=True).overfit
    if n >= 3:
        check_split(Split(store, folds=n), store)


def masks_of(path: Path, lesions: list[bool]) -> VolumeStore:
    """Volumes of one patient each, whose masks have a lesion or none."""
    samples = []
    for number, lesion in enumerate(lesions):
        mask_DHW = np.zeros((4, 4, 4), dtype=np.uint8)
        mask_DHW[0, 0, 0] = lesion
        volume_CDHW = np.full((1, 4, 4, 4), number, dtype=np.uint8)
        samples.append(Sample(f"s{number}", volume_CDHW, 0, f"p{number}", mask_DHW=mask_DHW))
    return write_store(path / "masks.h5", samples, name="toy", classes=("background", "lesion"), provenance={})


def test_unseen_rows_neither_trained_a_network_nor_chose_its_epoch() -> None:
    part = Fold("overfit", np.array([0, 1]), np.array([2]), np.array([0, 2, 3, 4]))
    assert part.unseen.tolist() == [3, 4]
