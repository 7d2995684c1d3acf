"""Exported networks without torch: `voxnas predict` says of files what the training's own route says of its store."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import nn

from nas.data.io.grid import image_on_grid
from nas.data.loading import VolumeSet
from nas.data.source import Source
from nas.data.sources.manifest import Manifest
from nas.data.sources.msd import Msd
from nas.data.transforms.preparation import Prepared, back_on_image, prepared
from nas.errors import NASError
from nas.export.onnx import export
from nas.inference.predict import predict_file
from nas.inference.runtime import ExportedNetwork
from nas.inference.sliding_window import slide
from nas.tasks.base import Task
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.training.loop import predict
from search_spaces.naslung import NASLungSpace
from search_spaces.unet import UNetSpace
from tests.bare_environment import ABSENT, BareEnvironment
from tests.commands import refused, voxnas
from tests.data.written_decathlon import write_decathlon, write_nifti
from tests.exported import lively


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    return BareEnvironment(tmp_path_factory.mktemp("bare"))


def unet(outputs: int = 3, dims: int = 3, seed: int = 0) -> nn.Module:
    space = UNetSpace(
        depths=(2,), widths=(4,), block_counts=(1,), kernels=(3,), spatial_dims=dims, out_channels=outputs
    )
    torch.manual_seed(seed)
    return lively(space.build(space.sample(np.random.default_rng(1))))


def exported(
    folder: Path, network: nn.Module, source: Source, task: Task, trained_on: Sequence[int] = (), size: int = 8
) -> VolumeSet:
    """Writes the network as a training on these rows would, and gives all of the source's samples as it sees them."""
    store = source.prepare()
    everything = VolumeSet(store, np.arange(len(store)), "cpu")
    preparation = dict(source.preparation())
    if store.by_training:
        preparation["intensity"] = vars(store.intensity(trained_on))
        everything = everything.normalised_like(VolumeSet(store, trained_on, "cpu"))
    shape = (store.shape[0], *[size] * store.dims)
    spec = export(
        network,
        shape,
        folder,
        ("onnx",),
        task=task.spec,
        classes=store.classes,
        preparation=preparation,
        inference=task.inference,
    )
    assert spec.files["onnx"].difference <= 1e-4
    return everything


def as_lps(path: Path) -> np.ndarray:
    """(D, H, W) on the axes of a training's grid, by nibabel."""
    image = nib.load(path)
    wanted = nib.orientations.axcodes2ornt(("L", "P", "S"))
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    return np.asarray(turned.dataobj).transpose(2, 1, 0)


def test_the_environment_lacks_what_it_should(bare: BareEnvironment) -> None:
    done = bare.run("-c", f"from importlib.util import find_spec; print([n for n in {ABSENT} if find_spec(n)])")
    assert done.stdout.strip() == "[]", done.stderr
    assert "ModuleNotFoundError" in bare.run("-c", "import torch").stderr
    done = bare.voxnas("search", "space=unet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: got no module run_search")
    assert len(done.stderr.splitlines()) == 1
    assert "predict" in bare.voxnas("--help").stdout


def test_classification_without_torch(bare: BareEnvironment, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label,patient"]
    for number in range(4):
        volume = rng.normal(number, size=(20, 18, 17)).astype(np.float32)
        write_nifti(tmp_path / f"{number}.nii.gz", volume, "LAS", (1, 1, 1.5))
        lines.append(f"{number}.nii.gz,{'well' if number % 2 else 'ill'},{number}")
    (tmp_path / "my.csv").write_text("\n".join(lines))
    space, arch = NASLungSpace.from_name("model-1")
    torch.manual_seed(0)
    network = lively(space.build(arch), (1, 16, 16, 16))
    task = Classification()
    source = Manifest(str(tmp_path / "my.csv"), str(tmp_path / "cache"), size=16, window=(-4, 6))
    volumes = exported(tmp_path / "model", network, source, task)
    meant = predict(network, task, volumes, 4)
    files = [tmp_path / f"{number}.nii.gz" for number in range(4)]
    model = tmp_path / "model/model.onnx"
    done = bare.voxnas("predict", model, *files, "--out", tmp_path / "said.json")
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "said.json").read_text())
    assert [row["input"] for row in said] == list(map(str, files))
    probabilities = np.array([[row["probabilities"]["ill"], row["probabilities"]["well"]] for row in said])
    np.testing.assert_allclose(probabilities, meant, atol=1e-5)
    assert np.ptp(meant[:, 0]) > 1e-3
    done = bare.voxnas("predict", model, *files[:2], "--out", tmp_path / "said.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "said.csv").read_text().splitlines()))
    assert [float(row["well"]) for row in rows] == probabilities[:2, 1].tolist()
    assert [row["class"] for row in rows] == [source.classes[int(np.argmax(one))] for one in meant[:2]]


@pytest.mark.parametrize(
    ("modality", "window", "flips"), [("MRI", (8, 8, 8), (2,)), pytest.param("CT", None, (), marks=pytest.mark.slow)]
)
def test_segmentation_without_torch(
    modality: str, window: tuple[int, ...] | None, flips: tuple[int, ...], bare: BareEnvironment, tmp_path: Path
) -> None:
    """Images of several sizes on axes of several orders; the label map lies on each image's own voxels."""
    root = write_decathlon(tmp_path / "data", 3, modality, ("RAS", "PIL", "LPS"), (1, 1, 1.5), (1.0, 1.3))
    source = Msd(str(root), str(tmp_path / "cache"))
    task = Segmentation(outputs=3, window=window, overlap=0.5, flips=flips, precision="fp32")
    network = unet()
    exported(tmp_path / "model", network, source, task, [0, 1])
    for number in range(3):
        path = root / f"imagesTr/case_{number:03d}.nii.gz"
        out = tmp_path / f"{number}.nii.gz"
        done = bare.voxnas("predict", tmp_path / "model/model.onnx", path, "--out", out)
        assert done.returncode == 0, done.stderr
        x_CDHW = prepared(path, ExportedNetwork(tmp_path / "model/model.onnx").spec.preparation).x_CDHW
        sides = x_CDHW.shape[1:]
        pads = [((-side % 4) // 2, -side % 4 - (-side % 4) // 2) if window is None else (0, 0) for side in sides]
        low = 0 if modality == "MRI" else x_CDHW.min()
        x_CDHW = np.pad(x_CDHW, [(0, 0), *pads], constant_values=low)
        prob = task.predict(network, torch.from_numpy(x_CDHW)[None])[0].numpy()
        prob = prob[(slice(None), *(slice(a, a + side) for (a, _), side in zip(pads, sides, strict=True)))]
        image, label = nib.load(path), nib.load(out)
        np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)
        assert label.shape == image.shape
        sure = np.diff(np.sort(prob, axis=0)[-2:], axis=0)[0] > 1e-3
        assert sure.mean() > 0.95
        np.testing.assert_array_equal(as_lps(out)[sure], prob.argmax(axis=0)[sure])
        assert len(np.unique(prob.argmax(axis=0))) > 1


@pytest.mark.parametrize("modality", ["MRI", "CT"])
def test_the_whole_route_of_a_training_gives_the_same_probabilities(modality: str, tmp_path: Path) -> None:
    """Store, statistics of the training part, windows over the real part: against files read one by one."""
    root = write_decathlon(tmp_path / "data", 3, modality, gains=(1.0, 1.4))
    task = Segmentation(outputs=3, window=8, precision="fp32")
    network = unet()
    source = Msd(str(root), str(tmp_path / "cache"), spacing_mm=1.3)
    volumes = exported(tmp_path / "model", network, source, task, [0, 1])
    meant = predict(network, task, volumes, 1)
    extents = volumes.store.extents_N3
    assert extents is not None
    for number in range(3):
        path = root / f"imagesTr/case_{number:03d}.nii.gz"
        said, ready = predict_file([ExportedNetwork(tmp_path / "model/model.onnx")], path)
        first = (np.array(meant.shape[2:]) - extents[number]) // 2
        inside = tuple(slice(a, a + side) for a, side in zip(first, extents[number], strict=True))
        np.testing.assert_allclose(said, meant[(number, slice(None), *inside)], atol=1e-4)
        assert ready.image is not None


def test_real_hippocampus(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "Task04"
    root.mkdir()
    content = json.loads((shared_data / "Task04_Hippocampus/dataset.json").read_text())
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).symlink_to(shared_data / "Task04_Hippocampus" / folder)
    (root / "dataset.json").write_text(json.dumps({**content, "training": content["training"][:2]}))
    task = Segmentation(outputs=3, window=(32, 48, 32), precision="fp32")
    network = unet()
    volumes = exported(tmp_path / "model", network, Msd(str(root), str(tmp_path / "cache")), task, size=16)
    meant = predict(network, task, volumes, 1)
    path = root / content["training"][1]["image"]
    out = tmp_path / "label.nii.gz"
    assert voxnas(capsys, "predict", tmp_path / "model/model.onnx", path, "--out", out)[0] == 0
    assert volumes.store.extents_N3 is not None
    first = (np.array(meant.shape[2:]) - volumes.store.extents_N3[1]) // 2
    ends = first + volumes.store.extents_N3[1]
    prob = meant[(1, slice(None), *map(slice, first, ends))]
    sure = np.diff(np.sort(prob, axis=0)[-2:], axis=0)[0] > 1e-3
    np.testing.assert_array_equal(as_lps(out)[sure], prob.argmax(axis=0)[sure])


def test_an_ensemble_is_the_mean(tmp_path: Path) -> None:
    root = write_decathlon(tmp_path / "data", 2)
    source, task = Msd(str(root), str(tmp_path / "cache")), Segmentation(outputs=3, window=8, precision="fp32")
    for number in range(2):
        exported(tmp_path / str(number), unet(seed=number), source, task)
    networks = [ExportedNetwork(tmp_path / str(number) / "model.onnx") for number in range(2)]
    path = root / "imagesTr/case_000.nii.gz"
    both, one, other = (predict_file(some, path)[0] for some in (networks, networks[:1], networks[1:]))
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)
    assert np.abs(one - other).max() > 0.05


def test_slices_of_a_volume_and_any_sides(tmp_path: Path) -> None:
    """A network of slices sees a volume slice by slice; without a window it is shown zeros up to sides it takes."""
    network, task = unet(dims=2), Segmentation(outputs=3, dims=2, precision="fp32")
    export(network, (1, 8, 8), tmp_path, ("onnx",), task=task.spec, preparation={"how": "array", "scale": 0.5})
    volume = np.random.default_rng(0).normal(size=(3, 9, 14)).astype(np.float32)
    for number, array in enumerate((volume[:, None], volume[0])):
        np.save(tmp_path / f"{number}.npy", array)
    run = ExportedNetwork(tmp_path / "model.onnx")
    single, _ = predict_file([run], tmp_path / "1.npy")
    padded = np.zeros((1, 1, 12, 16), dtype=np.float32)
    padded[0, 0, 1:10, 1:15] = volume[0] / 2
    meant = task.predict(network, torch.from_numpy(padded))[0, :, 1:10, 1:15].numpy()
    np.testing.assert_allclose(single, meant, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_are_those_of_monai(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 3))
    sides = data.draw(st.lists(st.integers(1, 13), min_size=dims, max_size=dims))
    window = data.draw(st.lists(st.integers(1, 9), min_size=dims, max_size=dims))
    overlap = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7, 0.9]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(2, 2, *sides)).astype(np.float32)
    place = rng.normal(size=(3, 2, *window)).astype(np.float32)  # what is said depends on where in the window it is

    def network(seen: np.ndarray) -> np.ndarray:
        return (place[None] * seen[:, None]).sum(axis=2)

    meant = sliding_window_inference(
        torch.from_numpy(x), window, 3, lambda t: torch.from_numpy(network(t.numpy())), overlap=overlap, mode="gaussian"
    )
    np.testing.assert_allclose(slide(network, x, window, overlap), meant.numpy(), atol=2e-5)


def test_labels_come_back_to_the_voxels_of_the_image() -> None:
    """Class 1 where the world's x is above a plane, on a coarse grid of other axes, for an oblique image."""
    image = sitk.GetImageFromArray(np.zeros((9, 11, 13), dtype=np.float32))
    image.SetSpacing((0.7, 1.1, 1.6))
    image.SetOrigin((3.0, -40.0, 12.0))
    turn = 0.3
    image.SetDirection([np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0, 0, 0, -1])
    grid = image_on_grid(image, (2.0, 2.0, 2.0))
    x_of = {name: _world_x(one) for name, one in (("grid", grid), ("image", image))}
    plane = float(np.median(x_of["image"])) + 0.013
    ramp = 0.5 + (x_of["grid"] - plane) / 100
    label = back_on_image(np.stack([1 - ramp, ramp]).astype(np.float32), Prepared(np.zeros(1), image, grid))
    said = sitk.GetArrayFromImage(label)
    beyond = np.abs(x_of["image"] - plane) > 1.5  # beyond the grid's last voxels their value stands still
    np.testing.assert_array_equal(said[beyond], (x_of["image"] > plane)[beyond])
    assert (said == (x_of["image"] > plane)).mean() > 0.97
    assert label.GetDirection() == image.GetDirection()


def _world_x(image: sitk.Image) -> np.ndarray:
    depth, height, width = sitk.GetArrayFromImage(image).shape
    return np.array(
        [
            [[image.TransformIndexToPhysicalPoint((x, y, z))[0] for x in range(width)] for y in range(height)]
            for z in range(depth)
        ]
    )


def refuses(words: Sequence[object], capsys: pytest.CaptureFixture) -> str:
    answer = voxnas(capsys, "predict", *words)
    refused(answer)
    assert answer[1] == ""
    assert answer[2].count("\n") == 1
    return answer[2]


def test_label_maps_are_named_after_their_inputs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = write_decathlon(tmp_path / "data", 2)
    exported(tmp_path / "model", unet(), Msd(str(root), str(tmp_path / "cache")), Segmentation(outputs=3, window=8))
    inputs, out = [tmp_path / name for name in ("scan.1.nii.gz", "SCAN.2.NII.GZ")], tmp_path / "labels"
    for number, path in enumerate(inputs):
        shutil.copy(root / f"imagesTr/case_00{number}.nii.gz", path)
    assert voxnas(capsys, "predict", tmp_path / "model/model.onnx", *inputs, "--out", out)[0] == 0
    assert {path.name for path in out.iterdir()} == {"scan.1.nii.gz", "SCAN.2.nii.gz"}
    same = shutil.copy(inputs[0], tmp_path / "data/scan.1.nii.gz")
    words = [tmp_path / "model/model.onnx", inputs[0], same, "--out", tmp_path / "none"]
    assert "inputs of one name, scan.1.nii.gz" in refuses(words, capsys)
    inputs[1].write_bytes(inputs[1].read_bytes()[:-100])
    assert "SCAN.2.NII.GZ" in refuses([tmp_path / "model/model.onnx", inputs[1], "--out", out], capsys)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = write_decathlon(tmp_path / "data", 2)
    source, task = Msd(str(root), str(tmp_path / "cache")), Segmentation(outputs=3, window=8, precision="fp32")
    exported(tmp_path / "model", unet(), source, task)
    model, path = tmp_path / "model/model.onnx", root / "imagesTr/case_000.nii.gz"
    out = tmp_path / "out.nii.gz"
    assert "no --out" in refuses([path], capsys)
    assert "INPUT" in refuses([path, "--out", out], capsys)
    assert "model.json" in refuses([tmp_path / "x.onnx", path, "--out", out], capsys)
    assert "for 2 inputs" in refuses([model, path, path, "--out", out], capsys)
    assert "out.png" in refuses([model, path, "--out", tmp_path / "out.png"], capsys)
    assert "no file" in refuses([model, tmp_path / "none.nii.gz", "--out", out], capsys)
    assert "--point" in refuses([model, path, "--point", "1,2", "--out", out], capsys)
    flat = tmp_path / "flat.nii.gz"
    write_nifti(flat, np.ones((12, 12, 12), dtype=np.float32))
    assert "of one value" in refuses([model, flat, "--out", out], capsys)
    assert not out.exists()
    export(unet(), (1, 8, 8, 8), tmp_path / "arrays", ("onnx",), task=task.spec)
    arrays = tmp_path / "arrays/model.onnx"
    assert ".npy arrays" in refuses([arrays, path, "--out", out], capsys)
    assert "another task" in refuses([model, path, "--average-with", arrays, "--out", out], capsys)
    np.save(tmp_path / "two.npy", np.zeros((2, 8, 8, 8), dtype=np.float32))
    assert "1 channels" in refuses([arrays, tmp_path / "two.npy", "--out", tmp_path / "o.npy"], capsys)
    with pytest.raises(NASError, match="multiples of 8"):
        classifier(tmp_path / "classifier").probabilities(np.zeros((1, 1, 12, 8, 8), dtype=np.float32))


def classifier(folder: Path) -> ExportedNetwork:
    space, arch = NASLungSpace.from_name("model-1")
    export(space.build(arch), (1, 8, 8, 8), folder, ("onnx",), task=Classification().spec)
    return ExportedNetwork(folder / "model.onnx")
