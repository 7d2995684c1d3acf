"""Splits by patient: the test fold that a search never reads, and the rows of each training."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.utils.annotations import MOST, Count, Expected, Seed
from nas.utils.checked import checked

TRIES, SEED_STEP = 30, 1_000_003  # further assignments if a fold lacks a class
OFFICIAL = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Fold:
    """The rows of one training.

    Attributes:
        name: Short name, such as "fold0".
        train: Sorted rows of the store to train on.
        valid: Sorted rows to choose the epoch by.
        test: Sorted rows to test on.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def unseen(self) -> np.ndarray:
        """Rows of the test part that neither trained the network nor chose its epoch; none with `overfit`."""
        return np.setdiff1d(self.test, np.concatenate([self.train, self.valid]))


@checked("split")
class Split:
    """Assignment of every sample to a fold; a patient is in one fold only.

    Folds are stratified by class and grouped by patient (scikit-learn's StratifiedGroupKFold, shuffled by seed), or
    given by the data set's authors: "0" to "9" as folds, or train / val / test as the only round. With masks or boxes,
    folds are grouped by patient only, because a sample has no single class to stratify by.

    Args:
        store: The store to split.
        folds: Number of folds, at least 3.
        test_fold: The fold that a search never reads.
        seed: Seed of the shuffling.
        given: True uses the authors' folds, False makes new ones. If None, the authors' folds if there are any.
        overfit: Train, validate and test on all samples, in one round, to see that a network can learn.

    Attributes:
        fold: (N,) int, the fold of each sample; of an official split 0, 1 or 2 for train, val or test.
        folds: Number of folds.
        official: Whether the split is the authors' train / val / test.
        unit: Name of a group: "patient", unless the source states another.
        sha256: Hash of samples, folds and test fold.

    Raises:
        NASError: If there is one class only, fewer patients than folds, a fold without one of the classes, a patient in
            two folds, or no fold `test_fold`.
    """

    def __init__(
        self,
        store: VolumeStore,
        folds: Annotated[
            int, Ge(3), Le(MOST), Expected("at least 3: one to test, one to validate, one to train on")
        ] = 5,
        test_fold: Count = 0,
        seed: Seed = 0,
        given: bool | None = None,
        overfit: bool = False,
    ) -> None:
        has_given = bool((store.folds != "").all())
        if given and not has_given:
            raise NASError(f"split.given=true for {store.name}, which gives no folds", "own folds", "split.given=false")
        self.store, self.unit, has_NK = store, store.unit, _has_classes(store)
        present = int(has_NK.any(axis=0).sum())
        least = 1 if store.kind in ("detection", "regression") else 2
        if present < max(least, len(store.classes)):
            raise NASError(
                f"labels of {present} class in {store.name}",
                f"all of {', '.join(store.classes)}",
                "check the labels",
            )
        self.given = has_given if given is None else bool(given)
        self.overfit = bool(overfit)
        self.official = self.given and set(store.folds) <= set(OFFICIAL) and not self.overfit
        if self.overfit:
            self.fold, test_fold = np.zeros(len(store), dtype=int), 0
        elif self.official:
            self.fold = np.array([OFFICIAL.index(part) for part in store.folds])
            test_fold = OFFICIAL.index("test")
        else:
            self.fold = _given_folds(store) if self.given else _make_folds(store, has_NK, folds, seed)
        self.folds, self.test_fold, self.seed = int(self.fold.max()) + 1, test_fold, seed
        if not 0 <= test_fold < self.folds:
            raise NASError(f"split.test_fold={test_fold}", f"0 to {self.folds - 1}", "set split.test_fold")
        _check(store, has_NK, self.fold, self.folds)
        content = [sorted(zip(store.names.tolist(), self.fold.tolist(), strict=True)), self.official, self.test_fold]
        content += ["overfit"] if self.overfit else []
        # not `digest`, whose JSON has no blanks: files of earlier versions hold this hash
        self.sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def test(self) -> np.ndarray:
        """Rows of the test fold, which a search never reads."""
        return self._rows(self.test_fold)

    @property
    def search(self) -> tuple[np.ndarray, np.ndarray]:
        """Training rows and validation rows of a search, both without the test fold."""
        first = self.holdout_rounds()[0]
        return first.train, first.valid

    def holdout_rounds(self) -> list[Fold]:
        """Make the rounds of the holdout protocol.

        Returns:
            One round for each fold other than the test fold: that fold is for validation, the test fold for the test.
            Of an official split, or with `overfit`, one round.
        """
        if self.overfit:
            every = self._rows(0)
            seen = np.tile(every, -(-2 // len(every)))  # a training needs two samples for training and validation
            return [Fold("overfit", seen, seen, every)]
        if self.official:
            return [Fold("official", self._rows(0), self._rows(1), self._rows(2))]
        others = [(self.test_fold + step) % self.folds for step in range(1, self.folds)]
        return [self._round(f"valid{fold}", fold, self.test_fold) for fold in others]

    def cross_validation_rounds(self) -> list[Fold]:
        """Make the rounds of a cross-validation.

        Returns:
            One round per fold: that fold is for the test, and the next one for validation.

        Raises:
            NASError: If the split is an official train / val / test, or `overfit`.
        """
        if self.overfit:
            raise NASError(
                "split.overfit=true", "a split into folds", "set split.overfit to false, or protocol to holdout"
            )
        if self.official:
            raise NASError(
                "an official train / val / test split", "folds", "set split.given to false, or protocol to holdout"
            )
        return [self._round(f"fold{fold}", (fold + 1) % self.folds, fold) for fold in range(self.folds)]

    def _rows(self, fold: int) -> np.ndarray:
        return np.flatnonzero(self.fold == fold)

    def _round(self, name: str, valid: int, test: int) -> Fold:
        train = np.flatnonzero((self.fold != valid) & (self.fold != test))
        return Fold(name, train, self._rows(valid), self._rows(test))


def _make_folds(store: VolumeStore, has_NK: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assign samples to folds of which each holds every class.

    Folds stratified by label are kept if they do; otherwise they are stratified by the presence of classes, with
    further seeds.
    """
    patients = len(np.unique(store.groups))
    if patients < folds:
        raise NASError(
            f"{patients} {store.unit}s for {folds} folds",
            f"at least one {store.unit} per fold",
            f"split.folds={patients}" if patients >= 3 else f"more {store.unit}s, or split.overfit=true for a trial",
        )
    fold = _with_every_class(store, has_NK, folds, seed)
    if fold is not None:
        return fold
    groups_K = np.array([len(set(store.groups[has_N])) for has_N in has_NK.T])
    rarest = int(np.argmin(groups_K))
    fewer = next((n for n in range(min(int(groups_K[rarest]), folds - 1), 2, -1) if _works(store, has_NK, n, seed)), 0)
    having = f"{groups_K[rarest]} of {patients} {store.unit}s have it"
    raise NASError(
        f"no {store.classes[rarest]} in folds with split.folds={folds}: {having}",
        "every class in every fold",
        f"split.folds={fewer}" if fewer else f"more {store.unit}s with it, or split.overfit=true for a trial",
    )


def _works(store: VolumeStore, has_NK: np.ndarray, folds: int, seed: int) -> bool:
    return _with_every_class(store, has_NK, folds, seed) is not None


def _with_every_class(store: VolumeStore, has_NK: np.ndarray, folds: int, seed: int) -> np.ndarray | None:
    """Return the first assignment that puts every class into every fold; None if none was found."""
    groups = tuple(store.groups.tolist())
    if min(len(set(store.groups[has_N])) for has_N in has_NK.T) < folds:
        return None
    presence_N = np.unique(has_NK, axis=0, return_inverse=True)[1].ravel()
    seeds = [(seed + number * SEED_STEP) % 2**32 for number in range(TRIES)]
    tries = [(tuple(store.labels.tolist()), seed), *((tuple(presence_N.tolist()), one) for one in seeds)]
    for labels, one in tries:
        found = _stratified(labels, groups, folds, one)
        if found is not None and not _lacking(has_NK, np.array(found), folds):
            return np.array(found)
    return None


def _lacking(has_NK: np.ndarray, fold: np.ndarray, folds: int) -> tuple[int, int] | None:
    """Return the first fold that lacks a class, and the class; None if there is none."""
    for number in range(folds):
        missing = np.flatnonzero(~has_NK[fold == number].any(axis=0))
        if len(missing):
            return number, int(missing[0])
    return None


@lru_cache(maxsize=16)
def _stratified(labels: tuple[int, ...], groups: tuple[str, ...], folds: int, seed: int) -> tuple[int, ...] | None:
    """Assign samples to folds, None if that fails; jobs of a sweep, one after the other, ask for the same folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.empty(len(labels), dtype=int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # _make_folds reports a class rarer than the folds
        warnings.simplefilter("ignore", UserWarning)
        try:
            assigned = list(splitter.split(np.zeros(len(labels)), np.array(labels), np.array(groups)))
        except ValueError:  # no class has as many samples as there are folds
            return None
    for number, (_, rows) in enumerate(assigned):
        fold[rows] = number
    return tuple(fold.tolist())


def _given_folds(store: VolumeStore) -> np.ndarray:
    values = sorted(set(store.folds))
    if values != [str(number) for number in range(len(values))] or len(values) < 3:
        raise NASError(
            f"given folds {', '.join(values)} in {store.name}",
            "0, 1, 2, ... (at least three), or train, val and test",
            "correct the data's split column, or set split.given=false",
        )
    return store.folds.astype(int)


def _has_classes(store: VolumeStore) -> np.ndarray:
    """Return (N, K) bool: the class of each sample or, with masks or boxes, the classes of its voxels or objects."""
    if store.voxels_NK is not None:
        return store.voxels_NK > 0
    if store.boxes_NM7 is not None:
        return (store.boxes_NM7[:, :, -1, None] == np.arange(len(store.classes))).any(axis=1)
    return store.labels[:, None] == np.arange(len(store.classes))


def _check(store: VolumeStore, has_NK: np.ndarray, fold: np.ndarray, folds: int) -> None:
    first: dict[str, int] = {}
    for group, number in zip(store.groups.tolist(), fold.tolist(), strict=True):
        if first.setdefault(group, number) != number:
            raise NASError(
                f"patient {group} in two folds", "each patient in one fold", "correct the data's split column"
            )
    if (lacking := _lacking(has_NK, fold, folds)) is not None:
        number, missing = lacking
        raise NASError(
            f"no {store.classes[missing]} in fold {number} of {folds}",
            "every class in every fold",
            "correct the data's split column, or set split.given=false",
        )
