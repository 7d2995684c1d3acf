"""Uncertainty of an ensemble: maps and volumes of a segmentation, and the spread of a classification."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from experiments.commands.voxnas import run
from nas.data.sources.manifest import Manifest
from nas.data.transforms.preparation import Prepared
from nas.inference.uncertainty import (
    information_map,
    map_paths,
    spread_of_classes,
    variance_map,
    volume_interval,
    volumes_of,
)
from nas.tasks.classification import Classification
from search_spaces.resnet3d import ResNet3DSpace
from tests.data.written_decathlon import write_nifti
from tests.trainings import write_segmenter, write_training

LN2 = np.log(2)


def test_maps_of_two_networks_by_hand() -> None:
    first, second = (np.array([[1 - p, p] for p in row]).T for row in ((0.0, 0.5, 0.9), (1.0, 0.5, 0.7)))
    both = np.stack([first, second])  # (networks, classes, voxels)
    assert variance_map(both) == pytest.approx([0.25, 0.0, 0.01])  # ((0.9 - 0.7) / 2)^2
    disagree = LN2  # entropy of (0.5, 0.5), each network without any

    def entropy(p: float) -> float:
        return float(-p * np.log(p) - (1 - p) * np.log(1 - p))

    expected = [disagree, 0.0, entropy(0.8) - (entropy(0.9) + entropy(0.7)) / 2]
    assert information_map(both) == pytest.approx(expected, abs=1e-9)


def test_volumes_of_two_networks_by_hand() -> None:
    first, second = np.zeros((2, 2, 1, 1, 10)), np.zeros((2, 2, 1, 1, 10))
    for prob, marked in ((first[0], 4), (second[0], 6)):
        prob[1, ..., :marked] = 0.9
        prob[0] = 1 - prob[1]
    (volume,) = volumes_of(np.stack([first[0], second[0]]), Prepared(np.zeros((1, 1, 1, 10), np.float32)))
    assert list(volume.single_ml) == [4, 6]
    assert volume.ml == 4  # voxels 5 and 6 have 0.45 on average
    assert volume.expected_ml == pytest.approx(4 * 0.9 + 2 * 0.45)
    # t(0.975, 1) = 12.706, s = sqrt(2), sqrt(1 + 1/2)
    assert volume.high_ml == pytest.approx(5 + 12.7062 * np.sqrt(2) * np.sqrt(1.5), rel=1e-4)
    assert volume.low_ml == 0


def test_the_interval_holds_one_further_network_in_95_percent() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(100, 5, (1000, 6))
    inside = [low <= row[5] <= high for row in draws for low, high in [volume_interval(row[:5])]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_spread_of_classes_by_hand() -> None:
    found = spread_of_classes(np.array([[0.2, 0.8], [0.4, 0.6]]), ("a", "b"))
    assert found["sd a"] == found["sd b"] == pytest.approx(0.141421, abs=1e-6)
    assert 0 < found["mutual_information"] < LN2


def test_files_of_a_segmentation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_segmenter(tmp_path / "training", spacing_mm=[1.0, 1.0, 1.0])
    voxels = np.random.default_rng(0).normal(100, 20, (9, 10, 12)).astype(np.float32)
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = (5, -7, 11)
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(voxels + (name == "b"), affine), tmp_path / f"scans/{name}.nii.gz")
    words = [str(tmp_path / "training"), str(tmp_path / "scans"), "--out", str(tmp_path / "masks"), "--uncertainty"]
    assert run("predict", words) == 0
    for name in ("a", "b"):
        label = nib.load(tmp_path / f"masks/{name}.nii.gz")
        for kind, path in map_paths(tmp_path / f"masks/{name}.nii.gz").items():
            image = nib.load(path)
            assert image.shape == label.shape == voxels.shape
            assert (image.affine == affine).all()
            values = np.asarray(image.dataobj)
            assert values.dtype == np.float32
            assert 0 < values.max() <= (0.5 if kind == "variance" else LN2) + 1e-6
            assert values.min() >= 0
    rows = list(csv.DictReader((tmp_path / "masks/uncertainty.csv").read_text().splitlines()))
    assert [(Path(row["input"]).name, row["class"]) for row in rows] == [
        (f"{name}.nii.gz", label) for name in ("a", "b") for label in ("front", "back")
    ]
    marked = (np.asarray(nib.load(tmp_path / "masks/a.nii.gz").dataobj) == 1).sum() * 9 / 1000  # ml
    assert float(rows[0]["volume"]) == pytest.approx(marked, abs=1e-4)
    assert rows[0]["unit"] == "ml"
    assert float(rows[0]["low"]) <= float(rows[0]["smallest"]) <= float(rows[0]["largest"]) <= float(rows[0]["high"])
    capsys.readouterr()
    (tmp_path / "masks/a_variance.nii.gz").unlink()
    assert run("predict", words) == 0  # only the case whose map is gone is predicted again
    lines = capsys.readouterr().out.splitlines()
    assert ["finished before" in line for line in lines[:2]] == [False, True]
    assert (tmp_path / "masks/a_variance.nii.gz").is_file()
    assert len(list(csv.DictReader((tmp_path / "masks/uncertainty.csv").read_text().splitlines()))) == 4


def test_columns_of_a_classification(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_nifti(tmp_path / "one.nii.gz", np.random.default_rng(0).normal(0, 1, (9, 9, 9)).astype(np.float32))
    preparation = Manifest(None, "cache", size=8, window=[-3, 3]).preparation()
    space = ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=1)
    write_training(tmp_path / "training", space, Classification(), preparation, ("a", "b"), 8)
    words = [str(tmp_path / "training"), str(tmp_path / "one.nii.gz"), "--out", str(tmp_path / "p.csv")]
    assert run("predict", [*words, "--uncertainty"]) == 0
    (row,) = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    assert list(row) == ["input", "class", "a", "b", "sd a", "sd b", "mutual_information"]
    single = []
    for folder in sorted(tmp_path.glob("training/bundles/*/*")):
        assert run("predict", [str(folder), words[1], "--out", str(tmp_path / f"{folder.name}.csv")]) == 0
        (alone,) = csv.DictReader((tmp_path / f"{folder.name}.csv").read_text().splitlines())
        single.append(float(alone["a"]))
    assert float(row["sd a"]) == pytest.approx(np.std(single, ddof=1), abs=2e-6)
    capsys.readouterr()
    assert run("predict", [str(folder), words[1], "--out", str(tmp_path / "q.csv"), "--uncertainty"]) == 2
    assert "one network" in capsys.readouterr().err


def test_maps_replace_no_input_and_no_other_output(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_segmenter(tmp_path / "training")
    voxels = np.random.default_rng(0).normal(100, 20, (9, 10, 12)).astype(np.float32)
    for name in ("a", "a_variance"):
        write_nifti(tmp_path / f"scans/{name}.nii.gz", voxels)
    scans, before = tmp_path / "scans", (tmp_path / "scans/a_variance.nii.gz").read_bytes()
    words = [str(tmp_path / "training"), "--uncertainty", "--out"]
    assert run("predict", [*words, str(scans / "a.nii.gz"), str(scans / "a_variance.nii.gz")]) == 2
    assert "a_variance.nii.gz, which is an input" in capsys.readouterr().err
    assert (scans / "a_variance.nii.gz").read_bytes() == before
    assert not (scans / "a.nii.gz.jsonl").exists()
    assert run("predict", [*words, str(tmp_path / "masks"), str(scans)]) == 2
    assert "two outputs of one path" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()
    (tmp_path / "one_uncertainty.csv").write_text(f"path\n{scans / 'a.nii.gz'}\n")
    assert run("predict", [*words, str(tmp_path / "one.nii.gz"), str(tmp_path / "one_uncertainty.csv")]) == 2
    assert "one_uncertainty.csv, which is an input" in capsys.readouterr().err
