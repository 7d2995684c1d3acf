"""Splits by patient: the fold no search ever sees, the search's own parts, and the rounds of a retraining."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from sklearn.model_selection import StratifiedGroupKFold

from nas.data.store import VolumeStore
from nas.errors import NASError
from nas.utils.checked import Count, Expected, Seed, checked

OFFICIAL = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Round:
    """One training: sorted rows of the store to train on, to choose the epoch by, and to test on."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@checked("split")
class Split:
    """Assigns every sample to a fold; a patient is in one fold only.

    Folds are stratified by class and grouped by patient (scikit-learn's StratifiedGroupKFold, shuffled by seed), or
    given by the data set's authors: "0" to "9" as folds, or train / val / test as the only round.
    test_fold: what no search ever sees. given: True uses the authors' folds, False makes own ones, None: the authors'
    where there are any.
    Attributes: fold (N,) int or the official part's number, search (train rows, valid rows), test (rows), unit (what
    a group is: "patient", or what the source says), sha256.
    With masks or boxes, folds are grouped by patient only: a sample has no one class to stratify by.
    Raises NASError for one class only, fewer patients than folds, a fold without one of the classes, a patient in two
    folds, and a test_fold that does not exist.
    """

    def __init__(
        self,
        store: VolumeStore,
        folds: Annotated[int, Ge(3), Expected("at least 3: one to test, one to validate, one to train on")] = 5,
        test_fold: Count = 0,
        seed: Seed = 0,
        given: bool | None = None,
    ) -> None:
        has_given = bool((store.folds != "").all())
        if given and not has_given:
            raise NASError(f"split.given=true for {store.name}, which gives no folds", "own folds", "split.given=false")
        self.unit, has_NK = store.unit, _has_classes(store)
        found = int(has_NK.any(axis=0).sum())
        if found < (len(store.classes) if store.kind == "detection" else max(2, len(store.classes))):
            raise NASError(
                f"labels of {found} class in {store.name}",
                f"all of {', '.join(store.classes)}",
                "check the labels",
            )
        self.given = has_given if given is None else bool(given)
        self.official = self.given and set(store.folds) <= set(OFFICIAL)
        if self.official:
            self.fold = np.array([OFFICIAL.index(part) for part in store.folds])
            test_fold = OFFICIAL.index("test")
        else:
            self.fold = _given_folds(store) if self.given else _make_folds(store, folds, seed)
        self.folds, self.test_fold, self.seed = int(self.fold.max()) + 1, test_fold, seed
        if not 0 <= test_fold < self.folds:
            raise NASError(f"split.test_fold={test_fold}", f"0 to {self.folds - 1}", "mend split.test_fold")
        _check(store, has_NK, self.fold, self.folds)
        content = [sorted(zip(store.names.tolist(), self.fold.tolist(), strict=True)), self.official, self.test_fold]
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
        if self.official:
            return [Round("official", self._rows(0), self._rows(1), self._rows(2))]
        others = [(self.test_fold + step) % self.folds for step in range(1, self.folds)]
        return [self._round(f"valid{fold}", fold, self.test_fold) for fold in others]

    def cross_validation_rounds(self) -> list[Round]:
        """Each fold is the test part once, and the fold after it the validation part."""
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
    if patients < folds:
        raise NASError(
            f"{patients} {store.unit}s for {folds} folds",
            f"at least one {store.unit} a fold",
            f"split.folds={max(3, patients)}",
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
