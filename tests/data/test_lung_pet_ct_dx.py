"""CT series with PASCAL VOC boxes: HU, windows, boxes, negatives, patients, and every kind of bad input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless

from nas.data.sources.lung_pet_ct_dx import LungPetCtDx
from nas.errors import NASError
from tests.data.written_boxes import uids_of, write_series, write_voc


def source(root: Path, cache: Path, **arguments: Any) -> LungPetCtDx:
    return LungPetCtDx(str(root), str(cache), **{"size": 48} | arguments)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four patients, the first with two series; classes A and G."""
    root = tmp_path / "source"
    write_series(root, "DOE^JANE", {1: [("A", 5, 10, 20, 30)], 2: [("A", 6, 10, 21, 30), ("G", 30, 2, 44, 12)]})
    write_series(root, "DOE^JANE", {0: [("A", 5, 10, 20, 30)]}, seed=1)
    for seed, patient in enumerate(("P2", "P3", "P4"), start=2):
        write_series(root, patient, {3: [("G", 10, 10, 20, 26), ("A", 30, 30, 40, 41)]}, seed=seed)
    return root


def test_boxes_lie_on_what_they_were_drawn_around(root: Path, tmp_path: Path) -> None:
    store = source(root, tmp_path, windows=("lung", "mediastinum")).prepare()
    assert (store.kind, store.classes, store.shape) == ("detection", ("A", "G"), (2, 1, 48, 48))
    assert store.boxes_NM7 is not None
    found = 0
    for row, boxes in enumerate(store.targets(range(len(store)))):
        lung, mediastinum = store.read([row])[0][:, 0]
        bright = np.zeros((48, 48), dtype=bool)
        for y0, x0, y1, x1, label in boxes:
            if label >= 0:
                bright[int(y0) : int(y1), int(x0) : int(x1)] = True
                found += 1
        # 60 HU are 240 of 255 in the lung window and 140 in that of the mediastinum; the rest is about -800 HU
        assert (lung[bright] == 240).all()
        assert (mediastinum[bright] == 140).all()
        assert (lung[~bright] < 130).all()
        assert (mediastinum[~bright] == 0).all()
    assert found == 3 + 1 + 3 * 2
    assert store.spacing_mm[0] == pytest.approx((5.0, 0.7, 0.7))


def test_images_of_half_the_size_have_boxes_of_half_the_size(root: Path, tmp_path: Path) -> None:
    whole, half = source(root, tmp_path).prepare(), source(root, tmp_path, size=24).prepare()
    assert whole.boxes_NM7 is not None
    assert half.boxes_NM7 is not None
    np.testing.assert_allclose(half.boxes_NM7[..., [1, 2, 4, 5]] * 2, whole.boxes_NM7[..., [1, 2, 4, 5]])
    assert half.spacing_mm[0] == pytest.approx((5.0, 1.4, 1.4))


def test_patients_are_numbers_and_in_one_part_each(root: Path, tmp_path: Path) -> None:
    store = source(root, tmp_path).prepare()
    assert set(store.groups) == {f"patient-{number:04}" for number in (1, 2, 3, 4)}
    parts = {group: set(store.folds[store.groups == group]) for group in set(store.groups)}
    assert all(len(its) == 1 for its in parts.values())
    assert sorted(part for its in parts.values() for part in its) == ["test", "train", "train", "val"]
    assert source(root, tmp_path / "again").prepare().sha256 == store.sha256
    others = [source(root, tmp_path / str(seed), seed=seed).prepare() for seed in (1, 2, 3)]
    assert any((other.folds != store.folds).any() for other in others if len(other) == len(store))


def test_negatives_by_ratio(root: Path, tmp_path: Path) -> None:
    def without(**arguments: Any) -> int:
        boxes = source(root, tmp_path, **arguments).prepare().boxes_NM7
        return int((boxes[..., -1] < 0).all(axis=1).sum())  # type: ignore[index]

    assert without(negatives=0) == 0
    assert without(negatives=1) == 6  # as many as slices with a box: 2 + 1 + 1 + 1 + 1
    assert without(negatives=2) == 12
    assert without(negatives=None) == 5 * 6 - 6


def test_every_class_is_kept_unless_merged(root: Path, tmp_path: Path) -> None:
    merged = source(root, tmp_path, merge=True).prepare()
    assert merged.classes == ("tumour",)
    assert set(merged.boxes_NM7[..., -1].ravel()) == {-1, 0}  # type: ignore[index]


def test_the_real_series(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lung_pet_ct_dx"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    store = LungPetCtDx(str(path), str(tmp_path), negatives=None, windows=("mediastinum",)).prepare()
    assert (len(store), store.classes, set(store.folds)) == (30, ("A",), {""})
    boxes = store.boxes_NM7[:, 0]  # type: ignore[index]
    real = boxes[boxes[:, -1] >= 0]
    assert len(real) == 10
    shares = []
    for row in np.flatnonzero(boxes[:, -1] >= 0):
        _, y0, x0, _, y1, x1, _ = boxes[row].astype(int)
        inside, across = (store.read([row])[0][0, 0, y0:y1, a:b] for a, b in ((x0, x1), (512 - x1, 512 - x0)))
        shares.append(((inside > 0).mean(), (across > 0).mean()))
    # tumour is soft tissue; on the other side of the body there is more lung, which is 0 in this window
    assert all(tumour > other + 0.15 for tumour, other in shares)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("A", 5, 10, 49, 30), "5, 10, 49, 30"),
        (("A", -1, 10, 20, 30), "inside the image of 48x48"),
        (("A", 20, 10, 20, 30), "at least one pixel"),
        (("A", float("nan"), 10, 20, 30), "inside the image"),
    ],
)
def test_a_box_outside_the_image(root: Path, tmp_path: Path, box: Any, message: str) -> None:
    write_voc(next((root / "Annotation").iterdir()), [box])
    with pytest.raises(NASError, match=message):
        source(root, tmp_path / "cache").prepare()
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_annotation_of_an_unknown_slice(root: Path, tmp_path: Path) -> None:
    write_voc(root / "Annotation" / "1.2.3.xml", [("A", 1, 1, 5, 5)])
    with pytest.raises(NASError, match=r"1\.2\.3\.xml.*SOPInstanceUID.*data\.unknown=skip"):
        source(root, tmp_path).prepare()
    assert len(source(root, tmp_path, unknown="skip").prepare()) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "PASCAL VOC"),
        ("<annotation><object><name>A</name></object></annotation>", "no size/width"),
        ("", "PASCAL VOC"),
    ],
)
def test_a_broken_annotation(root: Path, tmp_path: Path, text: str, message: str) -> None:
    next((root / "Annotation").iterdir()).write_text(text)
    with pytest.raises(NASError, match=message):
        source(root, tmp_path).prepare()


def test_an_annotation_of_another_image(root: Path, tmp_path: Path) -> None:
    write_voc(next((root / "Annotation").iterdir()), [("A", 1, 1, 5, 5)], side=512)
    with pytest.raises(NASError, match="512x512 pixels for a slice of 48x48"):
        source(root, tmp_path).prepare()


def changed(folder: Path, **tags: str) -> None:
    for path in folder.glob("*.dcm"):
        one = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(one, name, value)
        one.save_as(path)


def test_series_that_are_refused(root: Path, tmp_path: Path) -> None:
    folder = root / "CT-P2-2"
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)

    def refused(message: str) -> None:
        with pytest.raises(NASError, match=message):
            source(root, tmp_path).prepare()
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    changed(folder, Modality="PT")
    assert len(source(root, tmp_path / "skipped", unknown="skip").prepare()) == 10
    refused("modality PT")
    changed(folder, PatientID="")
    refused("no PatientID")
    for path in (root / "CT-P3-3").glob("*.dcm"):
        shutil.copy(path, folder / f"other-{path.name}")
    refused("2 series in .*CT-P2-2")
    first = sorted(folder.glob("*.dcm"))[0]
    shutil.copy(first, folder / "copy.dcm")
    refused(r"2 files of slice|mm apart")
    uid = uids_of(folder)[2]
    for path in folder.glob("*.dcm"):
        if str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) == uid:
            path.unlink()
    refused("mm apart")
    first.write_bytes(first.read_bytes()[:-800])
    refused("cannot be read")
    for path in folder.glob("*.dcm"):  # compressed in a way that nothing here can decode
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = HTJ2KLossless
        one.PixelData = encapsulate([bytes(500)])
        one["PixelData"].is_undefined_length = True
        one.save_as(path)
    refused("pixels compressed as High-Throughput JPEG 2000")
    shutil.copytree(folder, root / "again")
    assert len(source(root, tmp_path).prepare()) == 12  # one series in two folders is read once


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    for path, message in ((None, r"data\.root"), (tmp_path / "none", "no folder")):
        with pytest.raises(NASError, match=message):
            LungPetCtDx(None if path is None else str(path), str(tmp_path)).prepare()
    with pytest.raises(NASError, match="no DICOM series"):
        source(tmp_path, tmp_path).prepare()
    write_series(tmp_path / "plain", "P", {})
    with pytest.raises(NASError, match="no XML"):
        source(tmp_path / "plain", tmp_path).prepare()


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", 8), ("negatives", -1), ("unknown", "ignore"), ("parts", (0.5, 0.5)), ("windows", ("bone",))],
)
def test_arguments_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(NASError, match=name):
        LungPetCtDx("x", "y", **{name: value})
