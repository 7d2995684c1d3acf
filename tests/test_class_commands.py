"""Commands that decide on classes and name outputs: thresholds, the positive class, columns of channels, full names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.commands.predict import _outs
from experiments.commands.voxnas import run
from nas.data.sources.manifest import Manifest
from nas.errors import NASError
from nas.inference.cases import find_cases
from nas.tasks.classification import Classification
from search_spaces.resnet3d import ResNet3DSpace
from tests.data.written_decathlon import write_nifti
from tests.trainings import write_training

CLASSES = ("sick", "well")
HEADER = "path_t1,path_t2,label,patient"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Networks of two channels that were never trained, with thresholds of their folds, and eight labelled cases."""
    lines = []
    for number in range(8):
        for channel in ("t1", "t2"):
            values = np.random.default_rng([number, len(lines)]).normal(number, 1, (9, 9, 9)).astype(np.float32)
            write_nifti(tmp_path / f"{channel}.{number}.nii.gz", values + (channel == "t2"))
        lines.append(f"t1.{number}.nii.gz,t2.{number}.nii.gz,{CLASSES[number % 2]},p{number}")
    (tmp_path / "cases.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    preparation = Manifest(str(tmp_path / "cases.csv"), "cache", size=8, window=[-5, 15]).preparation()
    space = ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=2)
    folder = tmp_path / "training"
    for seed, threshold in ((0, 1e-6), (1, 3e-6)):  # below every probability: all cases are called positive
        task = Classification(in_channels=2, positive="sick", threshold=threshold).for_classes(CLASSES)
        write_training(folder, space, task, preparation, CLASSES, 8, seeds=(seed,))
    return folder


def test_G13_predict_decides_with_the_mean_of_the_thresholds(trained: Path) -> None:
    out = trained.parent / "said.csv"
    assert run("predict", [str(trained), str(trained.parent / "cases.csv"), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 8
    assert {row["class"] for row in rows} == {"sick"}
    assert {row["threshold"] for row in rows} == {"2e-06"}
    specs = sorted(trained.glob("bundles/*/*/model.json"))
    for spec in specs:
        content = json.loads(spec.read_text())
        assert content["inference"]["positive"] == "sick"
        content["inference"]["threshold"] = 1 - 1e-6
        spec.write_text(json.dumps(content))
    assert run("predict", [str(trained), str(trained.parent / "cases.csv"), "--out", str(out)]) == 0
    assert {row["class"] for row in csv.DictReader(out.read_text().splitlines())} == {"well"}
    content["inference"]["threshold"] = 7
    specs[-1].write_text(json.dumps(content))
    assert run("predict", [str(trained), str(trained.parent / "cases.csv"), "--out", str(out)]) == 2


@pytest.mark.parametrize("decision", [{"positive": "well", "threshold": 0.5}, {"positive": "sick"}])
def test_an_ensemble_needs_one_decision(trained: Path, capsys: pytest.CaptureFixture[str], decision: dict) -> None:
    """Else positive class and threshold would depend on the order of the models."""
    spec = sorted(trained.glob("bundles/*/*/model.json"))[-1]
    content = json.loads(spec.read_text())
    content["inference"] = {key: value for key, value in content["inference"].items() if key != "threshold"} | decision
    spec.write_text(json.dumps(content))
    first, other = (str(path.parent) for path in sorted(trained.glob("bundles/*/*/model.json")))
    for one, two in ((first, other), (other, first)):
        words = [one, str(trained.parent / "cases.csv"), "--average-with", two, "--out", str(trained.parent / "p.csv")]
        assert run("predict", words) == 2
        assert "another task, classes, preparation or decision" in capsys.readouterr().err


def test_G13_G15_evaluate_names_class_and_threshold(trained: Path) -> None:
    results = trained.parent / "results"
    assert run("evaluate", [str(trained), str(trained.parent / "cases.csv"), "--out", str(results)]) == 0
    content = json.loads((results / "evaluation.json").read_text())
    assert content["decision"] == {"positive": "sick", "thresholds": {"the networks": 2e-6}}
    assert (content["values"]["sensitivity"], content["values"]["specificity"]) == (1, 0)
    assert "The networks never predict well." in content["warnings"]  # by the threshold, as the metrics
    caption = (results / "table.md").read_text().splitlines()[0]
    assert "positive class sick (of sensitivity, specificity and F1); called sick from a probability" in caption
    columns = next(csv.reader((results / "cases.csv").read_text().splitlines()))
    assert columns[-1] == "decision threshold"


def test_evaluate_measures_the_calibration(trained: Path) -> None:
    results = trained.parent / "results"
    assert run("evaluate", [str(trained), str(trained.parent / "cases.csv"), "--out", str(results)]) == 0
    found = json.loads((results / "evaluation.json").read_text())["calibration"]
    rows = list(csv.DictReader((results / "cases.csv").read_text().splitlines()))
    well_N = np.array([float(row["well"]) for row in rows])
    prob_NK = np.column_stack([well_N if name == "well" else 1 - well_N for name in CLASSES])
    right_N = np.array([CLASSES[prob_K.argmax()] == row["label"] for prob_K, row in zip(prob_NK, rows, strict=True)])
    bin_N, apart = np.ceil(15 * prob_NK.max(axis=1)), 0.0
    for number in np.unique(bin_N):
        of_bin = bin_N == number
        apart += of_bin.mean() * abs(right_N[of_bin].mean() - prob_NK[of_bin].max(axis=1).mean())
    assert found["ece"] == pytest.approx(apart, abs=1e-6)
    assert 0 <= found["ci95"][0] <= found["ci95"][1] <= 1
    assert sum(entry["n"] for entry in found["reliability"]) == len(rows)
    assert f"Expected calibration error {found['ece']:.3f} [" in (results / "table.md").read_text()


def test_A19_predict_needs_the_columns_of_the_training(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = trained.parent / "other.csv"
    other.write_text("path_t1,path_pd\nt1.0.nii.gz,t2.0.nii.gz\n")
    assert run("predict", [str(trained), str(other), "--out", str(trained.parent / "said.csv")]) == 2
    assert "expected path_t1, path_t2" in capsys.readouterr().err
    assert not (trained.parent / "said.csv").exists()


# ---- A21


def test_A21_names_that_differ_after_a_dot(tmp_path: Path) -> None:
    names = ["scan.1.nii.gz", "scan.2.nii.gz", "scan.1.5.nrrd", "scan.v1.npy", "scan.v2.NPY"]
    for name in names:
        (tmp_path / name).touch()
    for folder in ("P.1", "P.2"):
        (tmp_path / "dicom" / folder).mkdir(parents=True)
        (tmp_path / "dicom" / folder / "1.2.3").touch()
    cases = find_cases([*(tmp_path / name for name in names), tmp_path / "dicom"], 1)
    assert [case.name for case in cases] == ["scan.1", "scan.2", "scan.1.5", "scan.v1", "scan.v2", "P.1", "P.2"]
    outs = _outs(tmp_path / "masks.v2", cases)  # a folder may have a dot too
    assert len(set(outs)) == len(outs)
    assert outs[0] == tmp_path / "masks.v2" / "scan.1.nii.gz"
    (tmp_path / "cases.csv").write_text("path\n" + "\n".join(names[:3]) + "\n")
    assert [case.name for case in find_cases([tmp_path / "cases.csv"], 1)] == ["scan.1", "scan.2", "scan.1.5"]


@pytest.mark.parametrize("other", ["a/x.nrrd", "b/x.nii.gz", "a/x.NII"])
def test_A21_a_collision_is_refused(tmp_path: Path, other: str) -> None:
    for name in ("a/x.nii.gz", other):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(NASError, match="inputs of one name"):
        find_cases([tmp_path / "a/x.nii.gz", tmp_path / other], 1)


def test_A21_a_collision_writes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained.parent
    (folder / "twice.csv").write_text(f"{HEADER}\n" + "t1.0.nii.gz,t2.0.nii.gz,sick,p\n" * 2)
    before = sorted(folder.rglob("*"))
    for command in ("predict", "evaluate"):
        assert run(command, [str(trained), str(folder / "twice.csv"), "--out", str(folder / "new")]) == 2
        assert "inputs of one name, t1.0.nii.gz" in capsys.readouterr().err
    ct = [str(folder / name) for name in ("t1.0.nii.gz", "sub/t1.0.nii.gz")]
    assert run("screen", [*ct, "--no-network", "--out", str(folder / "new")]) == 2
    assert sorted(folder.rglob("*")) == before


def test_A21_evaluations_of_folders_that_differ_after_a_dot(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("v.1", "v.2"):
        for name in CLASSES:
            (trained.parent / version / name).mkdir(parents=True)
        np.save(trained.parent / version / "sick" / "a.npy", np.random.default_rng(0).random((2, 9, 9, 9)))
        np.save(trained.parent / version / "well" / "b.npy", np.random.default_rng(1).random((2, 9, 9, 9)))
        assert run("evaluate", [str(trained), str(trained.parent / version), "--resamples", "2"]) == 0
    assert sorted(path.name for path in (trained / "evaluation").iterdir()) == ["v.1", "v.2"]
