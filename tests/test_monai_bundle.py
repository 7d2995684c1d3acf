"""`voxnas export --format monai`: a bundle that MONAI runs without VoxNAS, with the label maps of `voxnas predict`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nas.data.io.grid import image_on_grid
from nas.export.monai_scripts import volumes
from nas.export.monai_scripts.inference import FoldsInferer
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from search_spaces.naslung import NASLungSpace
from search_spaces.unet import UNetSpace
from tests.commands import refused, voxnas
from tests.data.written_decathlon import write_nifti
from tests.trainings import CLASSES, WINDOW, write_segmenter, write_training

RUN = "from monai.bundle import run; run(config_file='configs/inference.json', dataset_dir={!r}, output_dir={!r})"
WITHOUT_US = "import sys; sys.modules['nas'] = None; "
SCHEMA = ("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task")


def scans(folder: Path, sides: Sequence[tuple[int, int, int]], codes: str = "RAS", mm: Any = (1, 1, 2)) -> Path:
    for number, side in enumerate(sides):
        array = np.random.default_rng(number).normal(100, 20, size=side).astype(np.float32)
        array[: side[0] // 2] += 40
        write_nifti(folder / f"scan{number}.nii.gz", array, codes, mm, origin=-3.5)
    return folder


def run_bundle(bundle: Path, data: Path, out: Path) -> None:
    """Run a bundle as MONAI does, in a process that cannot import this project."""
    code = WITHOUT_US + RUN.format(str(data), str(out))
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=bundle, env=kept, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def same_labels(first: Path, second: Path) -> list[float]:
    """Share of voxels that agree, in each file; grids are the same."""
    shares = []
    for path in sorted(first.glob("*.nii.gz")):
        own, other = nib.load(path), nib.load(second / path.name)
        np.testing.assert_allclose(own.affine, other.affine, atol=1e-4)
        shares.append(float((np.asarray(own.dataobj) == np.asarray(other.dataobj)).mean()))
    return shares


@pytest.mark.slow
def test_label_maps_are_those_of_predict(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Two folds, windows larger and smaller than the scans, another orientation, and another voxel size with a crop."""
    for name, spacing_mm, codes in (("own", None, "PIL"), ("coarse", [2.5, 1.5, 1.0], "RAS")):
        write_segmenter(tmp_path / name, spacing_mm=spacing_mm)
        data = scans(tmp_path / f"{name}-scans", [(13, 12, 9), (7, 20, 11)], codes)
        assert voxnas(capsys, "predict", tmp_path / name, data, "--out", tmp_path / f"{name}-masks")[0] == 0
        code, out, err = voxnas(capsys, "export", tmp_path / name, "--format", "monai")
        assert code == 0, err
        assert "2 networks" in out
        run_bundle(tmp_path / name / "export/monai", data, tmp_path / f"{name}-monai")
        shares = same_labels(tmp_path / f"{name}-masks", tmp_path / f"{name}-monai")
        assert len(shares) == 2
        assert min(shares) > 0.999


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_bundle_describes_its_network(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The metadata have the keys of MONAI's schema, and the network takes and gives what they state."""
    write_segmenter(tmp_path / "x")
    code, _, err = voxnas(capsys, "export", tmp_path / "x", "--format", "monai", "--out", tmp_path / "out")
    assert code == 0, err
    folder = tmp_path / "out/monai"
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert [key for key in SCHEMA if key not in metadata] == []
    image, pred = (
        metadata["network_data_format"][part][name] for part, name in (("inputs", "image"), ("outputs", "pred"))
    )
    network = torch.jit.load(folder / "models/model.ts")
    with torch.no_grad():
        logits = network(torch.zeros(1, image["num_channels"], *image["spatial_shape"]))
    assert logits.shape == (1, pred["num_channels"], *pred["spatial_shape"])
    assert pred["num_channels"] == 2 * len(CLASSES)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.ts",
        "scripts/__init__.py",
        "scripts/inference.py",
        "scripts/volumes.py",
    ]


def test_what_is_no_segmentation_of_volumes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    space = NASLungSpace(widths=(4, 8), max_depth=4)
    write_training(tmp_path / "x", space, Classification(outputs=2), {"how": "array"}, ("a", "b"), 32, seeds=(0,))
    refused(voxnas(capsys, "export", tmp_path / "x", "--format", "monai"), "a segmentation of whole 3D volumes")
    refused(voxnas(capsys, "export", tmp_path / "x", "--format", "monai", "--size", 8), "--size")


@pytest.mark.parametrize("new_mm", [(2.5, 1.5, 1.0), (1.0, 4.1, 2.0)])
def test_grids_are_those_of_the_training(new_mm: tuple[float, float, float]) -> None:
    """Resampling without SimpleITK gives the values of the data set's own reader, smoothing included."""
    array = np.random.default_rng(0).normal(100, 20, size=(11, 17, 13)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.2, 2.0))
    expected = sitk.GetArrayFromImage(image_on_grid(image, new_mm))
    found = volumes.on_grid(array[None], np.array([2.0, 1.2, 1.0]), np.array(new_mm))[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_views_and_temperature_are_those_of_the_networks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    space = UNetSpace(depths=(2,), widths=(4,), block_counts=(1,), kernels=(3,), in_channels=1, out_channels=3)
    preparation = {
        **{"how": "grid", "channels": ["m0"], "spacing_mm": None, "normalise": "volume"},
        **{"hounsfield": False, "scale": 1.0, "offset": 0.0},
    }
    views = {"flips": (0, 2), "rotations": ("HW", "DH")}
    task = Segmentation(outputs=3, window=WINDOW, temperature=0.2, precision="fp32", **views)  # type: ignore[arg-type]
    networks = write_training(tmp_path / "x", space, task, preparation, CLASSES, 8)
    code, _, err = voxnas(capsys, "export", tmp_path / "x", "--format", "monai")
    assert code == 0, err
    folder = tmp_path / "x/export/monai"
    settings = json.loads((folder / "configs/inference.json").read_text())["inferer"]
    assert settings.pop("_target_") == "scripts.inference.FoldsInferer"
    assert len(settings["views"]) == 32
    x = torch.randn(1, 1, 11, 8, 13, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = FoldsInferer(**settings)(x, torch.jit.load(folder / "models/model.ts"))
        expected = torch.stack([task.predict(network, x) for network in networks]).mean(dim=0)
    assert torch.allclose(found, expected, atol=1e-4)
    assert float(found.max()) > 0.5  # far from equal probabilities, so that the temperature matters
