"""data.html: facts, pictures and warnings of the data, without the volumes of the test fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.context import TaskSetup
from nas.data.sample import Sample
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.report import data_facts
from nas.report.data_facts import summarise_data
from nas.report.data_page import DATA, data_page, headlines
from nas.tasks.default import default_task
from tests.data.test_boxes_in_store import samples as boxed_samples
from tests.report_pages import Page

CLASSES = ("benign", "malignant <3 cm>")


def blobs(count: int = 60, easy: bool = False) -> list[Sample]:
    """Two images of each patient: a cube in noise, of the same size in both classes unless that is to be easy."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        label = number // 2 % 2
        volume = rng.uniform(0, 0.4, (1, 8, 8, 8)).astype(np.float32)
        side = 2 + 3 * label if easy else int(rng.integers(2, 6))
        volume[0, 1 : 1 + side, 1 : 1 + side, 1 : 1 + side] = 1
        found.append(
            Sample(f"s{number}", volume, label, f"p{number // 2}", spacing_mm=(2.0, 1.0, 1.0), size_mm3=2.0 * side**3)
        )
    return found


def setup_of(path: Path, samples: list[Sample], classes: tuple[str, ...] = CLASSES, folds: int = 3) -> TaskSetup:
    store = write_store(path / "toy.h5", samples, name="toy", classes=classes, provenance={})
    return TaskSetup(Split(store, folds=folds), default_task(store), torch.device("cpu"))


def test_the_page_shows_cases_classes_spacing_intensities_split_and_pictures(tmp_path: Path) -> None:
    setup = setup_of(tmp_path, blobs())
    summary = summarise_data(setup)
    assert summary.warnings == []
    assert summary.classes == {"benign": 30, "malignant <3 cm>": 30}
    assert (summary.cases, summary.groups) == (60, 30)
    assert summary.spacing_mm == [[2, 2, 2], [1, 1, 1], [1, 1, 1]]
    assert 0 <= summary.intensity["least"] < 0.01
    assert summary.intensity["largest"] == 1
    assert [fold["part"] for fold in summary.folds] == ["test", "validation", "training"]
    assert sum(fold["cases"] for fold in summary.folds) == 60
    assert set(summary.baselines) == {"volume", "features"}
    data_page(tmp_path, setup, summary)
    page = Page(tmp_path / DATA)
    assert "http" not in page.source
    assert "@import" not in page.source
    assert "No warnings." in page.text
    for words in ("malignant <3 cm>", "2 × 1 × 1 mm", "validation AUC", "30", "8×8×8 voxels"):
        assert words in page.text
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 8
    assert all((attributes["alt"] or "").startswith("slice of s") for attributes in pictures)
    first, second = headlines(setup, summary)
    assert first == "toy: 60 cases of 30 patients: benign 30, malignant <3 cm> 30."
    assert second.startswith("1 channel of 8×8×8 voxels, 2 × 1 × 1 mm; 3 folds, ")


def duplicated(samples: list[Sample]) -> list[Sample]:
    return [replace(one, volume_CDHW=samples[3].volume_CDHW) if one.name == "s40" else one for one in samples]


def constant(samples: list[Sample]) -> list[Sample]:
    flat = np.zeros((1, 8, 8, 8), np.float32)
    return [replace(one, volume_CDHW=flat) if one.name == "s40" else one for one in samples]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (duplicated, "1 image occurs more than once, for example s3 and s40"),
        (constant, "1 image has one value only, for example s40"),
        (lambda _: blobs(easy=True), "baseline volume already has a validation AUC of 1.000"),
    ],
)
def test_warnings_name_what_is_wrong(
    tmp_path: Path, change: Callable[[list[Sample]], list[Sample]], words: str
) -> None:
    setup = setup_of(tmp_path, change(blobs()))
    # the images are of training or validation, whatever the folds of this seed are
    test = {str(setup.store.names[row]) for row in setup.split.test}
    assert not {"s3", "s40"} & test
    assert any(words in text for text in summarise_data(setup).warnings)


def test_a_class_with_few_cases_in_a_fold_is_warned_about(tmp_path: Path) -> None:
    few = [sample for sample in blobs() if sample.label == 0 or int(sample.group[1:]) < 12]
    setup = setup_of(tmp_path, few)
    assert any("has 4 of class malignant" in text for text in summarise_data(setup).warnings)


def test_an_overfitted_split_is_warned_about(tmp_path: Path) -> None:
    setup = setup_of(tmp_path, blobs(12))
    setup = replace(setup, split=Split(setup.store, overfit=True))
    assert any("split.overfit=true" in text for text in summarise_data(setup).warnings)


def test_the_test_fold_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, rows = setup_of(tmp_path, blobs()), set[int]()
    read = VolumeStore.read

    def recorded(self: VolumeStore, indices: np.ndarray) -> np.ndarray:
        rows.update(int(row) for row in indices)
        return read(self, indices)

    monkeypatch.setattr(VolumeStore, "read", recorded)
    data_page(tmp_path, setup, summarise_data(setup))
    assert rows == set(np.concatenate(setup.split.search).tolist())


def test_a_summary_is_kept_by_the_hashes_of_data_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = setup_of(tmp_path, blobs())
    first = summarise_data(setup)
    monkeypatch.setattr(data_facts, "_scanned", lambda *_: pytest.fail("read again"))
    assert summarise_data(setup) == first
    with pytest.raises(pytest.fail.Exception):
        summarise_data(replace(setup, split=Split(setup.store, folds=3, seed=5)))


def test_boxes_are_counted(tmp_path: Path) -> None:
    setup = setup_of(tmp_path, boxed_samples(24), ("a", "b"))
    summary = summarise_data(setup)
    assert summary.class_of == "objects"
    assert sum(summary.classes.values()) == 24
    data_page(tmp_path, setup, summary)
    assert "Columns of classes count objects." in Page(tmp_path / DATA).text
