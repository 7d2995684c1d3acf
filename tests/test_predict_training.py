"""`voxnas predict` and `voxnas evaluate` from the folder of a training and nothing else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics import DiceMetric

from nas.data.transforms.preparation import prepared
from nas.errors import NASError
from nas.export.choice import chosen_bundles
from nas.inference.cases import find_cases
from nas.inference.record import volume_digest
from nas.provenance import DataFacts, Provenance, SearchRecord, SplitFacts
from nas.retraining.folds import group_digest
from nas.tasks.classification import Classification
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from nas.utils.hashing import digest
from search_spaces.detector import DetectorSpace
from search_spaces.unet import UNetSpace
from tests.bare_environment import BareEnvironment
from tests.commands import refused, voxnas
from tests.predictors import classifier, labelled
from tests.trainings import CLASSES, WINDOW, write_segmenter, write_training

OBLIQUE = np.array([[0.9, -0.35, 0.0, 3.0], [0.31, 1.01, 0.1, -40.0], [0.02, -0.12, 2.2, 12.0], [0, 0, 0, 1.0]])


def scan(path: Path, seed: int = 0, affine: np.ndarray | None = None, sides: tuple[int, ...] = (13, 12, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(100, 20, size=sides).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def table_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def orthogonal(affine: np.ndarray) -> np.ndarray:
    """The nearest affine without shear, which ITK can hold."""
    u, _, v = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    found = affine.copy()
    found[:3, :3] = (u @ v) * np.linalg.norm(affine[:3, :3], axis=0)
    return found


def test_a_folder_of_scans_becomes_masks_on_their_own_grids(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The mean of both folds, on an oblique and an anisotropic grid; finished masks are kept; a damaged scan does not
    end the others."""
    task, networks = write_segmenter(tmp_path / "x")
    scans, masks = tmp_path / "scans", tmp_path / "masks"
    scan(scans / "a.nii.gz", 0, orthogonal(OBLIQUE))
    scan(scans / "b.nii.gz", 1)
    (scans / "damaged.nii.gz").write_bytes((scans / "a.nii.gz").read_bytes()[:500])
    code, out, err = voxnas(capsys, "predict", tmp_path / "x", scans, "--out", masks)
    assert code == 2
    assert err.count("\n") == 1
    assert "damaged.nii.gz" in err
    assert "predicted 2 of 3 inputs, 1 failed" in out
    for name in "ab":
        image, mask = nib.load(scans / f"{name}.nii.gz"), nib.load(masks / f"{name}.nii.gz")
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert mask.shape == image.shape
        assert mask.get_data_dtype() == np.uint8
        assert sitk.ReadImage(str(masks / f"{name}.nii.gz")).GetDirection() == pytest.approx(
            sitk.ReadImage(str(scans / f"{name}.nii.gz")).GetDirection()
        )
    how = {"how": "grid", "spacing_mm": None, "normalise": "volume", "hounsfield": False}
    ready = prepared(scans / "b.nii.gz", how)
    prob = sum(task.predict(network, torch.from_numpy(ready.x_CDHW)[None])[0].numpy() for network in networks)
    turned = nib.load(masks / "b.nii.gz").as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(nib.load(masks / "b.nii.gz").affine), nib.orientations.axcodes2ornt(("L", "P", "S"))
        )
    )
    sure = np.diff(np.sort(prob, axis=0)[-2:], axis=0)[0] > 1e-3
    np.testing.assert_array_equal(np.asarray(turned.dataobj).transpose(2, 1, 0)[sure], prob.argmax(axis=0)[sure])

    written = (masks / "a.nii.gz").stat().st_mtime_ns
    scan(scans / "b.nii.gz", 2)  # another scan of the same name
    _, out, _ = voxnas(capsys, "predict", tmp_path / "x", scans, "--out", masks)
    assert (out.count("finished before"), (masks / "a.nii.gz").stat().st_mtime_ns) == (1, written)
    write_segmenter(tmp_path / "x", seeds=(2, 3))  # more folds in the same folder
    _, out, _ = voxnas(capsys, "predict", tmp_path / "x", scans, "--out", masks)
    assert "finished before" not in out
    _, out, _ = voxnas(capsys, "predict", tmp_path / "x", scans, "--out", masks, "--flips", "2")
    assert "finished before" not in out
    assert "is an input" in voxnas(capsys, "predict", tmp_path / "x", scans, "--out", scans)[2]


def test_names_of_nnunet_are_channels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """One file with all channels and one for each say the same; a missing channel is one line."""
    write_segmenter(tmp_path / "x", channels=2)
    scans, masks = tmp_path / "scans", tmp_path / "masks"
    for number in range(2):
        scan(scans / f"p_000{number}.nii.gz", number)
    both = np.stack([nib.load(scans / f"p_000{number}.nii.gz").get_fdata() for number in range(2)], axis=-1)
    affine = nib.load(scans / "p_0000.nii.gz").affine
    nib.save(nib.Nifti1Image(both.astype(np.float32), affine), scans / "whole.nii.gz")
    scan(scans / "lone_0000.nii.gz")
    code, _, err = voxnas(capsys, "predict", tmp_path / "x", scans, "--out", masks)
    assert code == 2
    assert "lone_0001.nii.gz; expected a file for each of 2 channels" in err
    assert {path.name for path in masks.glob("*.nii.gz")} == {"p.nii.gz", "whole.nii.gz"}
    masks_of = [nib.load(masks / f"{name}.nii.gz").get_fdata() for name in ("p", "whole")]
    np.testing.assert_array_equal(*masks_of)
    assert len(np.unique(masks_of[0])) > 1


def test_cases_of_folders_files_and_tables(tmp_path: Path) -> None:
    for name in ("p_0000.nii.gz", "p_0001.nii.gz", "q.nrrd", ".hidden.nii.gz", "r.img", "r.hdr", "note.txt"):
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / name).touch()
    assert [case.name for case in find_cases([tmp_path / "s"], 2)] == ["p", "q", "r"]
    assert [case.name for case in find_cases([tmp_path / "s"], 1)] == ["p_0000", "p_0001", "q", "r"]
    assert [case.name for case in find_cases([tmp_path / "s/p_0000.nii.gz"], 1)] == ["p"]
    (tmp_path / "t.csv").write_text("path,label,patient,x,y,z\ns/q.nrrd,well,P,1,2,3\ns/q.nrrd,well,P,1,2,4\n")
    table = find_cases([tmp_path / "t.csv"], 1)
    assert [(case.name, case.point_mm, case.patient) for case in table] == [
        ("s/q@1,2,3", (1.0, 2.0, 3.0), "P"),
        ("s/q@1,2,4", (1.0, 2.0, 4.0), "P"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NASError, match="no scan in"):
        find_cases([tmp_path / "empty"], 1)
    with pytest.raises(NASError, match="inputs of one name"):
        find_cases([tmp_path / "s/q.nrrd", tmp_path / "s/q.nrrd"], 1)


@pytest.mark.slow
def test_exported_folds_without_torch_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Probabilities of a csv within 1e-5, and the same masks, by an environment that has no torch."""
    bare = BareEnvironment(tmp_path / "bare")
    data = tmp_path / "data"
    classifier(tmp_path / "c", data)
    write_segmenter(tmp_path / "s", spacing_mm=[1.5, 1.2, 1.2])
    scans = scan(tmp_path / "scans/a.nii.gz", 0, orthogonal(OBLIQUE)).parent
    for name, given, out in (("c", data / "my.csv", "said.csv"), ("s", scans, "masks")):
        assert voxnas(capsys, "export", tmp_path / name, "--all-folds", "--format", "onnx")[0] == 0
        done = bare.voxnas("predict", tmp_path / name / "export", given, "--out", tmp_path / "bare" / out)
        assert done.returncode == 0, done.stderr
        assert voxnas(capsys, "predict", tmp_path / name, given, "--out", tmp_path / out)[0] == 0
    said, meant = (table_of(folder / "said.csv") for folder in (tmp_path / "bare", tmp_path))
    assert len(said) == 8
    for one, other in zip(said, meant, strict=True):
        assert (one["input"], one["class"]) == (other["input"], other["class"])
        assert float(one["ill"]) == pytest.approx(float(other["ill"]), abs=1e-5)
    one, other = (nib.load(folder / "masks/a.nii.gz") for folder in (tmp_path / "bare", tmp_path))
    np.testing.assert_array_equal(one.affine, other.affine)
    assert (one.get_fdata() == other.get_fdata()).mean() > 0.999


def test_boxes_of_a_detector(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    space = DetectorSpace.from_name("lung-slices")[0]
    task = Detection(in_channels=1, outputs=1, dims=2, detections=20, least=1e-6)
    how = {"how": "array", "scale": 1 / 255, "offset": 0.0, "windows": ["lung"], "size": 64}
    write_training(tmp_path / "x", space, task, how, ("nodule",), 64)
    scan(tmp_path / "ct.nii.gz", sides=(40, 32, 2))
    code, _, err = voxnas(capsys, "predict", tmp_path / "x", tmp_path / "ct.nii.gz", "--out", tmp_path / "b.csv")
    assert code == 0, err
    rows = table_of(tmp_path / "b.csv")
    assert {row["slice"] for row in rows} == {"0", "1"}
    assert all(0 <= float(row["x0"]) < float(row["x1"]) <= 40 for row in rows)
    assert all(0 <= float(row["y0"]) < float(row["y1"]) <= 32 for row in rows)


def test_evaluation_of_a_segmentation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Names of nnU-Net; the Dice of each case is MONAI's; a label on another grid is one line."""
    write_segmenter(tmp_path / "x", trained={"groups": {"train": [group_digest("seen")]}})
    root = labelled(tmp_path / "new")
    code, out, err = voxnas(capsys, "evaluate", tmp_path / "x", root, "--resamples", 50)
    assert code == 0, err
    folder = tmp_path / "x/evaluation/new"
    rows = table_of(folder / "cases.csv")
    assert [(row["case"], row["patient"], row["seen"]) for row in rows] == [
        (f"case{n}", f"case{n}", "no") for n in range(3)
    ]
    for row in rows:
        name = f"{row['case']}.nii.gz"
        maps = [nib.load(path / name).get_fdata() for path in (folder / "predictions", root / "labelsTr")]
        hot = [torch.from_numpy(np.stack([one == k for k in range(3)])[None].astype(np.float32)) for one in maps]
        dice = DiceMetric(include_background=False, reduction="none")(*hot)[0]
        for value, label in zip(dice, CLASSES[1:], strict=True):
            assert float(row[f"dice, {label}"] or "nan") == pytest.approx(float(value), abs=1e-5, nan_ok=True)
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["values"]["dice"] == pytest.approx(
        np.nanmean([[float(row[f"dice, {label}"] or "nan") for label in CLASSES[1:]] for row in rows], axis=0).mean(),
        abs=1e-5,
    )
    low, high = content["ci95"]["dice"]
    assert low <= content["values"]["dice"] <= high
    assert "Dice front" in out
    assert "3 cases of 3 patients" in (folder / "table.md").read_text()
    shifted = nib.load(root / "labelsTr/case1.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(shifted.dataobj), shifted.affine + np.eye(4)), root / "labelsTr/case1.nii.gz")
    (folder / "result.json").unlink()  # of other labels, so it would not be replaced
    code, out, err = voxnas(capsys, "evaluate", tmp_path / "x", root, "--resamples", 50)
    assert code == 2
    assert (out.count("finished before"), err.count("\n")) == (3, 1)
    assert "2 cases of 2 patients" in out


def test_G2_patients_that_were_seen_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """By patient of the training, by patient of the search, and by the image under another name."""
    root = labelled(tmp_path / "new", 4)
    search = SearchRecord(
        "s", 1, 0, 0, 0, DataFacts("msd", "0" * 64, 1), SplitFacts("0" * 64),
        patients=(digest(["msd", "case1"]),),
        contents=(volume_digest(root / "imagesTr/case2_0000.nii.gz"),),
    )  # fmt: skip
    trained = {"groups": {"train": [group_digest("case0")], "valid": [], "test": [group_digest("case3")]}}
    write_segmenter(tmp_path / "x", trained=trained, provenance=Provenance(search=search))
    (root / "imagesTr/case2_0000.nii.gz").rename(root / "imagesTr/other_0000.nii.gz")
    (root / "labelsTr/case2.nii.gz").rename(root / "labelsTr/other.nii.gz")
    answer = voxnas(capsys, "evaluate", tmp_path / "x", root)
    refused(answer, "3 of 4 cases, of 3 patients, that the search or the training has seen")
    assert not (tmp_path / "x/evaluation").exists()
    words = ("evaluate", tmp_path / "x", root, "--resamples", 20, "--seen")
    code, out, err = voxnas(capsys, *words, "skip")
    assert code == 0, err
    assert "left out 3 of 4 cases" in out
    assert "1 cases of 1 patients" in out
    code, out, _ = voxnas(capsys, *words, "keep")
    assert code == 0
    assert "3 of the cases were seen by the search or the training: no test" in out


def test_evaluation_of_a_classification(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The metrics of the task on the probabilities of cases.csv; an unknown label is one line."""
    source = classifier(tmp_path / "x", tmp_path / "data")
    code, _, err = voxnas(capsys, "evaluate", tmp_path / "x", tmp_path / "data/my.csv", "--resamples", 50)
    assert code == 0, err
    assert "does not record" in err
    rows = table_of(tmp_path / "x/evaluation/my/cases.csv")
    well = np.array([float(row["well"]) for row in rows])
    target = np.array([source.classes.index(row["label"]) for row in rows])
    meant = Classification().score(np.stack([1 - well, well], axis=1), target).over()
    found = json.loads((tmp_path / "x/evaluation/my/evaluation.json").read_text())["values"]
    assert found["auc"] == pytest.approx(meant["auc"])
    assert found["accuracy"] == pytest.approx(meant["accuracy"])
    table = tmp_path / "data/my.csv"
    table.write_text(table.read_text().replace("0.nii.gz,ill", "0.nii.gz,sick"))
    (tmp_path / "x/evaluation/my/result.json").unlink()  # of other labels, so it would not be replaced
    code, _, err = voxnas(capsys, "evaluate", tmp_path / "x", tmp_path / "data/my.csv", "--resamples", 50)
    assert code == 2
    assert "the label sick" in err


def test_real_hippocampus(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two cases of the Decathlon as a folder of nnU-Net; skipped where the data are not at hand."""
    root = tmp_path / "Task04"
    for folder, end in (("imagesTr", "_0000"), ("labelsTr", "")):
        (root / folder).mkdir(parents=True)
        for name in ("hippocampus_001", "hippocampus_003"):
            (root / folder / f"{name}{end}.nii.gz").symlink_to(
                shared_data / "Task04_Hippocampus" / folder / f"{name}.nii.gz"
            )
    write_segmenter(tmp_path / "x", seeds=(0,))
    code, out, err = voxnas(capsys, "evaluate", tmp_path / "x", root, "--resamples", 20)
    assert code == 0, err
    assert "2 cases of 2 patients" in out
    mask = nib.load(tmp_path / "x/evaluation/Task04/predictions/hippocampus_001.nii.gz")
    image = nib.load(root / "imagesTr/hippocampus_001_0000.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.shape == image.shape


@pytest.fixture
def two_networks(tmp_path: Path) -> tuple[Path, dict[str, list[torch.nn.Module]]]:
    """A training on two networks, two folds each, and a third one that it only compares with."""
    folder, networks = tmp_path / "x", {}
    for number, width in enumerate((4, 8, 12)):
        space = UNetSpace(depths=(2,), widths=(width,), block_counts=(1,), kernels=(3,), out_channels=len(CLASSES))
        task = Segmentation(in_channels=1, outputs=len(CLASSES), window=WINDOW, overlap=0.5, precision="fp32")
        how = {"how": "grid", "spacing_mm": None, "normalise": "volume", "hounsfield": False}
        made = write_training(folder, space, task, how, CLASSES, 8, seeds=(2 * number, 2 * number + 1))
        networks[json.loads((folder / "result.json").read_text())["arch_id"]] = made
    first, second, _ = networks
    assert len(networks) == 3
    scores = {"ensemble of 2 networks": {}, f"searched {first}": {}, f"searched {second}": {}}
    result = {"arch_id": first, "name": f"searched {first}", "ensembles": scores}
    result["headline"] = {"system": "ensemble of 2 networks", "networks": 2}
    (folder / "result.json").write_text(json.dumps(result))
    return folder, networks


def test_a_training_on_two_networks_predicts_with_their_ensemble_or_with_one(
    two_networks: tuple[Path, dict[str, list[torch.nn.Module]]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, networks = two_networks
    first, second, compared = networks
    image = scan(tmp_path / "a.nii.gz")
    chosen = {None: [first, second], "ensemble": [first, second], f"searched {second}": [second], first: [first]}
    for name, ids in chosen.items():
        words = [] if name is None else ["--network", name]
        code, out, err = voxnas(capsys, "predict", folder, image, "--out", tmp_path / f"{name}.nii.gz", *words)
        assert code == 0, err
        assert ("ensemble of 2 networks, 4 trainings" in out) == (len(ids) == 2)
        found = {bundle.artifact.arch.id for bundle in chosen_bundles(folder, name)}
        assert found == set(ids)
        assert len(chosen_bundles(folder, name)) == 2 * len(ids)
    for wrong in (compared, "none", "../.."):
        answer = voxnas(capsys, "predict", folder, image, "--out", tmp_path / "b.nii.gz", "--network", wrong)
        refused(answer, f"'searched {first}', 'searched {second}', ensemble")
