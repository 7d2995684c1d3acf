"""Splits by patient: the fold no search ever sees, the search's own parts, and the rounds of a retraining."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from nas.data.store import VolumeStore
from nas.errors import NASError

OFFICIAL = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Round:
    """One training: sorted rows of the store to train on, to choose the epoch by, and to test on."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def unseen(self) -> np.ndarray:
        """Rows of the test part that neither trained the network nor chose its epoch; none with `overfit`."""
        return np.setdiff1d(self.test, np.concatenate([self.train, self.valid]))


class Split:
    """Assigns every sample to a fold; a patient is in one fold only.

    Folds are stratified by class and grouped by patient (scikit-learn's StratifiedGroupKFold, shuffled by seed), or
    given by the data set's authors: "0" to "9" as folds, or train / val / test as the only round.
    test_fold: what no search ever sees. given: True uses the authors' folds, False makes own ones, None: the authors'
    where there are any. overfit: True trains, validates and tests on all samples, in one round: it shows that a network
    can learn, and no more; a single sample is then seen twice an epoch.
    Attributes: fold (N,) int or the official part's number, search (train rows, valid rows), test (rows), unit (what
    a group is: "patient", or what the source says), sha256.
    With masks or boxes, folds are grouped by patient only: a sample has no one class to stratify by.
    Raises NASError for one class only, fewer patients than folds, a fold without one of the classes, a patient in two
    folds, and a test_fold that does not exist.
    """

    def __init__(
        self,
        store: VolumeStore,
        folds: int = 5,
        test_fold: int = 0,
        seed: int = 0,
        given: bool | None = None,
        overfit: bool = False,
    ) -> None:
        has_given = bool((store.folds != "").all())
        if given and not has_given:
            raise NASError(f"split.given=true for {store.name}, which gives no folds", "own folds", "split.given=false")
        self.store, self.unit, has_NK = store, store.unit, _has_classes(store)
        found = int(has_NK.any(axis=0).sum())
        least = 1 if store.kind in ("detection", "regression") else 2
        if found < max(least, len(store.classes)):
            raise NASError(
                f"labels of {found} class in {store.name}",
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
            self.fold = _given_folds(store) if self.given else _make_folds(store, folds, seed)
        self.folds, self.test_fold, self.seed = int(self.fold.max()) + 1, test_fold, seed
        if not 0 <= test_fold < self.folds:
            raise NASError(f"split.test_fold={test_fold}", f"0 to {self.folds - 1}", "mend split.test_fold")
        _check(store, has_NK, self.fold, self.folds)
        content = [sorted(zip(store.names.tolist(), self.fold.tolist(), strict=True)), self.official, self.test_fold]
        content += ["overfit"] if self.overfit else []
        self.sha256 = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def test(self) -> np.ndarray:
        """Rows of the fold that no search sees."""
        return self._rows(self.test_fold)

    @property
    def search(self) -> tuple[np.ndarray, np.ndarray]:
        """(train rows, valid rows) of the folds other than the test fold."""
        first = self.holdout_rounds()[0]
        return first.train, first.valid

    def holdout_rounds(self) -> list[Round]:
        """The test fold is tested in every round; each other fold is the validation part once (official: one round)."""
        if self.overfit:
            every = self._rows(0)
            seen = np.tile(every, -(-2 // len(every)))  # a training needs two samples in either part
            return [Round("overfit", seen, seen, every)]
        if self.official:
            return [Round("official", self._rows(0), self._rows(1), self._rows(2))]
        others = [(self.test_fold + step) % self.folds for step in range(1, self.folds)]
        return [self._round(f"valid{fold}", fold, self.test_fold) for fold in others]

    def cross_validation_rounds(self) -> list[Round]:
        """Each fold is the test part once, and the fold after it the validation part."""
        if self.overfit:
            raise NASError("split.overfit=true", "folds", "protocol=holdout, or split.overfit=false")
        if self.official:
            raise NASError("an official train / val / test split", "folds", "protocol=holdout, or split.given=false")
        return [self._round(f"fold{fold}", (fold + 1) % self.folds, fold) for fold in range(self.folds)]

    def _rows(self, fold: int) -> np.ndarray:
        return np.flatnonzero(self.fold == fold)

    def _round(self, name: str, valid: int, test: int) -> Round:
        train = np.flatnonzero((self.fold != valid) & (self.fold != test))
        return Round(name, train, self._rows(valid), self._rows(test))


def _make_folds(store: VolumeStore, folds: int, seed: int) -> np.ndarray:
    patients = len(np.unique(store.groups))
    if folds < 3:
        raise NASError(
            f"split.folds={folds}", "at least 3: one to test, one to validate, one to train on", "mend split.folds"
        )
    if patients < folds:
        raise NASError(
            f"{patients} {store.unit}s for {folds} folds",
            f"at least one {store.unit} a fold",
            f"split.folds={patients}" if patients >= 3 else f"more {store.unit}s, or split.overfit=true for a trial",
        )
    fold = np.empty(len(store), dtype=int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a class rarer than the folds is told by _check, in one line
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(splitter.split(np.zeros(len(store)), store.labels, store.groups))
        except ValueError as error:
            raise NASError(
                f"labels that cannot be split ({error})", f"{folds} samples a class", "use fewer folds"
            ) from error
    for number, (_, rows) in enumerate(parts):
        fold[rows] = number
    return fold


def _given_folds(store: VolumeStore) -> np.ndarray:
    values = sorted(set(store.folds))
    if values != [str(number) for number in range(len(values))] or len(values) < 3:
        raise NASError(
            f"given folds {', '.join(values)} in {store.name}",
            "0, 1, 2, ... (at least three), or train, val and test",
            "mend the data's split column, or split.given=false",
        )
    return store.folds.astype(int)


def _has_classes(store: VolumeStore) -> np.ndarray:
    """(N, K) bool: which classes a sample is of or, with masks or boxes, has a voxel or an object of."""
    if store.voxels_NK is not None:
        return store.voxels_NK > 0
    if store.boxes_NM7 is not None:
        return (store.boxes_NM7[:, :, -1, None] == np.arange(len(store.classes))).any(axis=1)
    return store.labels[:, None] == np.arange(len(store.classes))


def _check(store: VolumeStore, has_NK: np.ndarray, fold: np.ndarray, folds: int) -> None:
    first: dict[str, int] = {}
    for group, number in zip(store.groups.tolist(), fold.tolist(), strict=True):
        if first.setdefault(group, number) != number:
            raise NASError(f"patient {group} in two folds", "each patient in one fold", "mend the data's split column")
    for number in range(folds):
        missing = np.flatnonzero(~has_NK[fold == number].any(axis=0))
        if len(missing):
            raise NASError(
                f"no {store.classes[missing[0]]} in fold {number} of {folds}",
                "every class in every fold",
                "use fewer folds (split.folds)",
            )
