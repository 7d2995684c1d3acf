"""`voxnas evaluate --predictions`: label maps of any program, measured as those of a trained network."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric

from nas.comparison.jobs import job_folders
from nas.inference.label_maps import find_label_maps, match_predictions
from nas.retraining.pooled import read_pooled
from nas.retraining.result import TrainResult
from tests.commands import refused, voxnas
from tests.data.written_decathlon import case, write_nifti
from tests.trainings import CLASSES, write_segmenter

MM = (1, 1, 2)
LABELS = {"background": 0, "front": 1, "back": 2}


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def labelled(root: Path, count: int = 3) -> Path:
    """A folder in the form of nnU-Net, whose images a network can predict."""
    for number in range(count):
        image, label = case((13 + number, 12, 9), MM)
        image += np.random.default_rng(number).normal(0, 20, image.shape).astype(np.float32)
        write_nifti(root / f"imagesTr/case{number}_0000.nii.gz", image, "PIL", MM)
        write_nifti(root / f"labelsTr/case{number}.nii.gz", label, "PIL", MM)
    facts = {"channel_names": {"0": "MRI"}, "labels": LABELS, "numTraining": count, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


def predicted(root: Path, count: int = 3, codes: str = "RAS") -> Path:
    """Labels of `labelled` with an error of a few voxels, on axes of their own."""
    for number in range(count):
        _, label = case((13 + number, 12, 9), MM)
        label[: 4 + number, :4] = 0
        label[-4, 5:8, 3] = 2
        write_nifti(root / f"case{number}.nii.gz", label, codes, MM)
    return root


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
def test_metrics_are_those_of_monai_on_the_grid_of_the_label(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Predictions on other axes; Dice and HD95 of every case are MONAI's; the caption states what is unknown."""
    data, guesses = labelled(tmp_path / "data"), predicted(tmp_path / "guesses")
    words = (
        "evaluate",
        "--predictions",
        guesses,
        data,
        "--out",
        tmp_path / "out",
        "--resamples",
        50,
        "--name",
        "other",
    )
    code, out, err = voxnas(capsys, *words)
    assert code == 0, err
    assert "3 cases of 3 patients" in out
    assert "which does not state the cases that it was trained on" in out
    rows = table_of(tmp_path / "out/cases.csv")
    assert [(row["case"], row["seen"]) for row in rows] == [(f"case{n}", "unknown") for n in range(3)]
    for row in rows:
        name = f"{row['case']}.nii.gz"
        maps = [nib.as_closest_canonical(nib.load(path / name)).get_fdata() for path in (guesses, data / "labelsTr")]
        hot = [torch.from_numpy(np.stack([one == k for k in range(3)])[None].astype(np.float32)) for one in maps]
        dice = DiceMetric(include_background=False, reduction="none")(*hot)[0]
        hd95 = HausdorffDistanceMetric(percentile=95, reduction="none")(*hot, spacing=MM)[0]
        for number, label in enumerate(CLASSES[1:]):
            assert float(row[f"dice, {label}"]) == pytest.approx(float(dice[number]), abs=1e-5)
            assert float(row[f"hd95, {label}"]) == pytest.approx(float(hd95[number]), abs=1e-4)
    content = json.loads((tmp_path / "out/evaluation.json").read_text())
    low, high = content["ci95"]["dice"]
    assert low < content["values"]["dice"] < high


def test_an_evaluation_stands_beside_that_of_a_network(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The label maps of a network give its own numbers when they are read in; `voxnas compare` has both as rows."""
    write_segmenter(tmp_path / "x")
    data = labelled(tmp_path / "data")
    code, _, err = voxnas(capsys, "evaluate", tmp_path / "x", data, "--resamples", 50)
    assert code == 0, err
    own = tmp_path / "x/evaluation/data"
    words = ("evaluate", data, "--predictions", own / "predictions", "--resamples", 50)
    code, _, err = voxnas(capsys, *words, "--out", tmp_path / "same", "--name", "read in")
    assert code == 0, err
    numbers = [json.loads((folder / "evaluation.json").read_text()) for folder in (own, tmp_path / "same")]
    assert numbers[0]["values"] == numbers[1]["values"]
    assert numbers[0]["ci95"] == numbers[1]["ci95"]
    results = [TrainResult.load(folder / "result.json") for folder in (own, tmp_path / "same")]
    assert results[0].data == results[1].data
    assert results[1].name == "read in"
    pooled = read_pooled("read in", [tmp_path / "same"])
    assert pooled.scores.over()["dice"] == pytest.approx(numbers[1]["values"]["dice"], abs=1e-5)
    predicted(tmp_path / "guesses")
    words = ("evaluate", data, "--predictions", tmp_path / "guesses", "--resamples", 50)
    assert voxnas(capsys, *words, "--out", tmp_path / "other", "--name", "nnU-Net")[0] == 0
    code, out, err = voxnas(capsys, "compare", own, tmp_path / "other", "--resamples", 50)
    assert code == 0, err
    assert "nnU-Net" in out
    assert f"{TrainResult.load(tmp_path / 'other/result.json').mean['dice']:.3f}" in out
    assert [path.name for path in job_folders(tmp_path)] == ["other", "same", "x"]  # not the evaluation within x


def test_cases_without_a_counterpart_and_wrong_labels_are_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, guesses = labelled(tmp_path / "data"), predicted(tmp_path / "guesses")
    (guesses / "case1.nii.gz").unlink()
    (guesses / "plans.json").write_text("{}")
    shutil.copy(guesses / "case0.nii.gz", guesses / "stranger.nii.gz")
    words = ("evaluate", data, "--predictions", guesses, "--out", tmp_path / "out", "--resamples", 20)
    answer = voxnas(capsys, *words)
    refused(answer, "no prediction of 1 of 3 cases: case1")
    assert "warning: 1 predictions without a label, not measured: stranger.nii.gz" in answer[2]
    code, out, err = voxnas(capsys, *words, "--missing", "skip")
    assert code == 0, err
    assert "left out 1 of 3 cases" in out
    assert "2 cases of 2 patients" in out
    wrong = nib.load(guesses / "case2.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(wrong.dataobj) + np.uint8(1), wrong.affine), guesses / "case2.nii.gz")
    code, out, err = voxnas(capsys, *words, "--missing", "skip")
    assert code == 2
    assert "the label 3" in err
    assert "case2.nii.gz" in err
    assert "background, front, back" in err
    nib.save(nib.Nifti1Image(np.asarray(wrong.dataobj), wrong.affine + 3 * np.eye(4)), guesses / "case2.nii.gz")
    code, out, err = voxnas(capsys, *words, "--missing", "skip")
    assert code == 2
    assert "a label map and its prediction" in err
    refused(voxnas(capsys, "evaluate", tmp_path, data, "--predictions", guesses), "with --predictions")
    refused(voxnas(capsys, "evaluate", data), "no TRAINING")
    refused(voxnas(capsys, *words, "--classes", "a"), "--classes a")


def test_label_maps_are_found_in_every_form(tmp_path: Path) -> None:
    """Names of cases and classes, of a folder of nnU-Net, of its label maps alone, and of a csv."""
    data, guesses = labelled(tmp_path / "data"), predicted(tmp_path / "guesses")
    names = [f"case{number}" for number in range(3)]
    for path in (data, data / "labelsTr"):
        found = find_label_maps(path)
        assert [one.name for one in found.cases] == names
        assert found.classes == CLASSES
    lines = ["path,label,patient", *(f"data/imagesTr/{n}_0000.nii.gz,data/labelsTr/{n}.nii.gz,p" for n in names)]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    found = find_label_maps(tmp_path / "cases.csv")
    assert [(one.name, one.patient) for one in found.cases] == [(f"data/imagesTr/{name}", "p") for name in names]
    matched = match_predictions(guesses, found.cases)
    assert list(matched.files.values()) == [guesses / f"{name}.nii.gz" for name in names]
    assert (matched.missing, matched.extra) == ((), ())


def test_predictions_are_measured_by_subgroups_of_the_csv(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, guesses, csv_file = labelled(tmp_path / "data"), predicted(tmp_path / "guesses"), tmp_path / "data/cases.csv"
    lines = [
        "label,case,patient,sex,ward",
        *(f"labelsTr/case{n}.nii.gz,case{n},p{n},{'fmf'[n]},{n % 2}" for n in range(3)),
    ]
    csv_file.write_text("\n".join(lines))
    words = ("evaluate", "--predictions", guesses, csv_file, "--resamples", 20, "--out", tmp_path / "out")
    for more, columns in (((), {"sex"}), (("--subgroups", "ward"), {"ward"})):
        code, out, err = voxnas(capsys, *words, *more)
        assert code == 0, err
        found = json.loads((tmp_path / "out/evaluation.json").read_text())["subgroups"]
        assert {one["column"] for one in found} == columns
        assert columns.pop() in out
    refused(voxnas(capsys, *words, "--subgroups", "scanner"), "no column scanner")
    refused(voxnas(capsys, "evaluate", "--predictions", guesses, data, "--subgroups", "sex"), "--subgroups sex")


@pytest.mark.parametrize("option", ["--flips 0", "--seen skip", "--network a", "--rotations HW", "--npy-axes DHW"])
def test_options_of_networks_change_no_predictions(tmp_path: Path, capsys: pytest.CaptureFixture, option: str) -> None:
    words = ("evaluate", "--predictions", tmp_path, tmp_path, *option.split())
    refused(voxnas(capsys, *words), f"{option.split()[0]} with --predictions")


@pytest.mark.parametrize("option", ["--tolerance 2", "--missing skip", "--cases-of x", "--classes a,b"])
def test_options_of_predictions_change_no_network(tmp_path: Path, capsys: pytest.CaptureFixture, option: str) -> None:
    refused(voxnas(capsys, "evaluate", tmp_path, tmp_path, *option.split()), f"{option.split()[0]} with a training")


def test_the_csv_of_the_labels_is_not_replaced_by_the_results(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, guesses = labelled(tmp_path / "data"), predicted(tmp_path / "guesses")
    lines = ["path,label", *(f"imagesTr/case{n}_0000.nii.gz,labelsTr/case{n}.nii.gz" for n in range(3))]
    (data / "cases.csv").write_text("\n".join(lines))
    write_segmenter(tmp_path / "training")
    for words in (("--predictions", guesses), (tmp_path / "training",)):
        answer = voxnas(capsys, "evaluate", *words, data / "cases.csv", "--out", data)
        refused(answer, "cases.csv, which is an input")
    assert (data / "cases.csv").read_text() == "\n".join(lines)


def test_results_of_other_trainings_data_and_systems_are_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The test result of the training; data and systems of one name. The same evaluation again is allowed."""
    write_segmenter(tmp_path / "x", seeds=(0,))
    words = ("evaluate", tmp_path / "x")
    first, other = labelled(tmp_path / "a/new", 2), labelled(tmp_path / "b/new", 3)
    before = (tmp_path / "x/result.json").read_bytes()
    refused(voxnas(capsys, *words, first, "--out", tmp_path / "x"), "which holds a training", "a folder of its own")
    assert (tmp_path / "x/result.json").read_bytes() == before
    assert not (tmp_path / "x/table.md").exists()
    for _ in range(2):
        code, _, err = voxnas(capsys, *words, first, "--resamples", 20)
        assert code == 0, err
    result = tmp_path / "x/evaluation/new/result.json"
    before = result.read_bytes()
    refused(voxnas(capsys, *words, other), "the evaluation of another system or of other data", "change --out")
    assert result.read_bytes() == before
    out = ("--resamples", 20, "--out", tmp_path / "out")
    for place, expected in (("p/same", 0), ("p/same", 0), ("q/same", 2)):
        guesses = predicted(tmp_path / place, 2)
        answer = voxnas(capsys, "evaluate", "--predictions", guesses, first, *out)
        assert answer[0] == expected, answer[2]
    refused(answer, "the evaluation of another system")
