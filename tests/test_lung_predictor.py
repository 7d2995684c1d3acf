"""The predictor that the service imports: what it promises of boxes, units, sizes, and files that are no detector."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.lung_detector.predictor import Predictor, Preprocessing
from nas.artifact import Artifact
from nas.bundle import ARCH, WEIGHTS, Bundle
from nas.errors import NASError
from nas.inference.model_spec import MODEL_JSON
from nas.task_spec import TaskSpec
from nas.tasks.detection import Detection
from search_spaces.detector import DetectorSpace

SMALL = {"depths": [1], "widths": [4], "block_counts": [1], "kernels": [3], "norms": ["group"], "ups": ["resize"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained detector of two windows and two classes."""
    folder = tmp_path_factory.mktemp("detector")
    space = DetectorSpace(settings={**SMALL, "spatial_dims": 2}, stems=[2], pyramids=[8], heads=[1])
    artifact = Artifact(space, space.repair([0] * len(space.genes)), TaskSpec("detection", 2, 2, 2))
    torch.manual_seed(0)
    write_detector(folder, artifact, {"windows": ["lung", "mediastinum"], "size": 64})
    return folder


def write_detector(folder: Path, artifact: Artifact, preparation: dict[str, object]) -> None:
    task = Detection(artifact.task.in_channels, artifact.task.outputs, artifact.task.dims)
    shape = (artifact.task.in_channels, *[64] * artifact.task.dims)
    classes = ["A", "G"]
    Bundle.of(artifact.build(), artifact, task, shape, classes=classes, preparation=preparation).save(folder)


def test_what_is_found_in_images_of_any_size_in_one_batch(folder: Path) -> None:
    predictor = Predictor.load(folder, threshold=0.003)
    assert predictor.classes == ("A", "G")
    rng = np.random.default_rng(0)
    images = [rng.uniform(-1000, 400, sides).astype(np.float32) for sides in ((64, 64), (512, 512), (40, 90), (7, 5))]
    found = predictor.predict(images, units="hu")
    assert len(found) == 4
    assert sum(len(one.labels) for one in found) > 0
    for one, image in zip(found, images, strict=True):
        assert one.boxes_N4.dtype == np.float32
        assert one.boxes_N4.shape == (len(one.scores_N), 4) == (len(one.labels), 4)
        assert (np.diff(one.scores_N) <= 0).all()
        assert ((one.scores_N >= 0.003) & (one.scores_N <= 1)).all()
        assert (one.boxes_N4[:, :2] < one.boxes_N4[:, 2:]).all()
        assert (one.boxes_N4 >= 0).all()
        assert (one.boxes_N4 <= [image.shape[1], image.shape[0]] * 2).all()
        assert set(one.labels) <= {"A", "G"}
    alone = predictor.predict([images[1]], units="hu")[0]
    np.testing.assert_allclose(alone.boxes_N4, found[1].boxes_N4, atol=1e-2)


def test_grey_values_are_windowed_hu(folder: Path) -> None:
    """A network of the lung window says the same of HU and of the grey values that the window makes of them."""
    network = Predictor.load(folder).network
    lung = Predictor(network, Detection(2, 2, 2), "AG", Preprocessing(("lung", "lung"), 64), 0.003)
    hu = np.random.default_rng(1).uniform(-1500, 300, (64, 64)).astype(np.float32)
    grey = (np.clip(hu, -1350, 150) + 1350) / 1500
    a, b = lung.predict([hu], units="hu")[0], lung.predict([grey], units="grey")[0]
    np.testing.assert_array_equal(a.boxes_N4, b.boxes_N4)
    assert len(a.labels) > 0


def test_no_image_and_no_box(folder: Path) -> None:
    predictor = Predictor.load(folder, threshold=0.99)
    assert predictor.predict([]) == []
    (found,) = predictor.predict([np.zeros((32, 32), dtype=np.float32)], units="grey")
    assert (found.boxes_N4.shape, found.scores_N.shape, found.labels) == ((0, 4), (0,), ())


@pytest.mark.parametrize("image", [np.zeros((3, 8, 8)), np.full((8, 8), np.nan), np.zeros((0, 8))])
def test_what_is_no_slice(folder: Path, image: np.ndarray) -> None:
    with pytest.raises(NASError, match="finite"):
        Predictor.load(folder).predict([image.astype(np.float32)])


def test_what_is_no_detector(folder: Path, tmp_path: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(NASError, match=message):
            Predictor.load(tmp_path)

    refused("which holds no finished training")
    (tmp_path / "detector.pt").write_bytes(b"")  # of an earlier version
    refused("train again with run_train.py")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    refused("does not match its checksum")
    torch.save(torch.nn.Linear(2, 2), tmp_path / WEIGHTS)  # a pickle of code is not opened
    refused("does not match its checksum")
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    (tmp_path / ARCH).unlink()
    refused(ARCH)
    space = DetectorSpace(settings={**SMALL, "spatial_dims": 2}, stems=[1], pyramids=[8], heads=[1])
    other = Artifact(space, space.repair([0] * 9), TaskSpec("detection", 2, 2, 2))
    other.save(tmp_path / ARCH)
    refused("different networks")
    write_detector(tmp_path, other, {"how": "array"})
    refused("no CT slices with windows")
    (tmp_path / MODEL_JSON).unlink()
    refused("which holds no finished training|earlier version")
    with pytest.raises(NASError, match="threshold"):
        Predictor.load(folder, threshold=0.0)
