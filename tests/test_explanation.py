"""Maps of classifiers: Grad-CAM against MONAI, gates of CBAM, their sanity check and their place in the scan."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from experiments.commands.voxnas import run
from nas.data.io.crops import crop, crop_grid
from nas.data.sources.manifest import Manifest
from nas.errors import NASError
from nas.explanation.maps import explain, gate_of, gates_of, grad_cam, last_features
from nas.explanation.sanity import mean_correlation, rank_correlation
from nas.task_spec import TaskSpec
from nas.tasks.classification import Classification
from search_spaces.layers.cbam import PublishedCBAM3D, WooCBAM3D
from search_spaces.naslung import NASLungSpace
from search_spaces.resnet3d import ResNet3DSpace
from tests.trainings import write_training

SPACES = {
    "resnet3d": ResNet3DSpace(widths=(4,), depths=((1,), (1,)), in_channels=1),
    "naslung": NASLungSpace(),
}


def network(name: str, seed: int = 0) -> nn.Module:
    space = SPACES[name]
    torch.manual_seed(seed)
    arch = space.sample(np.random.default_rng(1))
    return space.build(arch, TaskSpec("classification", 3, 1, 2)).eval()


@pytest.mark.parametrize("name", SPACES)
def test_grad_cam_is_that_of_MONAI(name: str) -> None:
    visualize = pytest.importorskip("monai.visualize", reason="MONAI is not installed")
    model, x = network(name), torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(3))
    layer = last_features(model, x)
    for number in (0, 1):
        theirs = visualize.GradCAM(nn_module=model, target_layers=layer, postprocessing=lambda heat: heat)
        expected = theirs(x, class_idx=number)[0, 0].detach().numpy()
        found = explain(model, x, number)
        assert found.shape == (16, 16, 16)
        assert found == pytest.approx(expected, abs=1e-6 + 1e-4 * float(expected.max()))


def test_grad_cam_by_hand() -> None:
    """A mean of each channel and a linear layer: the weights of the channels are those of the layer over the voxels."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv3d(1, 2, 1, bias=False)
            self.classifier = nn.Linear(2, 2, bias=False)
            self.features.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
            self.classifier.weight.data = torch.tensor([[0.0, 0.0], [3.0, 1.0]])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.features(x).mean((2, 3, 4)))

    x = torch.randn(1, 1, 2, 3, 4)
    model = Pooled()
    assert last_features(model, x) == "features"
    expected = ((3 * x[0, 0] - x[0, 0]) / 24).relu().numpy()  # gradient of a mean over 24 voxels
    assert grad_cam(model, x, 1, "features")[0].numpy() == pytest.approx(expected, abs=1e-6)
    assert grad_cam(model, x, 0, "features").abs().max() == 0
    for layer, message in (("nowhere", "a layer such as features"), ("classifier", "no map")):
        with pytest.raises(NASError, match=message):
            explain(model, x, 1, layer=layer)
    with pytest.raises(NASError, match="without attention layers"):
        explain(model, x, 1, "cbam")


@pytest.mark.parametrize("kind", [PublishedCBAM3D, WooCBAM3D])
def test_the_gate_is_the_one_that_weighs_the_voxels(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer = kind(8).eval()
    model = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), layer)
    x = torch.randn(1, 1, 6, 6, 6)
    assert gates_of(model) == ["1"]
    gate = gate_of(model, x, "1")
    assert gate.shape == (1, 6, 6, 6)
    assert gate.min() >= 0
    assert gate.max() <= 1
    with torch.no_grad():
        features = model[0](x)
        weighed = features if kind is PublishedCBAM3D else layer._gated_channels(features)  # type: ignore[operator]
        offset = 1 if kind is PublishedCBAM3D else 0
        assert torch.allclose(layer(features), (offset + gate[:, None]) * weighed, atol=1e-5)


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((4, 5, 6)), rng.integers(0, 5, (4, 5, 6)).astype(float)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first.ravel(), second.ravel())[0])
    assert np.isnan(rank_correlation(first, np.zeros_like(first)))
    assert mean_correlation(first, [np.zeros_like(first), first]) == pytest.approx(1)


def test_the_grid_of_a_crop_is_that_of_its_voxels() -> None:
    """An image that holds its own world coordinates shows where the voxels of the crop are."""
    image = sitk.Image([30, 28, 26], sitk.sitkFloat32)
    image.SetSpacing([1.5, 1.0, 2.0])
    image.SetOrigin([10.0, -20.0, 5.0])
    image.SetDirection([-1, 0, 0, 0, 1, 0, 0, 0, -1])
    axes = [sitk.PhysicalPointSource(sitk.sitkVectorFloat64, image.GetSize(), image.GetOrigin(), image.GetSpacing(),
            image.GetDirection())]  # fmt: skip
    world = sitk.Compose([sitk.Cast(sitk.VectorIndexSelectionCast(axes[0], n), sitk.sitkFloat32) for n in range(3)])
    centre = image.TransformContinuousIndexToPhysicalPoint([14.2, 13.0, 12.4])
    size, spacing = (5, 7, 6), (2.0, 1.5, 1.5)
    found = crop(world, centre, size, spacing, 0.0)
    grid = crop_grid(world, centre, size, spacing)
    for index in ((0, 0, 0), (4, 6, 5), (2, 3, 1)):
        expected = grid.TransformIndexToPhysicalPoint([int(n) for n in reversed(index)])
        assert found[(slice(None), *index)] == pytest.approx(expected, abs=1e-3)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = (5, -7, 11)
    (tmp_path / "scans").mkdir()
    for name in ("a", "b"):
        values = np.random.default_rng(ord(name)).normal(0, 1, (24, 26, 20)).astype(np.float32)
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"scans/{name}.nii.gz")
    preparation = Manifest(None, "cache", size=16, window=[-3, 3], spacing_mm=2.0).preparation()
    write_training(tmp_path / "training", SPACES["naslung"], Classification(), preparation, ("benign", "sick"), 16)
    words = [str(tmp_path / "training"), str(tmp_path / "scans"), "--out", str(tmp_path / "maps")]
    assert run("explain", words) == 0
    out = capsys.readouterr().out
    assert "sanity check" in out
    for name in ("a", "b"):
        image = nib.load(tmp_path / f"maps/{name}_gradcam.nii.gz")
        assert image.shape == (24, 26, 20)
        assert (image.affine == affine).all()
    rows = list(csv.DictReader((tmp_path / "maps/explanations.csv").read_text().splitlines()))
    assert {row["class"] for row in rows} <= {"benign", "sick"}
    with Image.open(tmp_path / "maps/montage.png") as picture:
        assert picture.size[0] > 600
    assert run("explain", [*words[:-1], str(tmp_path / "cbam"), "--method", "cbam", "--class", "sick"]) == 0
    values = np.asarray(nib.load(tmp_path / "cbam/a_cbam.nii.gz").dataobj)
    assert 0 < values.max() <= 1
    assert values[0, 0, 0] == 0  # beyond the crop of 32 mm that the networks saw
    assert run("explain", [*words, "--class", "nothing"]) == 2
    assert "one of benign, sick" in capsys.readouterr().err


@pytest.mark.parametrize(("threshold", "name"), [(1e-6, "sick"), (1 - 1e-6, "benign")])
def test_the_answer_is_that_of_the_decision_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture, threshold: float, name: str
) -> None:
    values = np.random.default_rng(0).normal(0, 1, (16, 16, 16)).astype(np.float32)
    np.save(tmp_path / "scan.npy", values)
    preparation = Manifest(None, "cache", size=16, window=[-3, 3]).preparation()
    task = Classification(threshold=threshold)
    write_training(tmp_path / "training", SPACES["resnet3d"], task, preparation, ("benign", "sick"), 16, seeds=(0,))
    words = [str(tmp_path / "training"), str(tmp_path / "scan.npy"), "--out"]
    assert run("explain", [*words, str(tmp_path / "maps")]) == 0
    assert run("predict", [*words, str(tmp_path / "predictions.csv")]) == 0
    capsys.readouterr()
    paths = (tmp_path / "maps/explanations.csv", tmp_path / "predictions.csv")
    explained, predicted = (next(csv.DictReader(path.read_text().splitlines())) for path in paths)
    assert explained["class"] == predicted["class"] == name


def test_the_csv_of_the_inputs_is_not_replaced_by_predictions(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((16, 16, 16), dtype=np.float32))
    (tmp_path / "cases.csv").write_text("path,ward\nscan.npy,7\n")
    preparation = Manifest(None, "cache", size=16, window=[-3, 3]).preparation()
    write_training(tmp_path / "training", SPACES["resnet3d"], Classification(), preparation, ("benign", "sick"), 16)
    words = [str(tmp_path / "training"), str(tmp_path / "cases.csv"), "--out", str(tmp_path / "cases.csv")]
    assert run("predict", words) == 2
    assert "cases.csv, which is an input" in capsys.readouterr().err
    assert (tmp_path / "cases.csv").read_text() == "path,ward\nscan.npy,7\n"
