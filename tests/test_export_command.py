"""`run_train.py export=…`, `voxnas export` and `voxnas`: from a trained network to files that say the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import run_train
from experiments.commands import voxnas
from nas.artifact import Artifact
from nas.data.sources.icbm_tissue import IcbmTissue
from nas.data.store import VolumeStore
from nas.export.torch_network import bundle_networks
from nas.inference.model_spec import ModelSpec
from nas.inference.predict import predict_file
from nas.inference.runtime import ExportedNetwork, InferenceNetwork
from nas.task_spec import TaskSpec
from search_spaces.unet import UNetSpace
from tests.commands import Command, refused
from tests.commands import voxnas as command_line

DATA = ["task=segmentation", "data=icbm_tissue", "data.size=16", "data.spacing_mm=2", "split.folds=3"]
QUICK = ["training=demo", "training.epochs=1", "training.batch_size=8", "resamples=50", "name=t"]
PLAIN = [
    "baselines.random_search=false",
    "baselines.intensity=false",
    "baselines.plain_unet=null",
    "baselines.published=null",
]


def artifact(width: int) -> Artifact:
    """With batch normalisation: over a window of nothing but background the others blow up rounding errors."""
    space = UNetSpace(depths=(1,), widths=(width,), block_counts=(1,), kernels=(3,), norms=("batch",))
    return Artifact(space, space.sample(np.random.default_rng(0)), TaskSpec("segmentation", 3, 1, 3))


@pytest.fixture
def trained(command: Command) -> Command:
    artifact(4).save("arch.json")
    words = [
        *DATA,
        *QUICK,
        *PLAIN,
        "arch=arch.json",
        "task.window=[8,8,8]",
        "task.temperature=null",
        "export=[onnx,openvino]",
    ]
    code, out, err = command(run_train.main, *words)
    assert code == 0, err
    assert "model.onnx: fp32, at most" in out
    assert "model.xml: fp32, at most" in out
    return command


@pytest.mark.slow
def test_a_trained_network_as_files(trained: Command, capsys: pytest.CaptureFixture) -> None:
    """What the exported networks of both rounds say of the test samples is what the training said of them."""
    arch = artifact(4).arch.id
    folder = trained.folder / "outputs/train/t"
    store = IcbmTissue(str(trained.cache), size=16, spacing_mm=2).prepare()
    result = json.loads((folder / "result.json").read_text())
    for part in result["folds"]:
        (stored,) = (folder / "checkpoints" / arch / part["fold"]).glob("prediction-*.npy")
        meant = np.load(stored)
        home = folder / "export" / f"{arch}-{part['fold']}"
        spec = ModelSpec.load(home / "model.json")
        assert spec.outputs[0].channels == ("background", "grey matter", "white matter")
        assert spec.inputs[0].shape == ("batch", 1, "depth", "height", "width")
        assert (spec.sides.multiple_of, spec.sides.at_least) == (2, 4)
        assert spec.inference == {"window": [8, 8, 8], "overlap": 0.25, "flips": []}
        assert spec.facts["trained"]["data"]["sha256"] == store.sha256
        assert spec.facts["validation"]["dice"] > 0
        assert {"torch", "onnx", "onnxruntime", "openvino", "opset"} == set(spec.facts["versions"])
        said = _said_of_all(store, [ExportedNetwork(home / "model.onnx", threads=1)])
        in_torch = _said_of_all(store, bundle_networks(folder / "bundles" / arch / part["fold"]))
        assert np.abs(in_torch - said).max() < 1e-4
        apart_NM = np.abs(said[:, None] - meant[None]).max(axis=(2, 3, 4, 5))
        assert sorted(apart_NM.argmin(axis=0)) == sorted(set(apart_NM.argmin(axis=0)))
        assert apart_NM.min(axis=0).max() < 1e-4
    fold = result["folds"][0]["fold"]
    bundle, checkpoint = (folder / kind / arch / fold for kind in ("bundles", "checkpoints"))
    words = [bundle, "--format", "onnx", "--format", "openvino_fp16", "--out", "again"]
    code, out, _ = command_line(capsys, "export", *words)
    assert code == 0
    assert "wrote again/model_fp16.xml: fp16, at most" in out
    first = folder / "export" / f"{arch}-{fold}" / "model.onnx"
    assert Path("again/model.onnx").read_bytes() == first.read_bytes()

    np.save("one.npy", store.read([0])[0])
    assert command_line(capsys, "predict", folder, "one.npy", "--out", "labels.npy")[0] == 0
    mean = predict_file(bundle_networks(folder), Path("one.npy"))[0]
    np.testing.assert_array_equal(np.load("labels.npy"), mean.argmax(axis=0))
    refused(
        command_line(capsys, "predict", folder / "checkpoints", "one.npy", "--out", "labels.npy"),
        "holds no finished training",
    )

    # the checkpoint of a training that has no bundle, as a search leaves them
    artifact(4).save("arch.json")
    words = [checkpoint, "--arch", "arch.json", "--size", "16", "--format", "onnx", "--out", "bare"]
    assert command_line(capsys, "export", *words)[0] == 0
    bare = ModelSpec.load("bare/model.json")
    assert (bare.preparation, bare.outputs[0].channels) == ({"how": "array"}, ())
    assert Path("bare/model.onnx").read_bytes() == first.read_bytes()

    artifact(8).save("other.json")
    for words, text in (
        ((checkpoint, "--arch", "other.json", "--size", "16"), "not those of"),
        ((checkpoint / "none.pt", "--arch", "arch.json", "--size", "16"), "cannot be read as a checkpoint"),
        ((checkpoint, "--arch", "arch.json"), "without --size"),
        ((checkpoint / "best.pt",), "without --arch"),
        ((checkpoint,), "without bundles"),
        ((bundle, "--size", "7"), "multiples of 2"),
        ((bundle, "--out", bundle), "the folder of a bundle"),
        ((bundle, "--format", "tflite"), "--format 'tflite'"),
        ((bundle, "--sizes", "8"), "the unknown argument --sizes 8"),
        (("--format", "onnx"), "no FOLDER"),
    ):
        refused(command_line(capsys, "export", *words), text)


def _said_of_all(store: VolumeStore, networks: Sequence[InferenceNetwork]) -> np.ndarray:
    """(N, K, D, H, W): predictions for all samples of a store, each given as a file."""
    found = []
    for row in range(len(store)):
        np.save("sample.npy", store.read([row])[0])
        found.append(predict_file(networks, Path("sample.npy"))[0])
    return np.stack(found)


def test_a_format_that_cannot_be_written_is_refused_before_the_training(command: Command) -> None:
    artifact(4).save("arch.json")
    answer = command(run_train.main, *DATA, *QUICK, *PLAIN, "arch=arch.json", "export=[onnx,coreml]")
    refused(answer, "export=[onnx, coreml]")
    assert not (command.folder / "outputs/train/t/checkpoints").exists()


def voxnas_says(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["voxnas", *words])
    try:
        voxnas.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_one_name_for_all_commands(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = voxnas_says([], monkeypatch, capsys)
    assert code == 0
    assert all(name in out for name in voxnas.COMMANDS)
    refused(voxnas_says(["fly"], monkeypatch, capsys), "the command 'fly'", "predict")
    for name in ("export", "study"):
        refused(voxnas_says([name], monkeypatch, capsys))
    for name in ("search", "train"):
        words = [name, "--cfg", "job", "strategy=random", *(["arch=x"] if name == "train" else [])]
        code, out, err = voxnas_says(words, monkeypatch, capsys)
        assert (code, err) == (0, "")
        assert "nas.strategies.RandomSearch" in out


def test_a_command_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(voxnas.COMMANDS, "serve", ("experiments.nowhere", voxnas.PARSER, "a service"))
    refused(voxnas_says(["serve"], monkeypatch, capsys), "experiments.nowhere", "a service")
