"""Deliberately wrong data sets and splits, and what `nas.testing` says about each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.data.sample import Sample
from nas.data.source import Source
from nas.data.splits import Split
from nas.testing import check_data
from tests.checks import says


class Drawn(Source):
    """Cubes or slices of noise; `change` makes one sample wrong."""

    name, classes, scale = "noise", ("a", "b"), 1 / 255

    def __init__(self, change: str = "", dims: int = 3, cache_dir: str = "outputs/data") -> None:
        self.change, self.dims, self.cache_dir = change, dims, cache_dir
        self.calls = 0

    def samples(self) -> Iterator[Sample]:
        self.calls += 1
        seed = self.calls if self.change == "unseeded" else 0
        rng = np.random.default_rng(seed)
        for number in range(20):
            shape = (1, 8 if self.dims == 3 else 1, 8, 8)
            volume = rng.integers(0, 255, shape).astype(np.uint8)
            sample = Sample(f"s{number}", volume, number % 2, f"p{number // 2}", (1.0,) * 3, fold=str(number // 2 % 3))
            yield self.changed(sample) if number == 7 else sample

    def changed(self, sample: Sample) -> Sample:
        volume = sample.volume_CDHW
        changes: dict[str, dict[str, Any]] = {
            "shape": {"volume_CDHW": volume[..., :-1]},
            "axes": {"volume_CDHW": volume[0]},
            "type": {"volume_CDHW": volume.astype(np.float64)},
            "label": {"label": 2},
            "patient": {"group": ""},
            "name": {"name": "s0"},
            "fold": {"fold": ""},
            "shared": {"fold": "2", "group": "p0"},
            "mask": {"mask_DHW": volume[0]},
            "spacing": {"spacing_mm": (0.0, 1.0, 1.0)},
        }
        return replace(sample, **changes.get(self.change, {}))


class Bright(Drawn):
    scale = 100.0


class OneClass(Drawn):
    classes = ("a", "b", "c")


class SharedPatients(Split):
    """Assigns samples to folds, not patients."""

    def holdout_rounds(self) -> list:  # type: ignore[type-arg]
        rounds = super().holdout_rounds()
        moved = [replace(part, train=np.append(part.train, part.test[0]), test=part.test[1:]) for part in rounds]
        return moved


class Leaving(Split):
    def holdout_rounds(self) -> list:  # type: ignore[type-arg]
        return [replace(part, train=part.train[1:]) for part in super().holdout_rounds()]


@pytest.mark.parametrize("dims", [2, 3])
def test_right_data(dims: int) -> None:
    store = check_data(Drawn(dims=dims))
    assert (len(store), store.dims, store.path.exists()) == (20, dims, False)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Drawn("shape"), "a volume of shape (1, 8, 8, 7) of s7"),
        (Drawn("axes"), "a volume of shape (8, 8, 8) of s7; expected four axes"),
        (Drawn("axes", dims=2), "a volume of shape (1, 8, 8) of s7; expected four axes"),
        (Drawn("type"), "a volume of type float64 of s7"),
        (Drawn("label"), "label=2 of s7; expected 0 to 1"),
        (Drawn("patient"), "group='' of s7; expected the patient"),
        (Drawn("name"), "two samples named s0"),
        (Drawn("fold"), "a fold of some samples only"),
        (Drawn("shared"), "patient p0 in two folds"),
        (Drawn("mask"), "s7 for segmentation and s0 for classification"),
        (Drawn("spacing"), "spacing_mm=(0.0, 1.0, 1.0) of s7"),
        (Drawn("unseeded", dims=2), "sample 0 (s0) with another volume the second time"),
        (Bright(), "network inputs of up to"),
        (OneClass(), "labels of 2 class in noise"),
    ],
    ids=lambda value: f"{type(value).__name__}-{value.change}-{value.dims}" if isinstance(value, Drawn) else None,
)
def test_wrong_data(source: Source, words: str) -> None:
    says(check_data, source, words=words)


@pytest.mark.parametrize(
    ("split", "words"),
    [(SharedPatients, "in the parts train and test of valid1"), (Leaving, "in no part of valid1")],
)
def test_wrong_splits(split: type[Split], words: str) -> None:
    says(check_data, Drawn(), split, words=words)
