"""Any value at any place of a JSON file is read or refused in one line (C3); models that are none (C7)."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from nas.comparison.record import JobRecord
from nas.cost.latency import LatencyTable
from nas.errors import NASError
from nas.inference.model_spec import ModelFile, ModelSpec, Port, Sides
from nas.inference.predict import predict_file
from nas.inference.runtime import ExportedNetwork
from nas.retraining.result import TrainResult
from nas.utils.hashing import file_digest
from tests.commands import refused, voxnas
from tests.conftest import REPO
from tests.test_answer import result

names = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | names | st.just("../x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def spec_in(folder: Path, **changes: Any) -> ModelSpec:
    """Write a specification for `model.onnx`, which need not exist, and return it."""
    model = folder / "model.onnx"
    file = ModelFile(
        "model.onnx",
        {"model.onnx": file_digest(model) if model.exists() else "0"},
        0.0,
        1e-4,
        1.0,
        ((1, 1, 8, 8, 8),),
        "fp32",
    )
    content: dict[str, Any] = {
        "task": {"kind": "classification", "dims": 3, "in_channels": 1, "outputs": 2},
        "inputs": (Port("image", "BCDHW", ("batch", 1, 8, 8, 8)),),
        "outputs": (Port("prediction", "BK", ("batch", 2), ("a", "b")),),
        "sides": Sides(fixed=(8, 8, 8)),
        "files": {"onnx": file},
        "preparation": {"how": "array"},
    }
    spec = ModelSpec(**{**content, **changes})
    spec.save(folder)
    return spec


def use_spec(folder: Path) -> None:
    spec = ModelSpec.load(folder / "model.json")
    _ = spec.classes
    spec.require_file(folder / "model.onnx")


def files_in(folder: Path) -> dict[str, Callable[[], object]]:
    """Write a file of each kind; return how it is read, by name."""
    (folder / "model.onnx").write_bytes(b"x")
    spec_in(folder)
    LatencyTable.of({"batch": 1}, {"stem": {"median_ms": 1.0}}).save(folder / "latency.json")
    JobRecord("search", "failed", 1.0).save(folder)
    result().save(folder / "result.json")
    return {
        "model.json": lambda: use_spec(folder),
        "latency.json": lambda: LatencyTable.load(folder / "latency.json"),
        "job.json": lambda: JobRecord.load(folder),
        "result.json": lambda: TrainResult.load(folder / "result.json"),
    }


@pytest.mark.parametrize("name", ["model.json", "latency.json", "job.json", "result.json"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_C3_any_value_anywhere(tmp_path: Path, name: str, data: st.DataObject) -> None:
    readers = files_in(tmp_path)
    content = copy.deepcopy(json.loads((tmp_path / name).read_text()))
    place: Any = content
    for _ in range(data.draw(st.integers(0, 4))):
        keys = range(len(place)) if isinstance(place, list) else sorted(place)
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    keys = range(len(place)) if isinstance(place, list) else sorted(place)
    place[data.draw(st.sampled_from(list(keys)))] = data.draw(values)
    (tmp_path / name).write_text(json.dumps(content))
    message = ""
    try:
        readers[name]()
    except NASError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


# C7


def graph_of(nodes: list[onnx.NodeProto], initializers: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [image], [out], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def endless() -> onnx.ModelProto:
    """A loop of 2^62 rounds."""
    keep = helper.make_tensor_value_info("keep_in", TensorProto.BOOL, [])
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    state, after = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("state", "after"))
    keep_out = helper.make_tensor_value_info("keep_out", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep_in"], ["keep_out"]), helper.make_node("Sin", ["state"], ["after"])],
        "body",
        [number, keep, state],
        [keep_out, after],
    )
    rounds = helper.make_tensor("rounds", TensorProto.INT64, [], [2**62])
    first = helper.make_tensor("first", TensorProto.BOOL, [], [True])
    return graph_of([helper.make_node("Loop", ["rounds", "first", "image"], ["out"], body=body)], (rounds, first))


BAD_MODELS: dict[str, Callable[[], bytes]] = {
    "noise": lambda: b"\x08\x07" + bytes(range(256)),
    "empty": lambda: b"",
    "no graph": lambda: helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(),
    "no such operator": lambda: graph_of([helper.make_node("Nothing", ["image"], ["out"])]).SerializeToString(),
    "another shape": lambda: graph_of([helper.make_node("Identity", ["image"], ["out"])]).SerializeToString(),
    "not finite": lambda: graph_of(
        [
            helper.make_node("Sub", ["image", "image"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["nan"]),
            helper.make_node("ReduceSum", ["nan", "axes"], ["sum"], keepdims=0),
            helper.make_node("Concat", ["sum", "sum"], ["out"], axis=1),
        ],
        (helper.make_tensor("axes", TensorProto.INT64, [3], [2, 3, 4]),),
    ).SerializeToString(),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_C7_a_bad_model_is_one_line(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(BAD_MODELS[name]())
    spec_in(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((8, 8, 8), np.float32))
    refused(voxnas(capsys, "predict", tmp_path / "model.onnx", tmp_path / "x.npy", "--out", tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("sides", [{"multiple_of": 0}, {"at_least": 0}, {"fixed": [0, 8, 8]}, {"multiple_of": 10**9}])
def test_C7_sides_of_a_spec(tmp_path: Path, sides: dict[str, Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(graph_of([]).SerializeToString())
    spec_in(tmp_path)
    content = json.loads((tmp_path / "model.json").read_text())
    content["sides"] = {**content["sides"], **sides}
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(NASError, match="sides"):
        ExportedNetwork(tmp_path / "model.onnx")


def test_C7_weights_of_a_model_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(8, np.float32).tobytes())
    (tmp_path / "inner").mkdir()
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "../secret.bin"), ("length", "32")):
        weights.external_data.add(key=key, value=value)
    model = graph_of([helper.make_node("Add", ["image", "w"], ["out"])], (weights,))
    (tmp_path / "inner" / "model.onnx").write_bytes(model.SerializeToString())
    spec_in(tmp_path / "inner")
    with pytest.raises(NASError, match="does not load"):
        ExportedNetwork(tmp_path / "inner" / "model.onnx")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_C7_a_model_that_needs_more_memory_than_it_may(tmp_path: Path) -> None:
    """In a process of its own, as the limit holds until its end."""
    sides = helper.make_tensor("sides", TensorProto.INT64, [2], [2**30, 1])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "sides"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["out"]),
    ]
    (tmp_path / "model.onnx").write_bytes(graph_of(nodes, (sides,)).SerializeToString())
    spec_in(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((8, 8, 8), np.float32))
    words = [str(tmp_path / name) for name in ("model.onnx", "x.npy")]
    command = [sys.executable, "-m", "experiments.commands.voxnas", "predict", *words, "--memory", "2"]
    words = [*command, "--out", str(tmp_path / "o.csv")]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120)
    refused((done.returncode, done.stdout, done.stderr), "cannot be predicted", "needs more memory than it may use")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.slow
def test_C7_an_endless_model_ends_after_its_time(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(endless().SerializeToString())
    spec_in(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((8, 8, 8), np.float32))
    words = [str(tmp_path / name) for name in ("model.onnx", "x.npy")]
    command = [sys.executable, "-m", "experiments.commands.voxnas", "predict", *words, "--timeout", "3"]
    words = [*command, "--out", str(tmp_path / "o.csv")]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=120)
    refused((done.returncode, done.stdout, done.stderr), "more than 3 s", "--timeout")
    assert not (tmp_path / "o.csv").exists()


def test_C7_a_good_model_predicts(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Neg", ["mean"], ["other"]),
        helper.make_node("Concat", ["mean", "other"], ["out"], axis=1),
    ]
    (tmp_path / "model.onnx").write_bytes(graph_of(nodes).SerializeToString())
    spec_in(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((8, 8, 8), np.float32))
    prob, _ = predict_file([ExportedNetwork(tmp_path / "model.onnx")], (tmp_path / "x.npy",), None)
    assert prob == pytest.approx([0.8808, 0.1192], abs=1e-3)
