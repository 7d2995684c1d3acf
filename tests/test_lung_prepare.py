"""The preparation command: files of the three forms that agree, nothing that names a patient, nothing half written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

import run_train
from experiments.cli import run_parser
from experiments.lung_detector.predictor import Predictor
from experiments.lung_detector.prepare import STORE, check_export, parser
from nas.data.store import VolumeStore
from nas.errors import NASError
from tests.commands import Command
from tests.data.test_lung_pet_ct_dx import changed
from tests.data.written_boxes import write_series, write_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "JANE_DOE"
    boxes = [("A", 5, 10, 20, 30), ("G", 30, 2, 44, 12)]
    for seed, patient in enumerate(("DOE^JANE", "P2", "P3", "P4")):
        write_series(root, patient, {3: boxes, 4: boxes[:1]}, seed=seed)  # type: ignore[arg-type]
        changed(root / f"CT-{patient}-{seed}", PatientName="DOE^JANE", StudyDate="20070425", AcquisitionDate="20070426")
    return root


def run(root: Path, out: Path, *words: str) -> None:
    code = run_parser(parser(), [str(root), str(out), "--size", "48", *words])
    if code:
        raise SystemExit(code)


def test_the_three_forms_agree(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    run(root, out, "--windows", "lung", "mediastinum", "--negatives", "0.5")
    said = capsys.readouterr().out
    assert "train: 6 images of 2 patients, 2 without a box; boxes: 4 A, 2 G" in said
    store = VolumeStore(out / STORE)
    store.verify()
    assert (out / "dataset.yaml").read_text().splitlines()[-2:] == ["  0: A", "  1: G"]
    seen = 0
    for part in ("train", "val", "test"):
        coco = json.loads((out / f"coco_{part}.json").read_text())
        for entry in coco["images"]:
            name = Path(entry["file_name"]).stem
            row = store.names.tolist().index(name)
            assert store.folds[row] == part
            with Image.open(out / "images" / part / entry["file_name"]) as image:
                pixels = np.asarray(image)
                assert image.info == {}  # no text, time or other chunk beside the pixels
            np.testing.assert_array_equal(pixels[..., :2], np.moveaxis(store.read([row])[0][:, 0], 0, -1))
            assert (pixels[..., 2] == 0).all()
            target = [box for box in store.targets([row])[0].tolist() if box[-1] >= 0]
            theirs = [one for one in coco["annotations"] if one["image_id"] == entry["id"]]
            assert [
                [y, x, y + h, x + w, one["category_id"]] for one in theirs for x, y, w, h in [one["bbox"]]
            ] == target
            lines = (out / "labels" / part / f"{name}.txt").read_text().splitlines()
            yolo = [[float(word) for word in line.split()] for line in lines]
            again = [[(yc - h / 2), (xc - w / 2), (yc + h / 2), (xc + w / 2), k / 48] for k, xc, yc, w, h in yolo]
            np.testing.assert_allclose(np.array(again).reshape(-1, 5) * 48, np.array(target).reshape(-1, 5), atol=1e-3)
            seen += 1
    assert seen == len(store) == 12
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_is_prepared_can_be_trained_on(root: Path, tmp_path: Path, command: Command) -> None:
    run(root, tmp_path / "out")
    words = ["experiment=lung_detector", "arch=detector/lung-slices", "data=prepared"]
    quick = ["training.epochs=1", "training.batch_size=4"]
    short = ["rounds=1", "resamples=20"]
    code, _, err = command(run_train.main, *words, f"data.path={tmp_path / 'out' / STORE}", *quick, *short)
    assert code == 0, err
    folder = tmp_path / "outputs" / "train" / "lung_detector"
    assert json.loads((folder / "result.json").read_text())["tested"]["samples"] == 4
    predictor = Predictor.load(folder)
    assert predictor.classes == ("A", "G")


def test_nothing_tells_the_patient(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, out)
    uids = set()
    for path in root.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        uids |= {str(header[name].value) for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")}
    secrets = [*uids, "DOE", "JANE", "20070425", "20070426", str(root)]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, (path, secret)
            assert secret not in str(path.relative_to(out))
        if path.suffix == ".png":
            assert set(re.findall(rb"IHDR|IDAT|IEND|tEXt|iTXt|zTXt|tIME|eXIf", content)) == {b"IHDR", b"IDAT", b"IEND"}


def test_a_mistake_is_one_line_and_leaves_nothing(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_voc(root / "Annotation" / "1.2.3.xml", [("A", 1, 1, 5, 5)])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as end:
        run(root, tmp_path / "out")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: got 1 annotations of slices that are not there")
    assert said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
    run(root, tmp_path / "out", "--skip-unknown", "--merge", "--all-slices")
    assert VolumeStore(tmp_path / "out" / STORE).classes == ("tumour",)
    with pytest.raises(SystemExit):
        run(root, tmp_path / "out", "--skip-unknown")
    assert "which exists" in capsys.readouterr().err


def test_one_patient_under_two_identifiers(root: Path, tmp_path: Path) -> None:
    """Her series again under another name: every image would be in two places."""
    again = root / "CT-again"
    shutil.copytree(root / "CT-P2-1", again)
    for number, path in enumerate(sorted(again.glob("*.dcm"))):
        one = pydicom.dcmread(path)
        old = str(one.SOPInstanceUID)
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        one.SeriesInstanceUID, one.PatientID = "1.2.3", "P5"
        one.save_as(path)
        annotation = root / "Annotation" / f"{old}.xml"
        if annotation.exists():
            shutil.copy(annotation, annotation.with_name(f"1.2.3.{number}.xml"))
    with pytest.raises(SystemExit):
        run(root, tmp_path / "out", "--negatives", "0")
    assert not (tmp_path / "out").exists()


def test_the_checks_find_what_was_changed_by_hand(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(root, out)
    check_export(out)

    def refused(said: str) -> None:
        with pytest.raises(NASError, match=said):
            check_export(out)

    first = sorted((out / "images" / "train").iterdir())[0]
    label = out / "labels" / "train" / f"{first.stem}.txt"
    text = label.read_text()
    label.write_text(text + "0 0.5 0.5 0.1 0.1\n")
    refused("boxes for YOLO")
    label.unlink()
    refused("image or label is missing")
    label.write_text(text)
    moved = out / "images" / "val" / first.name
    shutil.copy(first, moved)
    shutil.copy(label, out / "labels" / "val" / label.name)
    refused("patient-|same image")
