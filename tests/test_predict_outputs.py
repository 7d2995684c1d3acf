"""Predictions and evaluations replace no file that they did not write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.errors import NASError
from nas.inference.record import Record
from nas.utils.hashing import digest, file_digest
from tests.commands import refused, voxnas
from tests.predictors import classifier, labelled
from tests.trainings import write_segmenter

OTHERS = "a file that this command did not write"


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_label_maps_of_others_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """True label maps, a file beside the folder, edited predictions; also below the folder of an evaluation."""
    write_segmenter(tmp_path / "x", seeds=(0,))
    root = labelled(tmp_path / "new", 1)
    (tmp_path / "masks.jsonl").write_text('{"mine": 1}\n')
    (tmp_path / "results/predictions").mkdir(parents=True)
    (tmp_path / "results/predictions/case0.nii.gz").write_bytes(b"mine")
    before, words = contents(tmp_path), ("predict", tmp_path / "x", root / "imagesTr/case0_0000.nii.gz", "--out")
    for out in (root / "labelsTr", root / "labelsTr/case0.nii.gz", tmp_path / "masks"):
        refused(voxnas(capsys, *words, out), OTHERS)
        refused(voxnas(capsys, *words, out, "--again"), OTHERS)
    refused(voxnas(capsys, "evaluate", tmp_path / "x", root, "--out", tmp_path / "results"), OTHERS)
    assert contents(tmp_path) == before
    for out in (tmp_path / "own", tmp_path / "own.nii.gz"):
        for more in ((), (), ("--flips", "none"), ("--again",)):
            code, _, err = voxnas(capsys, *words, out, *more)
            assert code == 0, err
    mask = tmp_path / "own/case0.nii.gz"
    mask.write_bytes(b"corrected by hand")
    refused(voxnas(capsys, *words, tmp_path / "own"), OTHERS)
    assert mask.read_bytes() == b"corrected by hand"


def test_tables_of_others_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    classifier(tmp_path / "x", tmp_path / "data")
    (tmp_path / "x/predictions.csv").write_text("of the training")
    (tmp_path / "mine.csv").write_text("of the user")
    (tmp_path / "more.jsonl").write_text("of the user")
    before, words = contents(tmp_path), ("predict", tmp_path / "x", tmp_path / "data/0.nii.gz", "--out")
    refused(voxnas(capsys, *words, tmp_path / "x"), "a folder that holds a result")
    for name in ("mine.csv", "more.csv"):
        refused(voxnas(capsys, *words, tmp_path / name), OTHERS)
    assert contents(tmp_path) == before
    for more in ((), (), ("--again",)):
        code, _, err = voxnas(capsys, *words, tmp_path / "own.csv", *more)
        assert code == 0, err
    (tmp_path / "own.csv").write_text("edited")
    refused(voxnas(capsys, *words, tmp_path / "own.csv"), OTHERS)


def record_of(out: Path, model: int) -> Record:
    return Record(out.with_name(f"{out.name}.jsonl"), digest(model), out)


def test_a_record_keeps_the_names_of_its_files(tmp_path: Path) -> None:
    """Through an interruption while a file is written or a line is cut off, other models, and earlier versions."""
    out = tmp_path / "masks"
    out.mkdir()
    first, second, other = (out / f"{name}.nii.gz" for name in "abc")
    record = record_of(out, 1)
    record.require_own([first, second])
    record.start(first)
    first.write_bytes(b"1")
    record.add("a", "", first, {})
    record.start(second)
    second.write_bytes(b"2")  # and the process ends
    with record.path.open("a") as file:
        file.write('{"name": "b", "inp')
    for model in (1, 2, 2):
        record = record_of(out, model)
        record.require_own([first, second])
        record.start(first)
        first.write_bytes(b"3")
        record.add("a", "", first, {})
    record_of(out, 3).require_own([first, second])
    other.write_bytes(b"4")
    with pytest.raises(NASError, match=r"c\.nii\.gz, a file that this command did not write"):
        record_of(out, 3).require_own([first, other])
    line = {"name": "a", "inputs": "", "output": file_digest(first), "result": {}}
    record.path.write_text(f"{json.dumps({'model': digest(1)})}\n{json.dumps(line)}\n")
    (out / "uncertainty.csv").write_text("")
    record_of(out, 1).require_own([first, out / "uncertainty.csv"])
    with pytest.raises(NASError, match=r"b\.nii\.gz, a file"):
        record_of(out, 1).require_own([second])


def test_a_failed_prediction_leaves_no_record(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_segmenter(tmp_path / "x", seeds=(0,))
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    before = contents(tmp_path)
    assert voxnas(capsys, "predict", tmp_path / "x", tmp_path / "bad.nii.gz", "--out", tmp_path / "masks")[0] == 2
    assert contents(tmp_path) == before
